"""N-way K-shot classification tasks, drawn on the device from class-indexed arrays."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from .._errors import MamlaxError
from .._types import Batch, Task


class ClassArrays(eqx.Module):
    """Examples sorted by class, with where each class begins and how many examples it has.

    Classes may have different sizes. Unsigned bytes are taken for pixels: tasks have them as
    floats in [0, 1].

    Attributes:
        examples: `[examples, ...]`, class after class.
        starts: `[classes]`, index of the first example of each class.
        sizes: `[classes]`, number of examples of each class.
        names: the name of each class.
    """

    examples: Shaped[Array | np.ndarray, "examples ..."]
    starts: Int[Array | np.ndarray, " classes"]
    sizes: Int[Array | np.ndarray, " classes"]
    names: tuple[str, ...] = eqx.field(static=True)

    @staticmethod
    def of(classes: dict[str, np.ndarray]) -> "ClassArrays":
        """From a dictionary of class name → `[examples, ...]`, in the dictionary's order.

        Example:
            >>> import numpy as np, mamlax
            >>> data = mamlax.ClassArrays.of({"a": np.zeros((3, 2)), "b": np.ones((5, 2))})
            >>> data.examples.shape, data.sizes.tolist()
            ((8, 2), [3, 5])
        """
        sizes = np.array([len(examples) for examples in classes.values()], np.int32)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        return ClassArrays(np.concatenate(list(classes.values())), starts, sizes, tuple(classes))

    def select(self, indices: Sequence[int]) -> "ClassArrays":
        """Only the classes with these indices, in this order."""
        examples, starts = np.asarray(self.examples), np.asarray(self.starts)
        sizes = np.asarray(self.sizes)
        return ClassArrays.of(
            {self.names[i]: examples[starts[i] : starts[i] + sizes[i]] for i in indices}
        )


class FewShot(eqx.Module):
    """N-way K-shot tasks: N classes, K support and `num_query` query examples of each.

    Classes are drawn without replacement and numbered 0 … N−1 in the order drawn; the examples of
    a class are drawn without replacement, support and query disjoint. With `rotations`, each class
    of each task is turned by 0, 90, 180 or 270 degrees, all its examples alike: a turned character
    is another character (Santoro et al. 2016; as in Finn et al. 2017).

    Args:
        data: the classes to draw from.
        ways: N, classes per task.
        shots: K, support examples per class.
        num_query: query examples per class; as many as `shots` where None.
        rotations: turn classes at random (square images `[height, width, channels]` only).
        reference: also give the support inputs as the query's `reference`, for models built with
            `norm="support"`.

    Raises:
        MamlaxError: if the data has fewer classes or examples than asked for.

    Example:
        >>> import jax, numpy as np, mamlax
        >>> data = mamlax.ClassArrays.of({f"class {i}": np.full((4, 2), i) for i in range(6)})
        >>> task = mamlax.FewShot(data, ways=5, shots=1, num_query=2).sample(jax.random.key(0))
        >>> task.support.inputs.shape, task.query.inputs.shape, task.query.targets.tolist()
        ((5, 2), (10, 2), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    """

    data: ClassArrays
    ways: int = eqx.field(static=True)
    shots: int = eqx.field(static=True)
    num_query: int = eqx.field(static=True)
    rotations: bool = eqx.field(static=True)
    reference: bool = eqx.field(static=True)
    max_size: int = eqx.field(static=True)

    def __init__(
        self,
        data: ClassArrays,
        *,
        ways: int,
        shots: int,
        num_query: int | None = None,
        rotations: bool = False,
        reference: bool = False,
    ):
        self.data, self.ways, self.shots = data, ways, shots
        self.num_query = shots if num_query is None else num_query
        self.rotations, self.reference = rotations, reference
        sizes = np.asarray(data.sizes)
        self.max_size = int(sizes.max(initial=0))
        if min(ways, shots, self.num_query) < 1:
            raise MamlaxError(
                "ways, shots and num_query must be positive, got "
                f"{ways}, {shots} and {self.num_query}."
            )
        if ways > len(sizes):
            raise MamlaxError(
                f"ways={ways}, but the data has {len(sizes)} classes. Ask for at most as many."
            )
        needed, smallest = shots + self.num_query, int(sizes.argmin())
        if sizes[smallest] < needed:
            raise MamlaxError(
                f"shots={shots} and num_query={self.num_query} need {needed} examples per class, "
                f"but class {data.names[smallest]!r} has {sizes[smallest]}. "
                "Ask for fewer, or leave small classes out with data.select(...)."
            )
        _check_rotatable(data, rotations)

    def sample(self, key) -> Task:
        """Draw one task: `inputs` `[ways*shots, ...]`, `targets` `[ways*shots]` of integers, class
        after class; the query alike with `num_query`.
        """
        class_key, example_key, rotation_key = jax.random.split(key, 3)
        starts, sizes = jnp.asarray(self.data.starts), jnp.asarray(self.data.sizes)
        classes = _choose(class_key, jnp.ones(len(self.data.names), bool), self.ways)
        present = jnp.arange(self.max_size)[None] < sizes[classes][:, None]
        chosen = jax.vmap(_choose, in_axes=(0, 0, None))(
            jax.random.split(example_key, self.ways), present, self.shots + self.num_query
        )
        inputs = _as_floats(jnp.asarray(self.data.examples)[starts[classes][:, None] + chosen])
        if self.rotations:
            quarter_turns = jax.random.randint(rotation_key, (self.ways,), 0, 4)
            inputs = jax.vmap(rotate)(inputs, quarter_turns)

        def batch(inputs, reference):
            num_examples = inputs.shape[1]
            targets = jnp.repeat(jnp.arange(self.ways, dtype=jnp.int32), num_examples)
            return Batch(inputs.reshape(-1, *inputs.shape[2:]), targets, reference)

        support = batch(inputs[:, : self.shots], None)
        reference = support.inputs if self.reference else None
        return Task(support, batch(inputs[:, self.shots :], reference))


class AllWays(eqx.Module):
    """Plain classification over every class at once: the task on which a baseline is pretrained.

    `sample` draws examples uniformly over classes, with the class's index as target; support and
    query are the same batch. With `rotations`, a class turned is a class of its own: target
    4·class + quarter turns.

    Args:
        data: the classes.
        num_examples: examples per batch.
        rotations: turn examples at random.

    Example:
        >>> import jax, numpy as np, mamlax
        >>> data = mamlax.ClassArrays.of({"a": np.zeros((3, 2)), "b": np.ones((5, 2))})
        >>> task = mamlax.AllWays(data, num_examples=4).sample(jax.random.key(0))
        >>> bool((task.query.inputs[:, 0] == task.query.targets).all())
        True
    """

    data: ClassArrays
    num_examples: int = eqx.field(static=True)
    rotations: bool = eqx.field(static=True)

    def __init__(self, data: ClassArrays, *, num_examples: int, rotations: bool = False):
        self.data, self.num_examples, self.rotations = data, num_examples, rotations
        _check_rotatable(data, rotations)

    @property
    def num_ways(self) -> int:
        """How many different targets there are."""
        return len(self.data.names) * (4 if self.rotations else 1)

    def sample(self, key) -> Task:
        """Draw a batch: `inputs` `[num_examples, ...]`, `targets` `[num_examples]`."""
        class_key, example_key, rotation_key = jax.random.split(key, 3)
        starts, sizes = jnp.asarray(self.data.starts), jnp.asarray(self.data.sizes)
        targets = jax.random.randint(class_key, (self.num_examples,), 0, len(self.data.names))
        chosen = jax.random.randint(example_key, (self.num_examples,), 0, sizes[targets])
        inputs = _as_floats(jnp.asarray(self.data.examples)[starts[targets] + chosen])
        if self.rotations:
            quarter_turns = jax.random.randint(rotation_key, (self.num_examples,), 0, 4)
            inputs = jax.vmap(lambda x, turns: rotate(x[None], turns)[0])(inputs, quarter_turns)
            targets = 4 * targets + quarter_turns
        batch = Batch(inputs, targets)
        return Task(batch, batch)


def rotate(images: Shaped[Array, "examples size size channels"], quarter_turns):
    """Turn square images counterclockwise by a traced number of quarter turns."""
    half = jnp.where(quarter_turns >= 2, images[:, ::-1, ::-1], images)
    return jnp.where(quarter_turns % 2 == 1, jnp.rot90(half, axes=(1, 2)), half)


def _choose(key, allowed, count: int):
    """`count` distinct indices of `allowed`, uniformly: those with the largest random scores."""
    scores = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    return jax.lax.top_k(scores, count)[1]


def _as_floats(examples):
    if examples.dtype == jnp.uint8:
        return examples.astype(jnp.float32) / 255
    return examples


def _check_rotatable(data: ClassArrays, rotations: bool):
    shape = data.examples.shape[1:]
    if rotations and (len(shape) != 3 or shape[0] != shape[1]):
        raise MamlaxError(
            f"rotations need square images [height, width, channels], got examples of shape "
            f"{list(shape)}."
        )
