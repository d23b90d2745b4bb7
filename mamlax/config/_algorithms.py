"""One class for each algorithm: its settings, their bounds and defaults.

The same values serve recipes, the command line, estimators and saved models. The mathematics is in
`mamlax/algorithms/`; `mamlax/experiments/_learner.py` turns settings into learners.
"""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal, TypeVar

from ._settings import (
    Advanced,
    Bound,
    Count,
    Natural,
    NonNegative,
    Positive,
    Settings,
    fits,
    hints_of,
)

Remat = Literal["none", "steps", "sqrt"]
InnerOptimizer = Literal[
    "sgd",
    "momentum",
    "adam",
    "adam-without-momentum",
    "sign",
    "learned-step-sizes",
    "learned-curvature",
]
UnlearnedInnerOptimizer = Literal["sgd", "momentum", "adam", "adam-without-momentum", "sign"]
InnerSteps = Annotated[
    int, Bound("a whole number, 1 or more (with 0 nothing would adapt)", lambda steps: steps >= 1)
]
"""Inner steps in meta-training, of an algorithm that adapts by these alone."""


@dataclass(frozen=True, kw_only=True)
class Algorithm(Settings):
    """Settings that all algorithms for support and query sets share."""

    name: ClassVar[str]
    """The algorithm's name on the command line and in files."""
    inner_learning_rate: Positive = 0.01
    """Step size α of inner steps."""
    num_inner_steps: InnerSteps = 1
    """Number of inner steps in meta-training."""
    compute_dtype: Advanced[Literal["float32", "bfloat16"]] = "float32"
    """Number type for computing losses. Parameters stay float32."""


@dataclass(frozen=True, kw_only=True)
class WithInnerOptimizer(Algorithm):
    """An algorithm whose inner optimizer can be chosen."""

    inner_optimizer: InnerOptimizer = "sgd"
    """The optimizer of inner steps. The learned ones start as gradient descent."""
    inner_gradient_clip: Advanced[Positive | None] = None
    """Largest norm of an inner gradient; longer gradients are scaled down. None: no limit."""


@dataclass(frozen=True, kw_only=True)
class _UnlearnedOptimizer(WithInnerOptimizer):
    inner_optimizer: UnlearnedInnerOptimizer = "sgd"
    """The optimizer of inner steps."""


@dataclass(frozen=True, kw_only=True)
class OnMinibatches(Algorithm):
    """An algorithm whose inner steps can each use a minibatch of the support."""

    inner_batch_size: Advanced[Count | None] = None
    """Support examples per inner step in training; each step uses a new minibatch. None: all."""


@dataclass(frozen=True, kw_only=True)
class Unrolled(Algorithm):
    """An algorithm that differentiates through its inner loop."""

    num_unrolled_steps: Advanced[Natural | None] = None
    """How many of the last inner steps to differentiate through. None: all."""
    remat: Advanced[Remat] = "none"
    """What to recompute instead of storing: nothing, every inner step, or segments of
    √num_inner_steps steps. Recomputing takes less memory and more time."""


@dataclass(frozen=True, kw_only=True)
class _EitherOrder(Unrolled):
    first_order: bool = False
    """Treat inner gradients as constants: first-order MAML."""


@dataclass(frozen=True, kw_only=True)
class HeadOfTask(WithInnerOptimizer, _EitherOrder):
    """An algorithm that makes a new head for each task. The number of classes may vary."""

    @property
    def takes_any_ways(self) -> bool:
        """Whether tasks may have other numbers of classes than those trained on."""
        return True


@dataclass(frozen=True, kw_only=True)
class Maml(WithInnerOptimizer, OnMinibatches, _EitherOrder):
    """MAML: all parameters adapt, and the outer loop differentiates through the inner loop."""

    name: ClassVar[str] = "maml"


@dataclass(frozen=True, kw_only=True)
class Fomaml(WithInnerOptimizer, OnMinibatches):
    """First-order MAML: the outer loop treats inner gradients as constants."""

    name: ClassVar[str] = "fomaml"


@dataclass(frozen=True, kw_only=True)
class Anil(WithInnerOptimizer, OnMinibatches, _EitherOrder):
    """ANIL: only the head adapts."""

    name: ClassVar[str] = "anil"


@dataclass(frozen=True, kw_only=True)
class Boil(WithInnerOptimizer, OnMinibatches, _EitherOrder):
    """BOIL: everything except the head adapts."""

    name: ClassVar[str] = "boil"


@dataclass(frozen=True, kw_only=True)
class MetaSgd(OnMinibatches, _EitherOrder):
    """Meta-SGD: MAML that also learns a step size for each parameter."""

    name: ClassVar[str] = "meta-sgd"


@dataclass(frozen=True, kw_only=True)
class MamlPlusPlus(OnMinibatches, Unrolled):
    """MAML++: learned step sizes, and a loss after every inner step."""

    name: ClassVar[str] = "maml-plus-plus"
    num_multi_step_outer_steps: Natural | None = None
    """How many outer steps at the beginning use the loss after every inner step. None: a tenth of
    all."""
    num_first_order_outer_steps: Natural = 0
    """How many outer steps at the beginning are first-order."""
    per_step_normalization: bool | None = None
    """Use separate shifts (of the normalization) for each inner step. None: if the model
    normalizes."""


@dataclass(frozen=True, kw_only=True)
class MetaCurvature(OnMinibatches, _EitherOrder):
    """Meta-Curvature: MAML that also learns matrices that transform inner gradients."""

    name: ClassVar[str] = "meta-curvature"


@dataclass(frozen=True, kw_only=True)
class Imaml(_UnlearnedOptimizer):
    """iMAML: the implicit gradient, at the minimum of an inner loss with a proximal term."""

    name: ClassVar[str] = "imaml"
    num_inner_steps: Annotated[
        int,
        Bound(
            "a whole number, 2 or more for imaml, and better 16 or more (one step ends far from "
            "the minimum at which its gradient holds; the recipe sinusoid-imaml has settings that "
            "suit it)",
            lambda steps: steps >= 2,
        ),
    ] = 16
    """Number of inner steps in meta-training; enough to come near the minimum."""
    proximal_strength: Positive = 2.0
    """λ, how strongly adapted parameters are held near the initialization."""
    num_conjugate_gradient_steps: Advanced[Count] = 5
    """Number of conjugate gradient iterations that solve for the meta-gradient."""
    damping: NonNegative = 0.0
    """δ, added to λ when solving for the meta-gradient. A large δ makes it nearly first-order."""


@dataclass(frozen=True, kw_only=True)
class Reptile(_UnlearnedOptimizer, OnMinibatches):
    """Reptile: moves towards the adapted parameters, without differentiating the inner loop."""

    name: ClassVar[str] = "reptile"
    num_inner_steps: Annotated[
        int,
        Bound(
            "a whole number, 2 or more for reptile, and better 5 or more (with one inner step it "
            "is joint training on the support sets)",
            lambda steps: steps >= 2,
        ),
    ] = 5
    """Number of inner steps in meta-training."""


@dataclass(frozen=True, kw_only=True)
class Cavia(WithInnerOptimizer, OnMinibatches, _EitherOrder):
    """CAVIA: a few context parameters adapt, starting at zero. The network does not adapt."""

    name: ClassVar[str] = "cavia"
    context_size: Count | None = None
    """Number of context parameters, which adapt. None: the problem's default."""


@dataclass(frozen=True, kw_only=True)
class ProtoMaml(HeadOfTask):
    """ProtoMAML: the head starts from the class means of the support. For classification."""

    name: ClassVar[str] = "proto-maml"
    num_inner_steps: Natural = 1
    """Number of inner steps in meta-training. 0: the head made of class means is used as it is."""


@dataclass(frozen=True, kw_only=True)
class UnicornMaml(HeadOfTask):
    """UNICORN-MAML: one learned vector starts the head of every class. For classification."""

    name: ClassVar[str] = "unicorn-maml"


@dataclass(frozen=True, kw_only=True)
class SolvedHead(WithInnerOptimizer, _EitherOrder):
    """An algorithm whose head starts from a regression on the support."""

    num_inner_steps: Natural = 1
    """Number of inner steps in meta-training. 0: the head made by the regression is used as it
    is."""
    ridge: Positive = 0.1
    """λ, how strongly the regression that the head starts from is shrunken."""
    head_prior: Advanced[bool] = False
    """Shrink the regression towards a learned head instead of towards zero."""


@dataclass(frozen=True, kw_only=True)
class RidgeMaml(SolvedHead):
    """Ridge MAML: the head starts from a ridge regression on the support. For regression."""

    name: ClassVar[str] = "ridge-maml"


@dataclass(frozen=True, kw_only=True)
class LogisticMaml(SolvedHead, HeadOfTask):
    """Logistic MAML: the head starts from a logistic regression on the support. For
    classification."""

    name: ClassVar[str] = "logistic-maml"
    num_solver_steps: Advanced[Count] = 10
    """Steps of the solver of the logistic regression."""

    @property
    def takes_any_ways(self) -> bool:
        """Unless there is a learned head."""
        return not self.head_prior


_SUPERVISED: tuple[type[Algorithm], ...] = (
    Maml,
    Fomaml,
    Anil,
    Boil,
    MetaSgd,
    MamlPlusPlus,
    MetaCurvature,
    Imaml,
    Reptile,
    Cavia,
    ProtoMaml,
    UnicornMaml,
    RidgeMaml,
    LogisticMaml,
)
ALGORITHMS: dict[str, type[Algorithm]] = {one.name: one for one in _SUPERVISED}
"""Every algorithm of support and query sets, by name."""

S = TypeVar("S", bound=Settings)


def carried_over(settings: Settings, to: type[S]) -> S:
    """Convert settings to another class: shared ones are kept if allowed, others get defaults."""
    both = {field.name for field in fields(to)} & {field.name for field in fields(settings)}
    kept = {name: getattr(settings, name) for name in both}
    hints = hints_of(to)
    return to(**{name: value for name, value in kept.items() if fits(hints[name], value)})
