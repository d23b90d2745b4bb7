"""Split a support set into minibatches, one for each inner step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import MamlaxError
from .._types import Task

_DEALING = 0x6DEA1  # folded into a task's key: none that a distribution would use itself


class Minibatches(eqx.Module):
    """The same tasks, with the support in minibatches, one for each inner step.

    For learners made with `support_per_step=True`. The support examples are shuffled and divided
    into minibatches. When all have been used, they are shuffled again (as in Reptile's code:
    Nichol, Achiam & Schulman 2018). Query sets do not change. Examples of weight 0, such as those
    that pad the supports of `GroupedRows`, are treated like the others, so a minibatch may consist
    only of them.

    Args:
        tasks: a task distribution, with `sample(key) -> Task`.
        num_inner_steps: minibatches per task.
        size: examples per minibatch, at most the size of the support.

    Raises:
        MamlaxError: if the support has fewer examples than a minibatch, or its arrays have
            different numbers of examples.
        ValueError: if `num_inner_steps` or `size` is not positive.

    Example:
        >>> import jax, mamlax
        >>> tasks = mamlax.Minibatches(mamlax.Sinusoids(shots=10), num_inner_steps=5, size=4)
        >>> task = tasks.sample(jax.random.key(0))
        >>> task.support.inputs.shape, task.query.inputs.shape
        ((5, 4, 1), (10, 1))
    """

    tasks: PyTree
    num_inner_steps: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(self, tasks: PyTree, *, num_inner_steps: int, size: int):
        if min(num_inner_steps, size) < 1:
            raise ValueError(
                f"num_inner_steps and size must be positive, got {num_inner_steps} and {size}."
            )
        self.tasks, self.num_inner_steps, self.size = tasks, num_inner_steps, size
        num_examples = _num_examples(jax.eval_shape(tasks.sample, jax.random.key(0)).support)
        if size > num_examples:
            raise MamlaxError(
                f"a minibatch of {size} examples is more than the {num_examples} of a support set. "
                "Give a smaller size, or larger supports."
            )

    def sample(self, key) -> Task:
        """Draw one task. The arrays of its support are `[num_inner_steps, size, ...]`."""
        task = self.tasks.sample(key)  # with this key: the tasks are those without minibatches
        num_examples = _num_examples(task.support)
        num_rounds = -(-self.num_inner_steps * self.size // num_examples)
        keys = jax.random.split(jax.random.fold_in(key, _DEALING), num_rounds)
        orders = jax.vmap(lambda key: jax.random.permutation(key, num_examples))(keys)
        dealt = orders.reshape(-1)[: self.num_inner_steps * self.size]
        dealt = dealt.reshape(self.num_inner_steps, self.size)

        def deal(x):
            if x.shape[0] == 0:  # a reference that stands for the inputs themselves
                return jnp.zeros((self.num_inner_steps, *x.shape), x.dtype)
            return x[dealt]

        return task._replace(support=jax.tree.map(deal, task.support))


def _num_examples(support: PyTree) -> int:
    """The number of examples of a support: the leading axis of its arrays, except empty ones."""
    lengths = {
        jax.tree_util.keystr(path): leaf.shape[:1]
        for path, leaf in jax.tree_util.tree_leaves_with_path(support)
        if leaf.shape[:1] != (0,)
    }
    if len(set(lengths.values())) != 1 or () in lengths.values():
        found = ", ".join(f"support{name}: {list(length)}" for name, length in lengths.items())
        raise MamlaxError(
            "a support is dealt out along its first axis, of examples, which all its arrays must "
            f"share; found {found or 'no arrays'}."
        )
    return next(iter(lengths.values()))[0]
