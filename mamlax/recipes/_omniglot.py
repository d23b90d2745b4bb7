"""The Omniglot problem: settings, and the parts made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ._recipe import Parts

Network = Literal["conv4", "fully-connected"]


@dataclass(frozen=True)
class OmniglotProblem:
    """N-way K-shot classification of handwritten characters."""

    ways: int = 5
    """Classes per task."""
    shots: int = 1
    """Support examples per class."""
    num_query: int | None = None
    """Query examples per class; as many as shots where None."""
    network: Network = "conv4"
    """Four strided convolutions, or four fully connected layers."""
    channels: int = 64
    """Filters per convolution."""
    head_scale: float = 0.0
    """Standard deviation of the first weights of conv4's head; the paper's code has 1.0."""
    norm: Literal["batch", "support", "group", "layer", "none"] = "batch"
    """Normalization. "batch" is the paper's, and transductive; the others are not."""
    rotations: bool = True
    """Turn classes at random by quarter turns, in training and evaluation, as the paper does."""
    image_size: int = 28
    """Height and width that drawings are resized to."""
    num_test_ways: int | None = None
    """Classes per task in validation and evaluation; as many as ways where None. Other ways need a
    head that is made for the task: --algorithm proto-maml or unicorn-maml."""
    context_size: int = 100
    """Numbers that adapt, for cavia."""
    split_seed: int = 1
    """Which random split of the characters."""

    def build(self, data_dir: str | None = None, *, has_context: bool = False) -> Parts:
        """Find or download Omniglot, and make the parts."""
        import dataclasses

        import jax
        import jax.numpy as jnp
        import numpy as np
        import optax

        from .. import models
        from ..tasks._few_shot import AllWays, FewShot
        from ..tasks._omniglot import omniglot
        from ._recipe import Baseline, Parts

        splits = omniglot(data_dir, size=self.image_size, split_seed=self.split_seed)
        splits = jax.tree.map(jnp.asarray, splits)
        num_test_ways = self.num_test_ways or self.ways
        # with the support for reference, a second reading of the metric is possible
        has_reference = self.norm in ("batch", "support")
        train, validation, test = (
            FewShot(
                data,
                ways=ways,
                shots=self.shots,
                num_query=self.num_query,
                rotations=self.rotations,
                reference=reference,
            )
            for data, ways, reference in (
                (splits.train, self.ways, self.norm == "support"),
                (splits.validation, num_test_ways, has_reference),
                (splits.test, num_test_ways, has_reference),
            )
        )
        image_shape = (self.image_size, self.image_size, 1)
        pretraining = AllWays(
            splits.train,
            num_examples=2 * self.ways,
            rotations=self.rotations,
            reference=self.norm == "support",
        )

        def init_params(key, num_outputs=self.ways, context_size=0):
            if self.network == "fully-connected":
                return models.mlp(
                    key,
                    self.image_size**2,
                    num_outputs,
                    hidden_sizes=(256, 128, 64, 64),
                    norm=self.norm,
                    weight_scale=0.01,
                    context_size=context_size,
                )
            return models.conv4(
                key,
                image_shape,
                num_outputs,
                channels=self.channels,
                norm=self.norm,
                head_scale=self.head_scale,
                context_size=context_size,
            )

        def logits_of(params, batch):
            return params(batch.inputs, batch.reference)

        def loss_fn(params, batch):
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits_of(params, batch), batch.targets
            )
            return jnp.mean(losses)

        def metric_fn(params, batch):
            return jnp.mean(jnp.argmax(logits_of(params, batch), axis=-1) == batch.targets)

        def non_transductive_fn(params, batch):
            """The metric where moments of the support normalize the query."""
            return metric_fn(dataclasses.replace(params, norm="support"), batch)

        def finish(key, params):
            """A new head for the ways of a task, on the features pretrained."""
            return params.with_head(*init_params(key, num_test_ways).head)

        def examples(adapters):
            """One task: its images, and predictions after some steps."""
            task = test.sample(jax.random.key(0))
            return {
                "kind": np.array("few-shot"),
                "ways": np.array(num_test_ways),
                "num_steps": [0, 1, 3],
                "support_images": task.support.inputs[..., 0],
                "query_images": task.query.inputs[..., 0],
                "query_targets": task.query.targets,
                "probabilities": jnp.stack(
                    [
                        jax.nn.softmax(logits_of(adapters["maml"](task.support, n), task.query))
                        for n in (0, 1, 3)
                    ]
                ),
            }

        return Parts(
            init_params=lambda key: init_params(key, self.ways, self.context_size * has_context),
            loss_fn=loss_fn,
            metric="accuracy",
            metric_fn=metric_fn,
            train_tasks=train,
            validation_tasks=validation,
            test_tasks=test,
            transductive=models.is_transductive(self.norm),
            non_transductive_fn=non_transductive_fn if models.is_transductive(self.norm) else None,
            normalizes=self.norm != "none",
            baselines={
                "pretrained": Baseline(
                    lambda key: init_params(key, pretraining.num_ways),
                    pretraining,
                    validation,
                    test,
                    finish,
                ),
                "random": Baseline(
                    lambda key: init_params(key, num_test_ways), None, validation, test
                ),
            },
            examples=examples,
        )
