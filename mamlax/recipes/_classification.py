"""Few-shot classification of images: settings that every such problem has, and the parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

from ._parts import Baseline, Parts

Network = Literal["conv4", "fully-connected"]


@dataclass(frozen=True, kw_only=True)
class ClassificationProblem(ABC):
    """N-way K-shot classification of images."""

    ways: int = 5
    """Classes per task."""
    shots: int = 1
    """Support examples per class."""
    num_query: int | None = None
    """Query examples per class; as many as shots where None."""
    train_shots: int | None = None
    """Support examples per class while training, where they should be others (reptile learns from
    them alone: 15 in its paper). None: as many as shots."""
    test_ways: int | None = None
    """Classes per task in validation and evaluation; as many as ways where None. Other ways need a
    head that is made for the task: --algorithm proto-maml or unicorn-maml."""
    network: Network = "conv4"
    """Four convolutions, or four fully connected layers."""
    downsample: Literal["stride", "pool"] = "stride"
    """conv4: stride 2 and a spatial mean (the paper's for Omniglot), or pooling."""
    channels: int = 64
    """Filters per convolution."""
    head_scale: float | None = None
    """Standard deviation of the first weights of conv4's head (the paper's code: 1.0). None: 0, so
    that all classes start alike; for boil and cavia, whose heads do not adapt, 1/√channels."""
    norm: Literal["batch", "support", "group", "layer", "none"] = "batch"
    """Normalization. "batch" is the paper's, and transductive; the others are not."""
    context_size: int = 100
    """Numbers that adapt, for cavia."""
    rotations: bool = False
    """Turn classes at random by quarter turns, in training and evaluation."""
    flips: bool = False
    """Mirror training images at random."""
    crop_padding: int = 0
    """Shift training images at random, by up to so many pixels."""
    stream: bool | None = None
    """Leave the images on the host and fetch those of each task. None: where they do not fit."""

    @abstractmethod
    def splits(self, data_dir: str | None) -> Any:
        """The classes to train on, to choose by, and to be judged on."""

    def drawable(self, images: Any) -> Any:
        """Images as figures show them: grey ones without their axis of channels."""
        return images[..., 0] if images.shape[-1] == 1 else images

    def build(
        self, data_dir: str | None = None, *, has_context: bool = False, head_adapts: bool = True
    ) -> Parts:
        """Find the images, and make the parts."""
        import jax
        import jax.numpy as jnp
        import numpy as np
        import optax

        from .. import models
        from ..tasks._few_shot import AllWays, FewShot
        from ..tasks._placement import place

        splits = place(self.splits(data_dir), stream=self.stream)
        image_shape = splits.train.examples.shape[1:]
        test_ways = self.test_ways or self.ways
        given_support = self.norm == "support"
        num_query = self.shots if self.num_query is None else self.num_query
        held_out = {
            "ways": test_ways,
            "shots": self.shots,
            "num_query": num_query,
            "rotations": self.rotations,
        }
        in_training = {
            "rotations": self.rotations,
            "flips": self.flips,
            "crop_padding": self.crop_padding,
            "reference": given_support,
        }
        train = FewShot(
            splits.train,
            ways=self.ways,
            shots=self.train_shots or self.shots,
            num_query=num_query,
            **in_training,
        )
        validation = FewShot(splits.validation, **held_out, reference=given_support)
        # given the support, what is transductive has a second reading
        transductive = models.is_transductive(self.norm)
        test = FewShot(splits.test, **held_out, reference=given_support or transductive)
        pretraining = AllWays(splits.train, num_examples=2 * self.ways, **in_training)

        head_scale = self.head_scale
        if head_scale is None:
            head_scale = 0.0 if head_adapts else self.channels**-0.5

        def init_params(key, num_outputs, context_size=0):
            shared = {"norm": self.norm, "context_size": context_size}
            if self.network == "fully-connected":
                return models.mlp(
                    key,
                    int(np.prod(image_shape)),
                    num_outputs,
                    hidden_sizes=(256, 128, 64, 64),
                    weight_scale=0.01,
                    **shared,
                )
            return models.conv4(
                key,
                image_shape,
                num_outputs,
                channels=self.channels,
                downsample=self.downsample,
                head_scale=head_scale,
                **shared,
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
            return metric_fn(replace(params, norm="support"), batch)

        def finish(key, params):
            """A new head for the ways of a task, on the features pretrained."""
            return params.with_head(*init_params(key, test_ways).head)

        def examples(adapters, steps):
            """One task: its images, and predictions after some steps."""
            task = test.sample(jax.random.key(0))
            adapted = [adapters["maml"](task.support, n) for n in steps]
            logits = [logits_of(params, task.query) for params in adapted]
            return {
                "kind": np.array("few-shot"),
                "ways": np.array(test_ways),
                "num_steps": steps,
                "support_images": self.drawable(task.support.inputs),
                "query_images": self.drawable(task.query.inputs),
                "query_targets": task.query.targets,
                "probabilities": jax.nn.softmax(jnp.stack(logits)),
            }

        return Parts(
            init_params=lambda key: init_params(key, self.ways, self.context_size * has_context),
            loss_fn=loss_fn,
            metric="accuracy",
            metric_fn=metric_fn,
            train_tasks=train,
            validation_tasks=validation,
            test_tasks=test,
            transductive=transductive,
            non_transductive_fn=non_transductive_fn if transductive else None,
            normalizes=self.norm != "none",
            baselines={
                "pretrained": Baseline(
                    lambda key: init_params(key, pretraining.num_ways),
                    pretraining,
                    validation,
                    test,
                    finish,
                ),
                "random": Baseline(lambda key: init_params(key, test_ways), None, validation, test),
            },
            examples=examples,
        )
