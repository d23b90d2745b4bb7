"""Find what prevents a meta-loss from being computed in float64, and in which lines."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
from jax.extend import source_info_util
from jaxtyping import PyTree

from ._program import equations

_PACKAGE = Path(__file__).parents[1].name


def explain_failure(
    error: Exception, fn: Callable[..., Any], params: PyTree, tasks: PyTree
) -> None:
    """Raise an explanation if `fn` fails only in float64."""
    try:
        eqx.filter_eval_shape(fn, params, tasks)
    except Exception:
        return
    said = next(iter(str(error).splitlines()), type(error).__name__)
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in Path(frame.filename).parts for part in ("site-packages", _PACKAGE))
    ]
    there = [f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in theirs[-1:]]
    raise TypeError(
        "the loss can be computed in the types given and not in float64, which the check needs. It "
        "moves params and tasks to float64, and cannot move what loss_fn holds (arrays outside of "
        "its arguments) or makes (jnp.zeros(..., jnp.float32)). Give these the type of params, "
        f"e.g. x.astype(params.dtype).{' It fails at ' if there else ''}{' '.join(there)} ({said})"
    ) from error


def narrowing(jaxpr: Any) -> dict[str, list[str]]:
    """Where a jaxpr converts float64 to types with fewer bits: the lines, for each type."""
    places = {}
    for equation in equations(jaxpr):
        if "float64" in _dtypes(equation.invars):
            for name in _dtypes(equation.outvars) & {"float32", "float16", "bfloat16"}:
                line = Path(source_info_util.summarize(equation.source_info)).name
                places.setdefault(name, {})[line] = None
    return {name: list(lines) for name, lines in places.items()}


def in_lines(places: Mapping[str, Sequence[str]]) -> str:
    """The first lines of each type, in words."""
    lines = [line for name in sorted(places) for line in places[name][:3]]
    return f" See {', '.join(lines)}." if lines else ""


def _dtypes(variables: PyTree) -> set[str]:
    return {str(getattr(variable.aval, "dtype", None)) for variable in variables}
