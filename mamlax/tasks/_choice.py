"""Draw without replacement from a set whose size may be traced."""

import jax
import jax.numpy as jnp


def choose(key, size, count: int):
    """`count` different integers of 0 … size − 1 in random order; all selections equally likely.

    Floyd's algorithm: the i-th draw is uniform over 0 … size − count + i. If that integer was drawn
    before, take the largest of these, which cannot have been drawn. The cost depends only on
    `count`.
    """
    draw_key, order_key = jax.random.split(key)
    largest = size - count + jnp.arange(count, dtype=jnp.int32)
    drawn = jax.random.randint(draw_key, (count,), 0, largest + 1, jnp.int32)

    def add(i, chosen):
        came_before = (chosen == drawn[i]).any()
        return chosen.at[i].set(jnp.where(came_before, largest[i], drawn[i]))

    chosen = jax.lax.fori_loop(0, count, add, jnp.full(count, -1, jnp.int32))
    return jax.random.permutation(order_key, chosen)
