"""N-way K-shot classification tasks, drawn on the device from class-indexed arrays."""

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
        flips: mirror each image left to right or not, at random. For meta-training only: it adds
            examples to a class, where `rotations` makes classes, so held-out tasks have no use
            for it.
        crop_padding: shift each image by up to so many pixels each way, at random (pad with black
            and crop). For meta-training only, as `flips`.
        reference: also give `reference`, for models built with `norm="support"`: to the query the
            support inputs, to the support no examples, which stands for its own inputs.
        families: a name for each class; the classes of a task are then of one family, drawn at
            random from those that have enough, as characters of one alphabet, which are harder to
            tell apart than characters of many (Lake et al. 2015).

    Raises:
        MamlaxError: if the data has fewer classes or examples than asked for, no family has enough
            classes, or examples are no images where they are to be turned, mirrored or shifted.

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
        """Draw one task: `inputs` `[ways*shots, ...]`, `targets` `[ways*shots]` of integers, class
        after class; the query alike with `num_query`.
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
    """Plain classification over every class at once: the task on which a baseline is pretrained.

    `sample` draws examples uniformly over classes, with the class's index as target; support and
    query are the same batch. With `rotations`, a class turned is a class of its own: target
    4·class + quarter turns.

    Args:
        data: the classes.
        num_examples: examples per batch.
        rotations: turn examples at random.
        flips: mirror examples at random, as in `FewShot`.
        crop_padding: shift examples at random, as in `FewShot`.
        reference: also give a `reference` of no examples, which stands for the batch itself, for
            models built with `norm="support"`.

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
        """How many different targets there are."""
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
    """No examples as reference: models with `norm="support"` take the inputs themselves.

    The inputs again would cost a second pass: under `vmap` nothing tells that they are the same.
    """
    return batch._replace(reference=batch.inputs[:0])


def _as_floats(examples):
    if examples.dtype == jnp.uint8:
        return examples.astype(jnp.float32) / 255
    return examples
