"""Settings as values: algorithms, problems, training, evaluation, and recipes made of these.

Nothing here imports JAX. `RECIPES["sinusoid"].changed(shots=5)` is a recipe with another setting.
"""

from ._algorithms import ALGORITHMS as ALGORITHMS
from ._algorithms import Algorithm as Algorithm
from ._algorithms import Anil as Anil
from ._algorithms import Boil as Boil
from ._algorithms import Cavia as Cavia
from ._algorithms import Fomaml as Fomaml
from ._algorithms import Imaml as Imaml
from ._algorithms import LogisticMaml as LogisticMaml
from ._algorithms import Maml as Maml
from ._algorithms import MamlPlusPlus as MamlPlusPlus
from ._algorithms import MetaCurvature as MetaCurvature
from ._algorithms import MetaSgd as MetaSgd
from ._algorithms import ProtoMaml as ProtoMaml
from ._algorithms import Reptile as Reptile
from ._algorithms import RidgeMaml as RidgeMaml
from ._algorithms import UnicornMaml as UnicornMaml
from ._catalog import RECIPES as RECIPES
from ._policies import POLICY_ALGORITHMS as POLICY_ALGORITHMS
from ._policies import Episodes as Episodes
from ._policies import MamlTrpo as MamlTrpo
from ._policies import PolicyAlgorithm as PolicyAlgorithm
from ._policies import PolicyGradient as PolicyGradient
from ._policies import PolicyNetwork as PolicyNetwork
from ._policies import Promp as Promp
from ._problems import AntProblem as AntProblem
from ._problems import BanditProblem as BanditProblem
from ._problems import CifarProblem as CifarProblem
from ._problems import ClassificationProblem as ClassificationProblem
from ._problems import FolderProblem as FolderProblem
from ._problems import HalfCheetahProblem as HalfCheetahProblem
from ._problems import MetaWorldProblem as MetaWorldProblem
from ._problems import MiniImageNetProblem as MiniImageNetProblem
from ._problems import NavigationProblem as NavigationProblem
from ._problems import OmniglotProblem as OmniglotProblem
from ._problems import SinusoidProblem as SinusoidProblem
from ._problems import TabularMDPProblem as TabularMDPProblem
from ._recipe import Evidence as Evidence
from ._recipe import PolicyRecipe as PolicyRecipe
from ._recipe import Recipe as Recipe
from ._recipe import SupervisedRecipe as SupervisedRecipe
from ._settings import Settings as Settings
from ._training import Adam as Adam
from ._training import EvaluationSettings as EvaluationSettings
from ._training import TrainingSettings as TrainingSettings
