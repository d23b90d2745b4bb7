"""Settings of reinforcement learning: the algorithms, the episodes and the policy's network."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ._algorithms import InnerSteps, Remat
from ._settings import (
    Advanced,
    Count,
    Fraction,
    NonNegative,
    Positive,
    PositiveFraction,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class PolicyAlgorithm(Settings):
    """Settings that all algorithms for policies share: the inner loop. The outer loops differ."""

    name: ClassVar[str]
    """The algorithm's name on the command line and in files."""
    inner_learning_rate: Positive = 0.1
    """Step size α of inner steps."""
    num_inner_steps: InnerSteps = 1
    """Number of inner steps in meta-training."""
    first_order: bool = False
    """Treat inner gradients as constants: first-order MAML."""
    surrogate: Literal["log-likelihood", "likelihood-ratio", "dice"] = "log-likelihood"
    """The loss of the inner loop. The paper uses log-likelihood."""
    inner_learning_rate_decay: Advanced[Fraction] = 0.5
    """Multiply the inner learning rate by this after each inner step, so that later steps do not
    overshoot."""
    sampling_correction: Advanced[bool] = False
    """Also reward the policy before adaptation for collecting useful episodes (E-MAML)."""
    step_weights: Advanced[tuple[NonNegative, ...] | None] = None
    """Weight, in the outer loss, of the policy after each inner step. None: only the last policy
    counts."""
    remat: Advanced[Remat] = "none"
    """What to recompute instead of storing: nothing, every inner step, or segments of
    √num_inner_steps steps. Recomputing takes less memory and more time."""


@dataclass(frozen=True, kw_only=True)
class MamlTrpo(PolicyAlgorithm):
    """MAML with a trust region in the outer loop: the paper's Algorithm 3."""

    name: ClassVar[str] = "maml-trpo"
    max_kl: Positive = 0.01
    """How far an outer step may move the adapted policies: their mean KL divergence, in nats."""
    fisher: Advanced[Literal["exact", "adapted"]] = "exact"
    """The Fisher matrix of the trust region. adapted is a cheaper approximation."""
    fisher_fraction: Advanced[PositiveFraction] = 1.0
    """Share of the episodes from which the Fisher matrix is computed."""
    num_conjugate_gradient_steps: Advanced[Count] = 10
    """Number of conjugate gradient iterations that solve for the step's direction. Each costs one
    product with the Fisher matrix. More are not always better."""


@dataclass(frozen=True, kw_only=True)
class Promp(PolicyAlgorithm):
    """ProMP: several clipped steps of Adam on the same episodes."""

    name: ClassVar[str] = "promp"
    outer_learning_rate: Positive = 1e-3
    """Adam's learning rate in the outer loop."""
    num_gradient_steps: Advanced[Count] = 5
    """Number of Adam steps on the same episodes."""


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(PolicyAlgorithm):
    """MAML with plain steps of Adam in the outer loop."""

    name: ClassVar[str] = "policy-gradient"
    outer_learning_rate: Positive = 1e-3
    """Adam's learning rate in the outer loop."""


_FOR_POLICIES: tuple[type[PolicyAlgorithm], ...] = (MamlTrpo, Promp, PolicyGradient)
POLICY_ALGORITHMS: dict[str, type[PolicyAlgorithm]] = {one.name: one for one in _FOR_POLICIES}
"""Every algorithm for policies, by name."""
OLD_NAMES = {"trust-region": "maml-trpo", "adam": "policy-gradient"}
"""Names of mamlax 0.1.0, and the names today."""


@dataclass(frozen=True, kw_only=True)
class Episodes(Settings):
    """How many episodes a policy collects, and how its advantages are computed."""

    episodes_per_task: Count = 20
    """Episodes collected before each inner step, and after the last."""
    num_test_episodes: Count = 40
    """Episodes collected at the same points in validation and evaluation."""
    discount: Fraction = 0.99
    """Discount γ: the factor of a reward for each step of delay."""
    gae_lambda: Advanced[Fraction] = 1.0
    """λ of generalized advantage estimation."""
    baseline: Advanced[Literal["linear", "none"]] = "linear"
    """Baseline of the advantages: a linear regression on observations and time, or none."""
    normalize_advantages: Advanced[bool] = True
    """Scale the advantages of a task to mean 0 and standard deviation 1."""
    auto_reset: Advanced[bool] = False
    """In training, start a new episode when one ends early, so that every task yields
    episodes_per_task times horizon steps. Evaluation plays whole episodes."""
    max_unstable_share: Advanced[Fraction] = 0.1
    """Stop training if the simulation was unstable in more than this share of an outer step's
    episodes."""


@dataclass(frozen=True, kw_only=True)
class PolicyNetwork(Settings):
    """The network of a policy."""

    hidden_sizes: tuple[Count, ...] = (100, 100)
    """Width of each hidden layer."""
    activation: Advanced[Literal["relu", "tanh"]] = "relu"
    """Activation of the hidden layers."""
    normalize_observations: Advanced[bool] = False
    """Normalize observations by the mean and standard deviation of all observations collected in
    training so far."""
