"""A program of JAX, operation by operation, as part of an ONNX graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from ._graph import Graph
from ._indices import INDICES
from ._loops import LOOPS
from ._numbers import NUMBERS, SAME
from ._reductions import REDUCTIONS
from ._shapes import SHAPES

_INLINED = {  # what they call, by the name of the parameter that holds it
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}
_TYPES = ("float32", "int32", "bool")
_OF_TRUTHS, _OF_NUMBERS = {"and", "or", "not"}, {"max", "min", "lt", "le", "gt", "ge"}
_OTHERS = NUMBERS | REDUCTIONS | SHAPES | INDICES


def check_type(dtype: Any) -> None:
    """Refuse a type that runtimes have few operations for.

    Raises:
        NotImplementedError: if it is none of float32, int32 and bool.
    """
    if str(dtype) not in _TYPES:
        raise NotImplementedError(f"{dtype}; arrays must be of {', '.join(_TYPES)}")


def converted(graph: Graph, program: ClosedJaxpr, inputs: Sequence[str]) -> list[str]:
    """Add what a program computes to a graph.

    Args:
        graph: the graph.
        program: as JAX traces it.
        inputs: tensors, its arguments.

    Returns:
        Tensors, its results.

    Raises:
        NotImplementedError: if an operation has no equivalent here; names it.
    """
    jaxpr, names = program.jaxpr, {}
    for variable, value in zip(jaxpr.constvars, program.consts, strict=True):
        names[variable] = graph.constant(np.asarray(value))
    names |= dict(zip(jaxpr.invars, inputs, strict=True))

    def name_of(atom: Any) -> str:
        if not isinstance(atom, Literal):
            return names[atom]
        kind: Any = atom.aval
        return graph.constant(np.asarray(atom.val, kind.dtype))

    for equation in jaxpr.eqns:
        results = _results(graph, equation, [name_of(atom) for atom in equation.invars])
        for variable, result in zip(equation.outvars, results, strict=True):
            names[variable] = graph.remember(result, variable.aval.shape)
    return [name_of(atom) for atom in jaxpr.outvars]


def _results(graph: Graph, equation: Any, inputs: list[str]) -> list[str]:
    name, settings = equation.primitive.name, equation.params
    for atom in (*equation.invars, *equation.outvars):
        check_type(atom.aval.dtype)
    is_truth = any(atom.aval.dtype == bool for atom in equation.invars)
    if name in (_OF_NUMBERS if is_truth else _OF_TRUTHS):
        raise NotImplementedError(f"{name} of {equation.invars[0].aval.dtype}")
    if name in _INLINED:
        program = settings[_INLINED[name]]
        if not isinstance(program, ClosedJaxpr):
            program = ClosedJaxpr(program, ())
        return converted(graph, program, inputs)
    if name in SAME:
        return [graph.node(SAME[name], *inputs)]
    if name in LOOPS:
        found = LOOPS[name](converted, graph, equation, *inputs)
    elif name in _OTHERS:
        found = _OTHERS[name](graph, equation, *inputs)
    else:
        raise NotImplementedError(f"{name} has no equivalent among ONNX's operations here")
    return [found] if isinstance(found, str) else found
