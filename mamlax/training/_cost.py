"""The memory and operations of an outer step, computed from its program without running it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import PyTree

from .._files import Json
from .._types import OuterLoop


class Cost(NamedTuple):
    """The cost of an outer step.

    Attributes:
        memory: peak memory in bytes: arguments (data, parameters, optimizer state), results and
            intermediate values, as the compiler assigns them. If the devices are cores of one
            processor, the sum over devices; otherwise the memory of one device.
        flops: floating-point operations, summed over tasks and devices: two for each product in
            matrix products and convolutions, one for each number that another operation computes.
        step: the compiled `step(key, state) -> (state, metrics)`.
    """

    memory: int
    flops: float
    step: Callable[[PyTree, PyTree], PyTree]


def cost_of(loop: OuterLoop, params: PyTree) -> Cost:
    """Compile the outer step of a loop and read its memory and operations, without running it.

    Args:
        loop: any outer loop.
        params: the parameters that training would start from.

    Example:
        >>> import jax, jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((params(batch.inputs) - batch.targets) ** 2)
        >>> tasks = mamlax.Sinusoids(shots=10)
        >>> params = mamlax.models.mlp(jax.random.key(0), 1, 1)
        >>> def cost(first_order):
        ...     learner = mamlax.maml(
        ...         loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=5,
        ...         first_order=first_order,
        ...     )
        ...     loop = mamlax.outer_loop(learner, optax.adam(1e-3), tasks.sample, meta_batch_size=4)
        ...     return mamlax.cost_of(loop, params)
        >>> cost(first_order=False).flops > 1.5 * cost(first_order=True).flops
        True
    """
    state, key = loop.init(params), jax.random.key(0)

    @eqx.filter_jit
    def step(loop_step, key, state):
        return loop_step(key, state)

    lowered = step.lower(loop.step, key, state)  # pyright: ignore[reportFunctionMemberAccess]
    compiled = lowered.compile()
    executable = compiled.compiled
    analysis = executable.memory_analysis()
    memory = (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
    devices = executable.runtime_executable().local_devices()
    if devices[0].platform == "cpu":
        memory *= len(devices)
    jaxpr, *_ = eqx.filter_make_jaxpr(loop.step)(key, state)
    return Cost(memory, _flops(jaxpr.jaxpr), lambda key, state: compiled(loop.step, key, state))


def _flops(jaxpr: Any) -> float:
    return sum(map(_flops_of, jaxpr.eqns))


def _flops_of(equation: Any) -> float:
    """Operations of one equation, including the programs inside it."""
    name, parameters = equation.primitive.name, equation.params
    inner = [_flops(x) for x in _programs(parameters)]
    if name == "scan":
        return parameters["length"] * sum(inner)
    if name == "cond":
        return max(inner)
    if name == "custom_linear_solve":  # its other programs are for derivatives
        return _flops(parameters["jaxprs"].solve.jaxpr)
    if name == "shard_map":
        return parameters["mesh"].size * sum(inner)
    if inner:  # a call; a while loop counts once, because its length is unknown
        return sum(inner)
    num_results = sum(math.prod(getattr(v.aval, "shape", ())) for v in equation.outvars)
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * num_results * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        num_outputs = kernel[parameters["dimension_numbers"].rhs_spec[0]]
        return 2.0 * num_results * math.prod(kernel) / num_outputs
    if name in _CONVOLUTIONS:
        arrays = [*equation.invars, *equation.outvars]
        kernel, outputs = (arrays[index].aval.shape for index in _CONVOLUTIONS[name])
        return 2.0 * math.prod(outputs) * math.prod(kernel[-4:-1])
    return 0.0 if name in _MOVES else float(num_results)


# those of `mamlax.models.convolve`: which of their arrays, results last, are kernel and outputs
_CONVOLUTIONS = {
    "convolve": (1, 2),
    "convolve_by_outputs": (1, 0),
    "convolve_by_images": (2, 1),
}

# operations that move numbers without computing any
_MOVES = (
    "broadcast_in_dim",
    "concatenate",
    "convert_element_type",
    "copy",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "iota",
    "pad",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "stop_gradient",
    "transpose",
)


def _programs(parameters: Json) -> list[PyTree]:
    """The jaxprs among the parameters of an equation."""
    leaves = jax.tree.leaves(
        list(parameters.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
    )
    programs = [getattr(leaf, "jaxpr", leaf) for leaf in leaves]
    return [program for program in programs if hasattr(program, "eqns")]
