"""What griffe runs while the site is built: doctests are shown as code."""

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """The section `Example:` of a docstring is code, as `Examples:` is."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for every object loaded."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.M
            )
