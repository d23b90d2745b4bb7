"""The shared nouns: what a task, an adaptation, a learner and an outer loop are.

Everything else in the package returns one of these or consumes one. They are named tuples of
arrays or of pure functions: no behavior lives here.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

LossFn: TypeAlias = Callable[[PyTree, PyTree], Scalar]
"""`loss_fn(params, batch) -> scalar`: all that a user must bring."""
SampleTask: TypeAlias = Callable[[PRNGKeyArray], "Task"]
"""`sample_task(key) -> Task`: where tasks come from."""


class Batch(NamedTuple):
    """Examples as the built-in tasks and models use them; your own loss may take any pytree.

    Attributes:
        inputs: `[examples, ...]`.
        targets: `[examples, ...]` (regression) or `[examples]` of integers (classification).
        reference: `[reference_examples, ...]` or None. Inputs whose moments normalize `inputs`
            where a model is built with `norm="support"`: the support's, for a query. Of length 0
            it stands for `inputs` themselves, as in the support.
        weights: `[examples]` or None. How much each example counts, 0 where it is padding; None:
            all alike.
    """

    inputs: PyTree
    targets: PyTree
    reference: PyTree = None
    weights: PyTree = None


class Task(NamedTuple):
    """One learning problem: examples to adapt on and examples to judge on.

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
        recorded: the batches that a `record_fn` gathered, stacked `[steps, ...]`; None without.
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
            steps taken, for learners that have a schedule. Where given, these of `info` are
            logged: `query_loss` `[tasks]` (else `loss`), `support_losses` `[tasks, steps]` (the
            first), and every other one-dimensional array of floats under its own name.
        advice: what to try where training diverges, in a sentence; empty: nothing in particular.
    """

    init: Callable[[PyTree], PyTree]
    adapt: Callable[..., Adaptation]
    meta_gradient: Callable[..., tuple[tuple[Scalar, PyTree], PyTree]]
    advice: str = ""


class Limit(NamedTuple):
    """How large a metric may become before training stops.

    Attributes:
        value: the largest value that training may go on with.
        remedy: what to do beyond it, in a sentence.
    """

    value: float
    remedy: str


class OuterLoop(NamedTuple):
    """Learning across tasks, as two pure functions.

    Attributes:
        init: `init(params) -> state`.
        step: `step(key, state) -> (state, metrics)`. `metrics` maps metric keys to scalars.
        limits: by metric, what it must not exceed.
        advice: what to try where training diverges, in a sentence; empty: nothing in particular.
    """

    init: Callable[[PyTree], PyTree]
    step: Callable[[PRNGKeyArray, PyTree], tuple[PyTree, dict[str, Scalar]]]
    limits: Mapping[str, Limit] = MappingProxyType({})
    advice: str = ""
