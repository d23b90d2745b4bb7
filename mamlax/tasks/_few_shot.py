"""N-way K-shot classification tasks, drawn on the device from arrays sorted by class."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import MamlaxError
from .._types import Batch, Task
from ._augmentation import augment, check_augmentation, rotate
from ._choice import choose
from ._class_arrays import ClassArrays
from ._families import Families, families_of
from ._streaming import rows_of


class FewShot(eqx.Module):
    """N-way K-shot tasks: N classes, K support and `num_query` query examples of each.

    Classes are drawn without replacement and numbered 0 … N−1 in the order drawn. The examples of a
    class are drawn without replacement; support and query are disjoint. With `rotations`, each
    class of each task is rotated by 0, 90, 180 or 270 degrees, all its examples by the same angle:
    a rotated character counts as another character (Santoro et al. 2016; as in Finn et al. 2017).

    Args:
        data: the classes to draw from.
        ways: N, classes per task.
        shots: K, support examples per class.
        num_query: query examples per class. None: as many as `shots`.
        rotations: rotate classes at random (only for square images `[height, width, channels]`).
        flips: mirror images left to right, at random. For meta-training only: it adds examples to a
            class (whereas `rotations` makes new classes), so it is of no use in held-out tasks.
        crop_padding: shift images at random, by up to this many pixels in each direction (pad with
            black and crop). For meta-training only, like `flips`.
        reference: also set `reference`, for models built with `norm="support"`. The reference of
            the query is the support inputs; that of the support has no examples, which means the
            support inputs themselves.
        families: the name of each class's family. The classes of a task are then all from one
            family, drawn at random among the families with enough classes. For example, characters
            of one alphabet are harder to tell apart than characters of many (Lake et al. 2015).

    Raises:
        MamlaxError: if the data has too few classes or examples, no family has enough classes, or
            `rotations`, `flips` or `crop_padding` are used and examples are not images.

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
    flips: bool = eqx.field(static=True)
    crop_padding: int = eqx.field(static=True)
    reference: bool = eqx.field(static=True)
    families: Families | None

    def __init__(
        self,
        data: ClassArrays,
        *,
        ways: int,
        shots: int,
        num_query: int | None = None,
        rotations: bool = False,
        flips: bool = False,
        crop_padding: int = 0,
        reference: bool = False,
        families: Sequence[str] | None = None,
    ):
        self.data, self.ways, self.shots = data, ways, shots
        self.num_query = shots if num_query is None else num_query
        self.rotations, self.flips, self.crop_padding = rotations, flips, crop_padding
        self.reference = reference
        sizes = np.asarray(data.sizes)
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
        check_augmentation(
            data.examples.shape[1:], rotations=rotations, flips=flips, crop_padding=crop_padding
        )
        self.families = None if families is None else families_of(families, len(sizes), ways)

    def sample(self, key) -> Task:
        """Draw one task. The support has `inputs` `[ways*shots, ...]` and integer `targets`
        `[ways*shots]`, class after class; the query has `num_query` in the place of `shots`.
        """
        class_key, example_key, rotation_key = jax.random.split(key, 3)
        starts, sizes = jnp.asarray(self.data.starts), jnp.asarray(self.data.sizes)
        if self.families is None:
            classes = choose(class_key, len(self.data.names), self.ways)
        else:
            classes = self.families.choose(class_key, self.ways)
        chosen = jax.vmap(choose, in_axes=(0, 0, None))(
            jax.random.split(example_key, self.ways), sizes[classes], self.shots + self.num_query
        )
        inputs = rows_of(self.data.examples, starts[classes][:, None] + chosen)
        inputs = _as_floats(augment(_augmentation_key(key), inputs, self.flips, self.crop_padding))
        if self.rotations:
            quarter_turns = jax.random.randint(rotation_key, (self.ways,), 0, 4)
            inputs = jax.vmap(rotate)(inputs, quarter_turns)

        def batch(inputs, reference):
            num_examples = inputs.shape[1]
            targets = jnp.repeat(jnp.arange(self.ways, dtype=jnp.int32), num_examples)
            return Batch(inputs.reshape(-1, *inputs.shape[2:]), targets, reference)

        support = batch(inputs[:, : self.shots], None)
        query = batch(inputs[:, self.shots :], support.inputs if self.reference else None)
        return Task(_own_reference(support) if self.reference else support, query)


class AllWays(eqx.Module):
    """Ordinary classification over all classes at once, to pretrain a baseline.

    `sample` draws examples uniformly over classes; the target is the index of the class. Support
    and query are the same batch. With `rotations`, a rotated class counts as a separate class: the
    target is 4·class + quarter turns.

    Args:
        data: the classes.
        num_examples: examples per batch.
        rotations: rotate examples at random.
        flips: mirror examples at random, as in `FewShot`.
        crop_padding: shift examples at random, as in `FewShot`.
        reference: also set a `reference` without examples, which means the batch itself, for models
            built with `norm="support"`.

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
    flips: bool = eqx.field(static=True)
    crop_padding: int = eqx.field(static=True)
    reference: bool = eqx.field(static=True)

    def __init__(
        self,
        data: ClassArrays,
        *,
        num_examples: int,
        rotations: bool = False,
        flips: bool = False,
        crop_padding: int = 0,
        reference: bool = False,
    ):
        self.data, self.num_examples = data, num_examples
        self.rotations, self.flips, self.crop_padding = rotations, flips, crop_padding
        self.reference = reference
        check_augmentation(
            data.examples.shape[1:], rotations=rotations, flips=flips, crop_padding=crop_padding
        )

    @property
    def num_ways(self) -> int:
        """Number of different targets."""
        return len(self.data.names) * (4 if self.rotations else 1)

    def sample(self, key) -> Task:
        """Draw a batch: `inputs` `[num_examples, ...]`, `targets` `[num_examples]`."""
        class_key, example_key, rotation_key = jax.random.split(key, 3)
        starts, sizes = jnp.asarray(self.data.starts), jnp.asarray(self.data.sizes)
        targets = jax.random.randint(class_key, (self.num_examples,), 0, len(self.data.names))
        chosen = jax.random.randint(example_key, (self.num_examples,), 0, sizes[targets])
        inputs = rows_of(self.data.examples, starts[targets] + chosen)
        inputs = _as_floats(augment(_augmentation_key(key), inputs, self.flips, self.crop_padding))
        if self.rotations:
            quarter_turns = jax.random.randint(rotation_key, (self.num_examples,), 0, 4)
            inputs = jax.vmap(lambda x, turns: rotate(x[None], turns)[0])(inputs, quarter_turns)
            targets = 4 * targets + quarter_turns
        batch = Batch(inputs, targets)
        batch = _own_reference(batch) if self.reference else batch
        return Task(batch, batch)


def _augmentation_key(key):
    # besides those split off, so that tasks without augmentation are the ones they always were
    return jax.random.fold_in(key, 3)


def _own_reference(batch: Batch) -> Batch:
    """A reference without examples: models with `norm="support"` then use the inputs themselves.

    Repeating the inputs would cost a second pass: under `vmap`, nothing shows that they are equal.
    """
    return batch._replace(reference=batch.inputs[:0])


def _as_floats(examples):
    if examples.dtype == jnp.uint8:
        return examples.astype(jnp.float32) / 255
    return examples
