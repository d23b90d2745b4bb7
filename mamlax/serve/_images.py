"""A classifier of images behind an address: pictures come as files of a form."""

from typing import Any, NamedTuple

import numpy as np

from .._files import Json
from ..config._serving import Serving
from ..estimators._images import FewShotImageClassifier
from ._bodies import Form
from ._refusals import PRETRAINED_DIVERGED, RefusedError

CLASSES_SHOWN = 5
"""Classes that the page begins with, unless the model takes fewer."""


class ServedImages(NamedTuple):
    """A classifier, and what its clients may send."""

    model: FewShotImageClassifier
    settings: Serving

    def describe(self) -> Json:
        """What it takes and gives."""
        model = self.model
        return {
            "kind": "images",
            "image_shape": list(model.image_shape),
            "is_drawing": model.image_shape[2] == 1,
            "ways": model.ways,
            "num_inner_steps": model.learner_.settings.num_inner_steps,
            "has_pretrained": model.pretrained_ is not None,
        }

    def adapt(self, form: Form) -> tuple[Any, Json]:
        """Files `image`, and as many fields `label` → an adapted model, and what to say of it."""
        images, labels = self._images(form), form.fields.get("label", [])
        if len(labels) != len(images):
            raise RefusedError(
                f"the form must hold a label for each image, got {len(images)} images and "
                f"{len(labels)} labels."
            )
        adapted = self.model.adapt(images, labels)
        assert adapted.classes_ is not None
        return adapted, {"num_support": len(labels), "classes": adapted.classes_.tolist()}

    def predict(self, adapted: Any, form: Form) -> Json:
        """Files `image` → the likelihood of each class, of the model as it is after its inner steps
        and, beside it, before them; and the same of the pretrained network, where there is one."""
        images = self._images(form)
        chances = adapted.predict_proba(images)
        found = {
            "classes": adapted.classes_.tolist(),
            "predictions": adapted.classes_[chances.argmax(1)].tolist(),
            "probabilities": chances.tolist(),
            "by_step": adapted.probabilities_by_step(images).tolist(),
        }
        pretrained = adapted.pretrained_
        if pretrained is None or len(adapted.classes_) > pretrained.settings.network["num_outputs"]:
            return found
        beside = adapted.probabilities_by_step(images, pretrained=True)
        if not np.isfinite(beside).all():
            return found | {"pretrained_said": PRETRAINED_DIVERGED}
        return found | {"pretrained_by_step": beside.tolist()}

    def _images(self, form: Form) -> Any:
        contents = form.files.get("image", [])
        if not contents:
            raise RefusedError("the form must hold one file called image, or more.")
        if len(contents) > (most := self.settings.most_images):
            raise RefusedError(
                f"{len(contents):,} images; at most {most:,} are taken at a time.", 413
            )
        return self.model.decode(contents, most_pixels=self.settings.most_pixels)
