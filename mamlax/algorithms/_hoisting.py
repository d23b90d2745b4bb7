"""Compute once, before a loop, everything that does not change in the loop.

A body that does not adapt gives the same features at every inner step. A loop over a function of
the parameters computes them each time, because the compiler does not move that much out of a loop.
"""

from collections.abc import Callable

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import PyTree

from ._program import is_in, reads


def hoisted(fn: Callable[[PyTree], PyTree], example: PyTree) -> Callable[[PyTree], PyTree]:
    """`fn`, with everything that does not depend on its argument computed now.

    Args:
        fn: a function from one pytree of arrays to arrays.
        example: an example of such a pytree.

    Returns:
        The same function, for arguments with the shapes and types of `example`. It may be
        differentiated with respect to its argument and to what `fn` closes over.
    """
    closed, result = jax.make_jaxpr(fn, return_shape=True)(example)
    program, constants = closed.jaxpr, closed.consts
    changing = set(program.invars)
    before, inside = [], []
    for equation in program.eqns:
        if equation.effects or reads(equation, changing):
            inside.append(equation)
            changing.update(equation.outvars)
        else:
            before.append(equation)

    made = {x for equation in before for x in equation.outvars}
    used = [x for equation in inside for x in equation.invars] + list(program.outvars)
    kept = list(dict.fromkeys(x for x in used if is_in(made, x)))
    names = program.debug_info.with_unknown_names()
    first = program.replace(invars=[], outvars=kept, eqns=before, debug_info=names)
    values = jaxpr_as_fun(ClosedJaxpr(first, constants))()
    second = program.replace(invars=[*kept, *program.invars], eqns=inside, debug_info=names)
    remaining = jaxpr_as_fun(ClosedJaxpr(second, constants))

    def with_the_rest(argument):
        return jax.tree.unflatten(
            jax.tree.structure(result), remaining(*values, *jax.tree.leaves(argument))
        )

    return with_the_rest
