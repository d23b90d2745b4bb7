# ruff: isort: off
__version__: str

# shared types
from ._types import Adaptation as Adaptation
from ._types import Batch as Batch
from ._types import Limit as Limit
from ._types import MetaLearner as MetaLearner
from ._types import OuterLoop as OuterLoop
from ._types import Task as Task
from ._errors import MamlaxError as MamlaxError

# algorithms
from .algorithms._maml import maml as maml
from .algorithms._maml import fomaml as fomaml
from .algorithms._anil import anil as anil
from .algorithms._anil import boil as boil
from .algorithms._meta_sgd import meta_sgd as meta_sgd
from .algorithms._meta_curvature import meta_curvature as meta_curvature
from .algorithms._maml_plus_plus import maml_plus_plus as maml_plus_plus
from .algorithms._imaml import imaml as imaml
from .algorithms._reptile import reptile as reptile
from .algorithms._cavia import cavia as cavia
from .algorithms._heads import proto_maml as proto_maml
from .algorithms._heads import unicorn_maml as unicorn_maml
from .algorithms._solved_heads import ridge_maml as ridge_maml
from .algorithms._solved_heads import logistic_maml as logistic_maml

# parts of algorithms
from .algorithms._inner_loop import inner_loop as inner_loop
from .algorithms._learned_optimizer import LearnedOptimizer as LearnedOptimizer
from .algorithms._learned_optimizer import WithOptimizer as WithOptimizer
from .algorithms._meta_sgd import learned_step_sizes as learned_step_sizes
from .algorithms._meta_curvature import learned_curvature as learned_curvature
from .algorithms._maml_plus_plus import multi_step_weights as multi_step_weights
from .algorithms._over_tasks import mean_gradient as mean_gradient
from .algorithms._over_tasks import mean_direction as mean_direction
from .algorithms._precision import with_compute_dtype as with_compute_dtype

# checks of meta-gradients
from .algorithms._check import check_meta_gradient as check_meta_gradient
from .algorithms._check import MetaGradientReport as MetaGradientReport
from .algorithms._check import LeafCheck as LeafCheck

# the outer loop
from .algorithms._outer_loop import outer_loop as outer_loop
from .algorithms._outer_loop import OuterState as OuterState
from .algorithms._over_tasks import over_tasks as over_tasks
from .algorithms._over_tasks import sample_tasks as sample_tasks
from .algorithms._over_tasks import adaptation_curves as adaptation_curves

# task distributions and data sets
from .tasks._sinusoids import Sinusoids as Sinusoids
from .tasks._grouped_rows import GroupedRows as GroupedRows
from .tasks._minibatches import Minibatches as Minibatches
from .tasks._few_shot import FewShot as FewShot
from .tasks._few_shot import AllWays as AllWays
from .tasks._class_arrays import ClassArrays as ClassArrays
from .tasks._class_arrays import Splits as Splits
from .datasets._omniglot import omniglot as omniglot
from .datasets._mini_imagenet import mini_imagenet as mini_imagenet
from .datasets._cifar import cifar_fs as cifar_fs
from .datasets._cifar import fc100 as fc100
from .datasets._image_splits import image_splits as image_splits
from .datasets._images import image_classes as image_classes
from .datasets._hugging_face import hugging_face_classes as hugging_face_classes
from .tasks._placement import place as place

# training and evaluation
from .training._run import run as run
from .training._run import Run as Run
from .training._validation import Validation as Validation
from .training._run import restore_run as restore_run
from .training._run import TrainingDivergedError as TrainingDivergedError
from .training._run import TrainingFailedError as TrainingFailedError
from .training._run import TrainingInterruptedError as TrainingInterruptedError
from .training._cost import cost_of as cost_of
from .training._cost import Cost as Cost
from .training._evaluation import summarize as summarize
from .training._evaluation import Point as Point

# experiments
from .experiments._train import train as train
from .experiments._evaluate import evaluate as evaluate
from .experiments._load import load_run as load_run
from .experiments._weights import load_into as load_into
from .experiments._weights import LoadedWeights as LoadedWeights
from .experiments._load import LoadedRun as LoadedRun

# estimators
from .estimators._few_shot import FewShotRegressor as FewShotRegressor
from .estimators._few_shot import FewShotClassifier as FewShotClassifier
from .estimators._adapted_many import AdaptedMany as AdaptedMany
from .estimators._adaptation_score import adaptation_score as adaptation_score
from .estimators._adaptation_score import adaptation_scorer as adaptation_scorer
from .estimators._support_curve import support_curve as support_curve
from .estimators._support_curve import SupportCurve as SupportCurve
from .estimators._images import FewShotImageClassifier as FewShotImageClassifier
from .estimators._policy import FewShotPolicy as FewShotPolicy
from .estimators._report import Report as Report
from .estimators._load import load as load

# modules
from . import config as config
from . import models as models
from . import plots as plots
from . import records as records
from . import rl as rl
from . import trackers as trackers
