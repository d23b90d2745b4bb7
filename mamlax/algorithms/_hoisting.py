"""Compute once, before a loop, what does not change in it.

A body that does not adapt gives the same features at every inner step, yet a loop over a function
of the parameters computes them each time: the compiler does not move as much out of a loop.
"""

from collections.abc import Callable

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import PyTree

from ._program import is_in, reads


def hoisted(fn: Callable[[PyTree], PyTree], example: PyTree) -> Callable[[PyTree], PyTree]:
    """`fn`, with what in it does not depend on its argument computed here and now.

    Args:
        fn: a function of one pytree of arrays, to arrays.
        example: such a pytree.

    Returns:
        The same function, for arguments of the shapes and types of `example`. It may be
        differentiated by its argument, and by what `fn` closes over.
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
