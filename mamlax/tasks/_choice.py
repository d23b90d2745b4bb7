"""Draw without replacement from a set whose size may be traced."""

import jax
import jax.numpy as jnp


def choose(key, size, count: int):
    """`count` different integers of 0 … size − 1 in random order; all orders equally likely.

    Floyd's algorithm: the i-th draw is uniform over 0 … size − count + i. If that integer was drawn
    before, take the largest of these, which cannot have been drawn. It then changes places with one
    of the first i + 1, as in Fisher and Yates's shuffle. The cost depends only on `count`. Draws
    are 32 random bits modulo a number: chances of integers differ by the share size / 2³².
    """
    places = jnp.arange(count, dtype=jnp.int32)
    largest = (size - count + places).astype(jnp.int32)
    # one call for both, since each takes long to compile
    bits = jax.random.bits(key, (2, count), jnp.uint32)
    most = jnp.stack([largest, places]).astype(jnp.uint32)
    drawn, swapped = (bits % (most + 1)).astype(jnp.int32)

    def add(i, chosen):
        came_before = (chosen == drawn[i]).any()
        new = jnp.where(came_before, largest[i], drawn[i])
        return chosen.at[i].set(chosen[swapped[i]]).at[swapped[i]].set(new)

    return jax.lax.fori_loop(0, count, add, jnp.full(count, -1, jnp.int32))
