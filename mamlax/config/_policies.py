"""Settings of reinforcement learning: the algorithms, the episodes and the policy's network."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ._algorithms import Remat
from ._settings import (
    Advanced,
    Count,
    Fraction,
    Natural,
    Positive,
    PositiveFraction,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class PolicyAlgorithm(Settings):
    """What every algorithm of policies has: the inner loop. They differ in the outer one."""

    name: ClassVar[str]
    """On the command line and in files."""
    inner_learning_rate: Positive = 0.1
    """Step size α of the inner gradient descent."""
    num_inner_steps: Natural = 1
    """Inner steps while meta-training."""
    first_order: bool = False
    """Treat inner gradients as constants: first-order MAML."""
    surrogate: Literal["log-likelihood", "likelihood-ratio", "dice"] = "log-likelihood"
    """The loss of the inner loop; the paper's is log-likelihood."""
    inner_learning_rate_decay: Advanced[Fraction] = 0.5
    """Factor of the inner learning rate after each inner step: near a solution, steps as long as
    the first would leave it again."""
    sampling_correction: Advanced[bool] = False
    """Teach the policy to gather episodes worth adapting to (E-MAML)."""
    step_weights: Advanced[tuple[float, ...] | None] = None
    """How much the policy after each inner step counts in the outer loss. None: only the last."""
    remat: Advanced[Remat] = "none"
    """Recompute instead of storing: every inner step, or segments of √num_inner_steps steps. Less
    memory, more time."""


@dataclass(frozen=True, kw_only=True)
class MamlTrpo(PolicyAlgorithm):
    """MAML with a trust region in the outer loop: the paper's Algorithm 3."""

    name: ClassVar[str] = "maml-trpo"
    max_kl: Positive = 0.01
    """How far an outer step may move the adapted policies, in nats."""
    fisher: Advanced[Literal["exact", "adapted"]] = "exact"
    """The matrix that bends the direction; adapted is cheaper."""
    fisher_fraction: Advanced[PositiveFraction] = 1.0
    """Share of the episodes that the matrix is made from."""
    num_conjugate_gradient_steps: Advanced[Count] = 10
    """Iterations that solve for the direction. Each costs a product with the matrix; more are not
    always better."""


@dataclass(frozen=True, kw_only=True)
class Promp(PolicyAlgorithm):
    """ProMP: several clipped steps of Adam on the same episodes."""

    name: ClassVar[str] = "promp"
    outer_learning_rate: Positive = 1e-3
    """Adam's learning rate in the outer loop."""
    num_gradient_steps: Advanced[Count] = 5
    """Steps of Adam on the same episodes."""


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(PolicyAlgorithm):
    """MAML with plain steps of Adam in the outer loop."""

    name: ClassVar[str] = "policy-gradient"
    outer_learning_rate: Positive = 1e-3
    """Adam's learning rate in the outer loop."""


_OF_POLICIES: tuple[type[PolicyAlgorithm], ...] = (MamlTrpo, Promp, PolicyGradient)
POLICY_ALGORITHMS: dict[str, type[PolicyAlgorithm]] = {one.name: one for one in _OF_POLICIES}
"""Every algorithm of policies, by name."""
OLD_NAMES = {"trust-region": "maml-trpo", "adam": "policy-gradient"}
"""What mamlax 0.1.0 called them."""


@dataclass(frozen=True, kw_only=True)
class Episodes(Settings):
    """How many episodes a policy acts in, and what it learns from them."""

    episodes_per_task: Count = 20
    """Episodes before each inner step, and after the last."""
    num_test_episodes: Count = 40
    """The same, in validation and evaluation."""
    discount: Fraction = 0.99
    """γ: how much less a reward counts a step later."""
    gae_lambda: Advanced[Fraction] = 1.0
    """λ of generalized advantage estimation."""
    baseline: Advanced[Literal["linear", "none"]] = "linear"
    """What advantages are measured against: a regression on observations and time, or nothing."""
    normalize_advantages: Advanced[bool] = True
    """Bring the advantages of a task to mean 0 and standard deviation 1."""
    max_unstable_share: Advanced[Fraction] = 0.1
    """Stop where the simulation broke down in more than this share of the episodes of an outer
    step."""


@dataclass(frozen=True, kw_only=True)
class PolicyNetwork(Settings):
    """The network of a policy."""

    hidden_sizes: tuple[Count, ...] = (100, 100)
    """Width of each hidden layer."""
    activation: Advanced[Literal["relu", "tanh"]] = "relu"
    """Between these layers."""
