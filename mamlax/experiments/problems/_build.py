"""From a recipe to the parts of its problem."""

from ..._errors import MamlaxError
from ...config._algorithms import Boil, Cavia, LogisticMaml, ProtoMaml
from ...config._problems import ClassificationProblem, SinusoidProblem
from ...config._recipe import PolicyRecipe, Recipe, SupervisedRecipe
from ._classification import classification_parts
from ._environments import environment_parts
from ._images import splits_of
from ._parts import Parts, SupervisedParts
from ._sinusoid import sinusoid_parts


def parts_of(recipe: Recipe, data_dir: str | None = None) -> Parts:
    """The parts of a recipe's problem; finds and reads its data.

    Args:
        recipe: the recipe; its algorithm may change the network, as CAVIA's context does.
        data_dir: where data sets are; see `omniglot`.

    Raises:
        MamlaxError: if data are missing, or settings do not fit one another.
    """
    match recipe:
        case SupervisedRecipe():
            return _supervised_parts(recipe, data_dir)
        case PolicyRecipe():
            return environment_parts(recipe.problem, recipe.policy)
    raise TypeError(f"no problem is known for {type(recipe).__name__}.")


def _supervised_parts(recipe: SupervisedRecipe, data_dir: str | None) -> SupervisedParts:
    problem, algorithm = recipe.problem, recipe.algorithm
    context_size = 0
    if isinstance(algorithm, Cavia):
        context_size = algorithm.context_size or problem.context_size
    match problem:
        case SinusoidProblem():
            return sinusoid_parts(problem, context_size=context_size)
        case ClassificationProblem():
            if problem.centered_features and not isinstance(algorithm, ProtoMaml | LogisticMaml):
                raise MamlaxError(
                    "centered_features is for algorithms whose head is made from the features of "
                    f"each task, proto-maml and logistic-maml; got {algorithm.name}, whose head "
                    "was learned on other features."
                )
            return classification_parts(
                problem,
                splits_of(problem, data_dir),
                context_size=context_size,
                head_adapts=not isinstance(algorithm, Boil | Cavia),
            )
