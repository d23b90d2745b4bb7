"""The shared types: task, adaptation, learner and outer loop.

Everything else in the package returns or consumes one of these. They are named tuples of arrays or
of pure functions, without behavior.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

LossFn: TypeAlias = Callable[[PyTree, PyTree], Scalar]
"""`loss_fn(params, batch) -> scalar`: all that a user must provide."""
SampleTask: TypeAlias = Callable[[PRNGKeyArray], "Task"]
"""`sample_task(key) -> Task`: where tasks come from."""


class Batch(NamedTuple):
    """Examples as the built-in tasks and models use them; your own loss may take any pytree.

    Attributes:
        inputs: `[examples, ...]`.
        targets: `[examples, ...]` (regression) or `[examples]` of integers (classification).
        reference: `[reference_examples, ...]` or None. The inputs whose moments normalize `inputs`
            in a model with `norm="support"`: for a query, those of the support. Length 0 means
            `inputs` themselves, as in the support.
        weights: `[examples]` or None. How much each example counts, 0 for padding; None: all
            equally.
    """

    inputs: PyTree
    targets: PyTree
    reference: PyTree = None
    weights: PyTree = None


class Task(NamedTuple):
    """One learning problem: examples to adapt on and examples to evaluate on.

    Attributes:
        support: a pytree of arrays, the data of the inner loop.
        query: a pytree of arrays with every field of `support`, the data of the outer loss.
    """

    support: PyTree
    query: PyTree


class Adaptation(NamedTuple):
    """What an inner loop returns.

    Attributes:
        params: the adapted parameters φ, in the structure of the parameters given.
        support_losses: `[steps]`, the support loss before each inner step.
        probes: `probe_fn(params)` before the first and after every inner step, stacked along a
            leading axis `[steps + 1, ...]`; None without a `probe_fn`.
        recorded: the batches that a `record_fn` collected, stacked `[steps, ...]`; None without a
            `record_fn`.
    """

    params: PyTree
    support_losses: Float[Array, " steps"]
    probes: PyTree = None
    recorded: PyTree = None


class MetaLearner(NamedTuple):
    """An algorithm of the MAML family, as three pure functions.

    Attributes:
        init: `init(params) -> meta_params`. The identity for MAML.
        adapt: `adapt(meta_params, support, *, num_inner_steps=None, probe_fn=None) -> Adaptation`.
            Solves one task.
        meta_gradient: `meta_gradient(meta_params, tasks, *, outer_step=0) -> ((loss, info),
            gradient)`. Every array of `tasks` has a leading axis `tasks`; `loss` and `gradient` are
            means over it, and the arrays of `info`, a dictionary, keep it. `outer_step` counts the
            steps taken, for learners that have a schedule. Logged from `info`, if present:
            `query_loss` `[tasks]` (`loss` if absent), the first of `support_losses`
            `[tasks, steps]`, and every other one-dimensional array of floats under its own name.
        advice: a sentence on what to try if training diverges; may be empty.
        mesh: the devices that `meta_gradient` spreads tasks over; None: one. See `over_tasks`.
    """

    init: Callable[[PyTree], PyTree]
    adapt: Callable[..., Adaptation]
    meta_gradient: Callable[..., tuple[tuple[Scalar, PyTree], PyTree]]
    advice: str = ""
    mesh: Mesh | None = None


class Limit(NamedTuple):
    """How large a metric may become before training stops.

    Attributes:
        value: training stops if the metric is larger.
        remedy: a sentence on what to do then.
    """

    value: float
    remedy: str


class OuterLoop(NamedTuple):
    """Learning across tasks, as two pure functions.

    Attributes:
        init: `init(params) -> state`.
        step: `step(key, state) -> (state, metrics)`. `metrics` maps metric keys to scalars.
        limits: the limit of each limited metric, by name.
        advice: a sentence on what to try if training diverges; may be empty.
        mesh: the devices that `step` spreads tasks over; None: one.
    """

    init: Callable[[PyTree], PyTree]
    step: Callable[[PRNGKeyArray, PyTree], tuple[PyTree, dict[str, Scalar]]]
    limits: Mapping[str, Limit] = MappingProxyType({})
    advice: str = ""
    mesh: Mesh | None = None
