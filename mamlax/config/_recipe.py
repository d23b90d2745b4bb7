"""What a recipe is: every setting of an experiment as a value, and its evidence."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

from .._errors import MamlaxError
from ._algorithms import ALGORITHMS, Algorithm, carried_over
from ._policies import POLICY_ALGORITHMS, Episodes, PolicyAlgorithm, PolicyNetwork
from ._problems import ClassificationProblem, ControlProblem, SinusoidProblem
from ._settings import Settings, hints_of
from ._spelling import nearest
from ._training import Adam, EvaluationSettings, TrainingSettings

R = TypeVar("R", bound="Recipe")  # not Self, which beartype takes in decorated classes only


@dataclass(frozen=True)
class Evidence:
    """The published results of a recipe, and ours.

    Attributes:
        summary: the experiment in a few words, as a paper names it.
        paper: where it was published.
        expected: the published result.
        measured: our result. The files under `benchmarks/` say how it was measured.
        duration: how long it took, and on which machine.
        curves: published means of the metric after 0, 1, 2, … inner steps, for "main" (what the
            recipe trains) and for baselines.
    """

    summary: str
    paper: str
    expected: str
    measured: str = ""
    duration: str = ""
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """A named experiment: a problem, an algorithm, how long to train and how to evaluate.

    The settings are in groups; each group is one value. Names of settings are unique across groups,
    so each setting is a flag of `mamlax train` and an argument of `changed`.

    Attributes:
        may_grow: settings that may be increased when a run is resumed.
    """

    may_grow: ClassVar[tuple[str, ...]] = ()
    algorithms: ClassVar[dict[str, Any]]
    """The algorithms that can learn the problem, by name."""
    name: str
    evidence: Evidence
    problem: Any
    """Where tasks come from, and which model learns them."""
    algorithm: Any
    """The meta-learning algorithm."""
    training: TrainingSettings
    """How long to train, and from which weights, devices and batch sizes."""
    evaluation: EvaluationSettings
    """How the result is measured, and how the best checkpoint is chosen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for group, name in (("training", "checkpoint"), ("evaluation", "validation")):
            value = getattr(getattr(self, group), f"{name}_interval")
            if value is not None and value % self.training.log_interval:
                raise MamlaxError(
                    f"{name}_interval={value} must be a multiple of "
                    f"log_interval={self.training.log_interval}."
                )

    @property
    def num_validation_inner_steps(self) -> int:
        """Inner steps in validation. Default: as many as in training."""
        steps = self.evaluation.num_validation_inner_steps
        return self.algorithm.num_inner_steps if steps is None else steps

    @property
    def num_baseline_steps(self) -> int:
        """Outer steps of each trained baseline."""
        steps = self.training.num_baseline_steps
        return self.training.num_outer_steps if steps is None else steps

    @property
    def shown_inner_steps(self) -> tuple[int, ...]:
        """The numbers of inner steps after which figures show the adapted model."""
        return tuple(sorted({0, 1, self.num_validation_inner_steps}))

    @property
    def groups(self) -> dict[str, Settings]:
        """The groups of settings, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Settings)}

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of all groups by name, and the algorithm's name."""
        found = {"algorithm": self.algorithm.name}
        for group in self.groups.values():
            found |= {field.name: getattr(group, field.name) for field in fields(group)}
        return found

    def changed(self: R, **settings: Any) -> R:
        """A copy of this recipe with other settings, each given by name, of any group.

        Args:
            **settings: e.g. `shots=5, num_outer_steps=100`. `algorithm` may be a name (the settings
                are carried over) or a value. `problem` and the other groups are values. A recipe
                with another `name` can be trained once it is in the catalog.

        Raises:
            MamlaxError: if the recipe has no such setting, or a value is out of bounds.
        """
        recipe = self
        if "algorithm" in settings:
            algorithm = settings.pop("algorithm")
            is_name = isinstance(algorithm, str)
            recipe = (
                recipe.with_algorithm(algorithm) if is_name else replace(self, algorithm=algorithm)
            )
        own = {field.name for field in fields(self)}
        changes: dict[str, Any] = {name: settings.pop(name) for name in own & settings.keys()}
        for group, value in {**recipe.groups, **changes}.items():
            if isinstance(value, Settings):
                names = {field.name for field in fields(value)} & settings.keys()
                changes[group] = replace(value, **{name: settings.pop(name) for name in names})
        if settings:
            raise MamlaxError(recipe.no_such_setting(next(iter(settings))))
        return replace(recipe, **changes)

    def no_such_setting(self, name: str) -> str:
        """The message about a setting that this recipe lacks. It names algorithms that have it."""
        having = [one for one, kind in self.algorithms.items() if name in hints_of(kind)]
        near = nearest(name, self.settings)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        if having:
            hint = f" It is for {', '.join(having)}."
        return (
            f"the recipe {self.name} with the algorithm {self.algorithm.name} has no setting "
            f"{name!r}.{hint}"
        )

    def with_algorithm(self: R, name: str) -> R:
        """A copy of this recipe with another algorithm. Settings that both have are carried over.

        Raises:
            MamlaxError: if no such algorithm can learn this problem.
        """
        if name not in self.algorithms:
            near = nearest(name, self.algorithms)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise MamlaxError(
                f"there is no algorithm {name!r} for {self.name}; there are "
                f"{', '.join(self.algorithms)}.{hint}"
            )
        return replace(self, algorithm=carried_over(self.algorithm, self.algorithms[name]))


@dataclass(frozen=True, kw_only=True)
class SupervisedRecipe(Recipe):
    """Few-shot regression or classification: MAML or a relative, with Adam in the outer loop."""

    algorithms: ClassVar[dict[str, type[Algorithm]]] = ALGORITHMS
    problem: SinusoidProblem | ClassificationProblem
    """Where tasks come from, and which model learns them."""
    algorithm: Algorithm
    """The meta-learning algorithm."""
    outer_optimizer: Adam
    """The optimizer of outer steps."""


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe(Recipe):
    """Meta-reinforcement learning: a policy and its algorithm in an environment."""

    algorithms: ClassVar[dict[str, type[PolicyAlgorithm]]] = POLICY_ALGORITHMS
    # no learning rate depends on the number of outer steps
    may_grow: ClassVar[tuple[str, ...]] = ("num_outer_steps", "num_baseline_steps")
    problem: ControlProblem
    """The environment that tasks come from."""
    algorithm: PolicyAlgorithm
    """The meta-learning algorithm."""
    policy: PolicyNetwork = field(default_factory=PolicyNetwork)
    """The network of the policy."""
    episodes: Episodes = field(default_factory=Episodes)
    """How many episodes the policy collects, and how its advantages are computed."""

    @property
    def shown_inner_steps(self) -> tuple[int, ...]:
        """The numbers of inner steps in the paper's figures of policies."""
        return (0, 1, 3)


def recipe_like(
    like: R,
    name: str,
    summary: str,
    expected: str,
    *,
    paper: str | None = None,
    measured: str = "",
    duration: str = "",
    curves: dict[str, tuple[float, ...]] | None = None,
    **settings: Any,
) -> R:
    """A copy of a recipe with its own evidence and some other settings.

    Args:
        like: the recipe to copy.
        name: the new recipe's name.
        summary: the experiment in a few words. See `Evidence`, also for the arguments below.
        expected: the published result.
        paper: where it was published. None: the paper of `like`.
        measured: our result.
        duration: how long it took.
        curves: published means.
        **settings: see `Recipe.changed`.
    """
    paper = paper or like.evidence.paper
    evidence = Evidence(summary, paper, expected, measured, duration, curves or {})
    return like.changed(name=name, evidence=evidence, **settings)
