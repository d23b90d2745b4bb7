"""What a recipe is: a typed value with every setting of an experiment, and its evidence.

Nothing here imports JAX, so that the command line answers at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import tyro

from ._control import (
    AntProblem,
    BanditProblem,
    HalfCheetahProblem,
    NavigationProblem,
    TabularMDPProblem,
)
from ._omniglot import OmniglotProblem
from ._parts import Parts
from ._photographs import CifarProblem, FolderProblem, MiniImageNetProblem
from ._sinusoid import SinusoidProblem

if TYPE_CHECKING:
    from ._stage import Stage

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
Algorithm = Literal[
    "maml",
    "fomaml",
    "anil",
    "boil",
    "meta-sgd",
    "maml-plus-plus",
    "meta-curvature",
    "imaml",
    "reptile",
    "cavia",
    "proto-maml",
    "unicorn-maml",
    "ridge-maml",
]


@dataclass(frozen=True)
class Evidence:
    """What a recipe should give, and what it gave here.

    Attributes:
        summary: the experiment in a few words.
        paper: where it was published.
        expected: the published number.
        measured: our number; the files under `benchmarks/` say how.
        duration: how long it took, on what.
        curves: published means of the metric after 0, 1, 2, … inner steps, of "maml" and baselines.
    """

    summary: str
    paper: str
    expected: str
    measured: str
    duration: str
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """Settings that every experiment has. Each field is a flag of `mamlax train`.

    `may_grow` names those that may be larger when a run is taken up again.
    """

    may_grow: ClassVar[tuple[str, ...]] = ()
    name: tyro.conf.Suppress[str]
    evidence: tyro.conf.Suppress[Evidence]
    problem: Any
    """Where tasks come from and what model learns them."""
    inner_learning_rate: float
    """Step size α of the inner gradient descent."""
    num_inner_steps: int
    """Inner steps while meta-training."""
    meta_batch_size: int
    """Tasks per outer step."""
    num_outer_steps: int
    """Outer steps in all."""
    first_order: bool = False
    """Treat inner gradients as constants (FOMAML)."""
    remat: Remat = "none"
    """Recompute instead of storing: every inner step, or segments of √num_inner_steps steps. Less
    memory, more time."""
    task_batch_size: int | None = None
    """Tasks per device at once; the others of a meta-batch wait in sequence. Few suit a processor's
    caches; None, all at once, an accelerator."""
    num_devices: int | None = None
    """Devices (or processor cores) that tasks are spread over. None: as many as divide the
    meta-batch."""
    num_baseline_steps: int | None = None
    """Outer steps of each trained baseline; as many as num_outer_steps where None, 0 for none."""
    num_test_tasks: int = 600
    """Held-out tasks of the evaluation."""
    num_test_inner_steps: int = 10
    """Inner steps of the evaluation, which reports the metric after each."""
    validation_interval: int | None = None
    """Outer steps between validations that choose the best checkpoint. None: the last is kept."""
    num_validation_tasks: int = 400
    """Tasks of each validation."""
    num_validation_inner_steps: int | None = None
    """Inner steps of each validation; as many as in training where None."""
    num_baseline_inner_steps: int | None = None
    """Inner steps after which the step size of a baseline is chosen. None: those of validation if
    they are given, else of the evaluation."""
    log_interval: int = 100
    """Outer steps per line of metrics.jsonl."""
    checkpoint_interval: int | None = None
    """Outer steps between checkpoints, a multiple of log_interval. None: twenty per run."""

    @property
    def num_judged_inner_steps(self) -> int:
        """After how many inner steps a run is validated; as many as in training if not told."""
        steps = self.num_validation_inner_steps
        return self.num_inner_steps if steps is None else steps

    @property
    def num_tuning_inner_steps(self) -> int:
        """After how many inner steps the step size of a baseline is chosen."""
        told = (self.num_baseline_inner_steps, self.num_validation_inner_steps)
        return next((n for n in told if n is not None), self.num_test_inner_steps)

    @property
    def shown_inner_steps(self) -> tuple[int, ...]:
        """Numbers of inner steps after which figures show what adaptation does."""
        return tuple(sorted({0, 1, self.num_judged_inner_steps}))

    def build(self, data_dir: str | None) -> Parts:
        """The problem made concrete."""
        return self.problem.build(data_dir)

    @property
    @abstractmethod
    def learner_name(self) -> str:
        """What learns, as people read it."""

    @abstractmethod
    def method(self, parts: Parts) -> "Method":
        """How the problem is learned."""


@dataclass(frozen=True, kw_only=True)
class SupervisedRecipe(Recipe):
    """Few-shot regression or classification: MAML or a relative, with Adam in the outer loop."""

    problem: tyro.conf.AvoidSubcommands[
        SinusoidProblem | OmniglotProblem | MiniImageNetProblem | CifarProblem | FolderProblem
    ]
    """Where tasks come from and what model learns them."""
    outer_learning_rate: float
    """Adam's learning rate β in the outer loop."""
    outer_schedule: Literal["constant", "cosine"] = "constant"
    """Course of the outer learning rate: constant, or falling to zero along a cosine."""
    second_moment_decay: float = 0.999
    """Adam's β₂ in the outer loop: how long it remembers the size of past gradients."""
    gradient_clip: float | None = None
    """Largest norm of the outer gradient; longer ones are scaled down."""
    algorithm: Algorithm = "maml"
    """Which member of the family learns."""
    inner_optimizer: InnerOptimizer | None = None
    """What an inner step does with its gradient; the learned ones start as gradient descent. None:
    the algorithm's own."""
    inner_batch_size: int | None = None
    """Support examples that an inner step of training sees, another minibatch each. None: all."""
    num_unrolled_steps: int | None = None
    """Differentiate through the last so many inner steps only. None: all."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """What losses are computed in; parameters stay float32."""
    num_multi_step_outer_steps: int | None = None
    """maml-plus-plus: outer steps in which the loss after every inner step counts. None: a
    tenth."""
    num_first_order_outer_steps: int | None = None
    """maml-plus-plus: outer steps of first order, at the beginning. None: 0."""
    per_step_normalization: bool | None = None
    """maml-plus-plus: shifts of their own for each inner step. None: where the model normalizes."""
    proximal_strength: float | None = None
    """imaml: λ, what holds adapted parameters near the initialization. None: 2."""
    num_conjugate_gradient_steps: int | None = None
    """imaml: iterations that solve for the meta-gradient. None: 5."""
    damping: float | None = None
    """imaml: δ, added to λ where the meta-gradient is solved for; the larger, the nearer to first
    order. None: 0."""
    ridge: float | None = None
    """ridge-maml: λ of the regression that the head starts from. None: 0.1."""
    head_prior: bool = False
    """ridge-maml: regress on what the support adds to a head that is learned, instead of from
    zero."""

    def build(self, data_dir: str | None) -> Parts:
        """The problem made concrete; for cavia, its model has a context."""
        return self.problem.build(
            data_dir,
            has_context=self.algorithm == "cavia",
            head_adapts=self.algorithm not in ("boil", "cavia"),
        )

    @property
    def learner_name(self) -> str:
        """The algorithm's."""
        return self.algorithm

    def method(self, parts: Parts) -> "Method":
        """MAML or a relative on support and query sets."""
        from ._supervised import Supervised

        return Supervised(self, parts)


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe(Recipe):
    """Reinforcement learning: Algorithm 3."""

    # no rate falls over the steps asked for
    may_grow: ClassVar[tuple[str, ...]] = ("num_outer_steps", "num_baseline_steps")
    problem: tyro.conf.AvoidSubcommands[
        NavigationProblem | BanditProblem | TabularMDPProblem | HalfCheetahProblem | AntProblem
    ]
    """Where tasks come from."""
    outer_algorithm: Literal["trust-region", "promp", "adam"] = "trust-region"
    """What the outer loop does with the meta-gradient."""
    surrogate: Literal["log-likelihood", "likelihood-ratio", "dice"] = "log-likelihood"
    """The loss of the inner loop; the paper's is log-likelihood."""
    sampling_correction: bool = False
    """Teach the policy to gather episodes worth adapting to (E-MAML)."""
    step_weights: tuple[float, ...] | None = None
    """How much the policy after each inner step counts in the outer loss. None: only the last."""
    inner_learning_rate_decay: float = 0.5
    """Factor of the inner learning rate after each inner step: near a solution, steps as long as
    the first would leave it again."""
    episodes_per_task: int = 20
    """Episodes before each inner step, and after the last."""
    num_test_episodes: int = 40
    """The same, in validation and evaluation."""
    hidden_sizes: tuple[int, ...] = (100, 100)
    """Width of each hidden layer of the policy."""
    activation: Literal["relu", "tanh"] = "relu"
    """Between these layers."""
    discount: float = 0.99
    """γ: how much less a reward counts a step later."""
    gae_lambda: float = 1.0
    """λ of generalized advantage estimation."""
    baseline: Literal["linear", "none"] = "linear"
    """What advantages are measured against: a regression on observations and time, or nothing."""
    normalize_advantages: bool = True
    """Bring the advantages of a task to mean 0 and standard deviation 1."""
    max_kl: float = 0.01
    """Trust region: how far an outer step may move the adapted policies, in nats."""
    fisher: Literal["exact", "adapted"] = "exact"
    """Trust region: the matrix that bends the direction; adapted is cheaper."""
    fisher_fraction: float = 1.0
    """Trust region: share of the episodes that the matrix is made from."""
    num_conjugate_gradient_steps: int = 10
    """Trust region: iterations that solve for the direction. Each costs a product with the matrix;
    more are not always better."""
    outer_learning_rate: float = 1e-3
    """Adam's learning rate, of ProMP and of plain outer steps."""
    num_gradient_steps: int = 5
    """ProMP: steps of Adam on the same episodes."""
    max_unstable_share: float = 0.1
    """Stop where the simulation broke down in more than this share of the episodes of an outer
    step."""

    def build(self, data_dir: str | None) -> Parts:
        """The environment and its policy."""
        return self.problem.build(
            data_dir, hidden_sizes=self.hidden_sizes, activation=self.activation
        )

    @property
    def shown_inner_steps(self) -> tuple[int, ...]:
        """As the paper's figures of policies."""
        return (0, 1, 3)

    @property
    def learner_name(self) -> str:
        """ProMP by its own name; else MAML."""
        return "promp" if self.outer_algorithm == "promp" else "maml"

    def method(self, parts: Parts) -> "Method":
        """MAML on episodes."""
        from ._policy_search import PolicySearch

        return PolicySearch(self, parts)


class Method(Protocol):
    """How the tasks of a problem are learned: what an experiment trains and measures.

    `fine_tuned` is true of a baseline's parameters, which adapt by plain gradient descent; what the
    algorithm learned (perhaps more than parameters) adapts in the algorithm's way.
    """

    def learner(
        self, tasks: Any, num_inner_steps: int, inner_learning_rate: Any, *, fine_tuned: bool
    ) -> Any:
        """Adapts to a task."""
        ...

    def outer_loop(self, stage: "Stage", mesh: Any) -> Any:
        """Trains a stage."""
        ...

    def curves(
        self,
        tasks: Any,
        num_inner_steps: int,
        inner_learning_rate: Any,
        mesh: Any,
        *,
        fine_tuned: bool,
        transductive: bool = True,
    ) -> Callable[[Any, Any], Any]:
        """`curves(params, keys) -> [tasks, steps + 1]`, the metric in the task of each key; with
        `transductive=False` the one under which queries do not influence one another."""
        ...

    def task(self, tasks: Any, key: Any) -> Any:
        """The task that `curves` draws from a key."""
        ...

    def adapter(
        self, tasks: Any, params: Any, inner_learning_rate: float, *, fine_tuned: bool
    ) -> Callable[..., Any]:
        """What `Parts.examples` adapts with."""
        ...
