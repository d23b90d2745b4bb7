"""Use a trained image classifier: adapt it to a few labelled images, classify others."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from .._files import Json
from ..config._algorithms import HeadOfTask
from ..datasets._picture_folder import Pictures, decoded_pictures, read_pictures
from ._container import Container, write_container
from ._learner import AdaptedParams, ArrayLearner
from ._pretrained import from_state, pretrained_by_step, state_of
from ._steps import outputs_by_step
from ._targets import Classes

_NOTHING_KNOWN = "this classifier knows no classes yet: adapt it to some labelled images first."


class Reading(NamedTuple):
    """How files are converted to images, as in training.

    Attributes:
        resize: resize images to the size of the network's images, which are square.
        invert: invert images: 255 − value.
        gray_bits: number of bits of gray values, for files that do not say it. None: as many as the
            brightest pixel of the images read needs.
    """

    resize: bool
    invert: bool
    gray_bits: int | None = None


class Support(NamedTuple):
    """The images that a classifier is adapted to.

    Attributes:
        images: `[images, height, width, channels]`, floats in [0, 1].
        labels: `[images]`.
    """

    images: np.ndarray
    labels: np.ndarray


class FewShotImageClassifier:
    """A trained few-shot image classifier: `mamlax export` writes it, `mamlax.load` reads it.

    `adapt` takes a few labelled images of new classes. `predict` classifies other images. All
    images are normalized by the mean and variance of the support, so the prediction for an image
    does not depend on the other images. Each size of support has its own program, which is compiled
    when that size is first used.

    Attributes:
        classes_: the labels it is adapted to. None before `adapt`.
        support_: the images it is adapted to, and their labels. None before `adapt`.
        pretrained_: the same network trained on all classes at once, for comparison. None unless
            the run was exported `--with-pretrained`.
        image_shape: `(height, width, channels)` of an image.
        ways: the largest number of classes. None: any number.
    """

    def __init__(self, learner: ArrayLearner, reading: Reading, summary: Json):
        self.learner_, self.reading_, self.summary_ = learner, reading, summary
        self.targets_: Classes | None = None
        self.support_: Support | None = None
        self.pretrained_: ArrayLearner | None = None
        self._adapted: AdaptedParams | None = None

    @property
    def classes_(self) -> np.ndarray | None:
        return None if self.targets_ is None else self.targets_.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.learner_.settings.network["image_shape"]

    @property
    def ways(self) -> int | None:
        algorithm = self.learner_.settings.algorithm
        if isinstance(algorithm, HeadOfTask) and algorithm.takes_any_ways:
            return None
        return self.learner_.settings.network["num_outputs"]

    def read(self, folder: str | Path) -> Pictures:
        """Read the images of a folder for this classifier, with the names of their folders.

        A line on stderr says how many files there were, and which were left out and why.

        Raises:
            MamlaxError: if there are no images, or one cannot be read.
        """
        return read_pictures(folder, self.image_shape, **self.reading_._asdict())

    def decode(self, contents: Sequence[bytes], *, most_pixels: int | None = None) -> np.ndarray:
        """Decode image files that are in memory, for this classifier: `[images, ...]` bytes.

        Args:
            contents: the contents of the files.
            most_pixels: the largest number of pixels of all images together. None: any number.

        Raises:
            MamlaxError: if an image cannot be read, or they have more pixels.
        """
        settings = self.reading_._asdict()
        return decoded_pictures(contents, self.image_shape, most_pixels=most_pixels, **settings)

    def adapt(self, images, labels) -> "FewShotImageClassifier":
        """A copy adapted to new classes. This classifier does not change.

        Args:
            images: `[images, height, width, channels]`, bytes or floats in [0, 1].
            labels: `[images]`, of any type.

        Raises:
            MamlaxError: if there are more classes than the head has, or shapes do not match.
        """
        inputs = self._checked(images).astype(np.float32)
        labels = np.asarray(labels)
        if labels.shape != inputs.shape[:1] or not len(labels):
            raise MamlaxError(
                "adapting takes one label for each image, and an image or more; got "
                f"{len(inputs)} images and labels of shape {list(labels.shape)}."
            )
        targets = Classes.fit(labels)
        if self.ways is not None and len(targets.classes) > self.ways:
            raise MamlaxError(
                f"the support has {len(targets.classes)} classes, but the head was trained for "
                f"{self.ways}. Train with --ways {len(targets.classes)}, or with the algorithm "
                "proto-maml, unicorn-maml or logistic-maml, whose heads are made for the task."
            )
        adapted = copy.copy(self)
        if self.ways is None:
            settings = replace(self.learner_.settings, ways=len(targets.classes))
            adapted.learner_ = replace(self.learner_, settings=settings)
        adapted.targets_, adapted.support_ = targets, Support(inputs, labels)
        adapted._adapted = adapted.learner_.adapt(inputs, targets.encode(labels))
        return adapted

    def predict(self, images) -> np.ndarray:
        """The most likely label of each image, `[images]`."""
        probabilities = self.predict_proba(images)
        assert self.targets_ is not None
        return self.targets_.classes[np.argmax(probabilities, axis=1)]

    def predict_proba(self, images) -> np.ndarray:
        """Class probabilities `[images, classes]`, in the order of `classes_`."""
        if self._adapted is None or self.targets_ is None:
            raise MamlaxError(_NOTHING_KNOWN)
        outputs = self.learner_.predict(self._adapted, self._checked(images))
        return self.targets_.probabilities(outputs[:, : len(self.targets_.classes)])

    def probabilities_by_step(self, images, *, pretrained: bool = False) -> np.ndarray:
        """Class probabilities before the first inner step and after each.

        Args:
            images: `[images, height, width, channels]`, bytes or floats in [0, 1].
            pretrained: use the pretrained network instead, adapted by plain gradient descent.

        Returns:
            `[steps + 1, images, classes]`.

        Raises:
            MamlaxError: if the classifier is not adapted, or has no pretrained network with that
                many classes.
        """
        if self.support_ is None or self.targets_ is None:
            raise MamlaxError(_NOTHING_KNOWN)
        targets = self.targets_.encode(self.support_.labels)
        steps = self.learner_.settings.num_inner_steps
        of_task = self.support_.images, targets, self._checked(images), steps
        if not pretrained:
            outputs = outputs_by_step(self.learner_, *of_task)
        elif self.pretrained_ is None:
            raise MamlaxError(
                "this classifier holds no pretrained network beside it: export its run with "
                "--with-pretrained."
            )
        else:
            outputs = pretrained_by_step(self.pretrained_, *of_task)
        if outputs.shape[-1] < (number := len(self.targets_.classes)):
            raise MamlaxError(
                f"the head of the pretrained network has {outputs.shape[-1]} classes, and the "
                f"support {number}."
            )
        return self.targets_.probabilities(outputs[..., :number])

    def save(self, path: str | Path) -> None:
        """Write the classifier, adapted or not, to one file that `mamlax.load` reads.

        The file of an adapted classifier contains the images that it is adapted to.

        Args:
            path: the file. An existing file is replaced completely or not at all.

        Raises:
            MamlaxError: if labels are neither text nor numbers.
        """
        write_container(path, self.state())

    def state(self) -> Container:
        """The content of a file of this classifier, for `from_state`. If it is adapted, it includes
        the support images."""
        learner, pretrained = self.learner_.state(), state_of(self.pretrained_)
        support = self.support_
        header = {
            "kind": type(self).__name__,
            "reading": self.reading_._asdict(),
            "summary": self.summary_,
            "support": None,
            **learner.header,
            **pretrained.header,
        }
        arrays = {**learner.arrays, **pretrained.arrays}
        if support is None:
            return Container(header, arrays)
        labels, codes = np.unique(support.labels, return_inverse=True)
        header["support"] = {"num_images": len(codes), **Classes(labels).as_json()}
        images = {"support.images": support.images, "support.labels": codes.astype(np.int32)}
        return Container(header, {**arrays, **images})

    @classmethod
    def from_state(cls, content: Container) -> "FewShotImageClassifier":
        """The classifier whose `state` is `content`."""
        header, arrays = content
        reading = Reading(**header["reading"])
        classifier = cls(ArrayLearner.from_state(content), reading, header["summary"])
        classifier.pretrained_ = from_state(content)
        if (support := header.get("support")) is None:
            return classifier
        labels = np.array(support["classes"], np.dtype(support["dtype"]))
        return classifier.adapt(arrays["support.images"], labels[arrays["support.labels"]])

    def _checked(self, images) -> np.ndarray:
        images = np.asarray(images)
        if images.shape[1:] != self.image_shape:
            raise MamlaxError(
                f"images must have shape [images, {', '.join(map(str, self.image_shape))}], got "
                f"{list(images.shape)}."
            )
        if images.dtype == np.uint8:
            return images / np.float32(255)
        if images.dtype.kind != "f" or not np.isfinite(images).all():
            raise MamlaxError(
                f"images must be bytes (uint8) or finite floats in [0, 1], got {images.dtype}"
                + (" with numbers that are not finite." if images.dtype.kind == "f" else ".")
            )
        return images
