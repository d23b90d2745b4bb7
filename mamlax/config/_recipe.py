"""What a recipe is: every setting of an experiment as a value, and its evidence."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

from .._errors import MamlaxError
from ._algorithms import ALGORITHMS, Algorithm, carried_over
from ._policies import POLICY_ALGORITHMS, Episodes, PolicyAlgorithm, PolicyNetwork
from ._problems import ClassificationProblem, ControlProblem, SinusoidProblem
from ._settings import Settings, hints_of
from ._training import Adam, EvaluationSettings, TrainingSettings

R = TypeVar("R", bound="Recipe")  # not Self, which beartype takes in decorated classes only


@dataclass(frozen=True)
class Evidence:
    """What a recipe should give, and what it gave here.

    Attributes:
        summary: the experiment in a few words.
        paper: where it was published.
        expected: the published number.
        measured: our number; the files under `benchmarks/` say how.
        duration: how long it took, on what.
        curves: published means of the metric after 0, 1, 2, … inner steps, of "main" (what the
            recipe trains) and of baselines.
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

    Its settings stand in groups, each a value of its own. No two groups have a setting of the same
    name, so that each is a flag of `mamlax train`, and an argument of `changed`.

    Attributes:
        may_grow: settings that may be larger when a run is taken up again.
    """

    may_grow: ClassVar[tuple[str, ...]] = ()
    algorithms: ClassVar[dict[str, Any]]
    """The algorithms that can take the place of its own, by name."""
    name: str
    evidence: Evidence
    problem: Any
    """Where tasks come from and what model learns them."""
    algorithm: Any
    """What learns."""
    training: TrainingSettings
    """How long to train, and on what."""
    evaluation: EvaluationSettings
    """How the result is measured, and the best checkpoint chosen."""

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
        """After how many inner steps a run is validated; as many as in training by default."""
        steps = self.evaluation.num_validation_inner_steps
        return self.algorithm.num_inner_steps if steps is None else steps

    @property
    def num_baseline_steps(self) -> int:
        """Outer steps of each trained baseline."""
        steps = self.training.num_baseline_steps
        return self.training.num_outer_steps if steps is None else steps

    @property
    def shown_inner_steps(self) -> tuple[int, ...]:
        """Numbers of inner steps after which figures show what adaptation does."""
        return tuple(sorted({0, 1, self.num_validation_inner_steps}))

    @property
    def groups(self) -> dict[str, Settings]:
        """Its groups of settings, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Settings)}

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its name, whatever its group, and the algorithm's name."""
        return {"algorithm": self.algorithm.name, **dict(self._settings())}

    def _settings(self) -> Iterator[tuple[str, Any]]:
        for group in self.groups.values():
            yield from ((field.name, getattr(group, field.name)) for field in fields(group))

    def changed(self: R, **settings: Any) -> R:
        """This recipe with other settings, each by its name, whatever its group.

        Args:
            **settings: e.g. `shots=5, num_outer_steps=100`; `algorithm` may be a name (its settings
                are carried over) or a value, and `problem` and the other groups are values. With
                another `name` it is a recipe for the catalog: only those in it can be trained.

        Raises:
            MamlaxError: if a setting is none of this recipe's, or out of its bounds.
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
        """A sentence on a setting that this recipe does not have, and where there is one."""
        having = [one for one, kind in self.algorithms.items() if name in hints_of(kind)]
        near = difflib.get_close_matches(name, self.settings, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        if having:
            hint = f" It is for {', '.join(having)}."
        return (
            f"the recipe {self.name} with the algorithm {self.algorithm.name} has no setting "
            f"{name!r}.{hint}"
        )

    def with_algorithm(self: R, name: str) -> R:
        """This recipe with another algorithm, the settings that both have carried over.

        Raises:
            MamlaxError: if no such algorithm can learn this problem.
        """
        if name not in self.algorithms:
            near = difflib.get_close_matches(name, self.algorithms, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
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
    """Where tasks come from and what model learns them."""
    algorithm: Algorithm
    """What learns."""
    outer_optimizer: Adam
    """What an outer step does with the meta-gradient."""


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe(Recipe):
    """Reinforcement learning: an algorithm of policies in an environment."""

    algorithms: ClassVar[dict[str, type[PolicyAlgorithm]]] = POLICY_ALGORITHMS
    # no rate falls over the steps asked for
    may_grow: ClassVar[tuple[str, ...]] = ("num_outer_steps", "num_baseline_steps")
    problem: ControlProblem
    """Where tasks come from."""
    algorithm: PolicyAlgorithm
    """What learns."""
    policy: PolicyNetwork = field(default_factory=PolicyNetwork)
    """The network that acts."""
    episodes: Episodes = field(default_factory=Episodes)
    """How much it acts, and what it learns from that."""

    @property
    def shown_inner_steps(self) -> tuple[int, ...]:
        """As in the paper's figures of policies."""
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
    """A recipe like another one, with evidence and some settings of its own.

    Args:
        like: the other one; its paper is taken where `paper` is None.
        name: of the recipe.
        summary: see `Evidence`, as for what follows.
        expected: the published number.
        paper: where it was published.
        measured: our number.
        duration: how long it took.
        curves: published means.
        **settings: see `Recipe.changed`.
    """
    paper = paper or like.evidence.paper
    evidence = Evidence(summary, paper, expected, measured, duration, curves or {})
    return like.changed(name=name, evidence=evidence, **settings)
