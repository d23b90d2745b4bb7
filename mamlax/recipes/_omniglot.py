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
    split_seed: int = 1
    """Which random split of the characters."""

    def build(self, data_dir: str | None = None) -> Parts:
        """Find or download Omniglot, and make the parts."""
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
        train, validation, test = (
            FewShot(
                data,
                ways=self.ways,
                shots=self.shots,
                num_query=self.num_query,
                rotations=self.rotations,
                reference=self.norm == "support",
            )
            for data in splits
        )
        image_shape = (self.image_size, self.image_size, 1)
        pretraining = AllWays(
            splits.train,
            num_examples=2 * self.ways,
            rotations=self.rotations,
            reference=self.norm == "support",
        )

        def init_params(key, num_outputs=self.ways):
            if self.network == "fully-connected":
                return models.mlp(
                    key,
                    self.image_size**2,
                    num_outputs,
                    hidden_sizes=(256, 128, 64, 64),
                    norm=self.norm,
                    weight_scale=0.01,
                )
            return models.conv4(
                key,
                image_shape,
                num_outputs,
                channels=self.channels,
                norm=self.norm,
                head_scale=self.head_scale,
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

        def finish(key, params):
            """A new head for the ways of a task, on the features pretrained."""
            return params.with_head_of(init_params(key))

        def examples(adapters):
            """One task: its images, and predictions after some steps."""
            task = test.sample(jax.random.key(0))
            return {
                "kind": np.array("few-shot"),
                "ways": np.array(self.ways),
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
            init_params=init_params,
            loss_fn=loss_fn,
            metric="accuracy",
            metric_fn=metric_fn,
            train_tasks=train.sample,
            validation_tasks=validation.sample,
            test_tasks=test.sample,
            transductive=models.is_transductive(self.norm),
            baselines={
                "pretrained": Baseline(
                    lambda key: init_params(key, pretraining.num_ways),
                    pretraining.sample,
                    validation.sample,
                    test.sample,
                    finish,
                ),
                "random": Baseline(init_params, None, validation.sample, test.sample),
            },
            examples=examples,
        )
