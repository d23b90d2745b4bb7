"""What mkdocs runs while it builds: a check that the public API is documented, and doctests shown.

The build fails if a public name of `mamlax/__init__.pyi` or of a public package (`_PACKAGES`) is on
no page under `docs/api/` or has no docstring.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.exceptions import PluginError

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("config", "models", "onnx", "plots", "records", "rl", "trackers")


def on_files(files: Any, config: Any) -> None:
    """Called by mkdocs once it knows all pages."""
    pages = [file for file in files.documentation_pages() if file.src_uri.startswith("api/")]
    text = "\n".join(page.content_string for page in pages)
    shown = set(re.findall(r"^::: (\S+)", text, re.M))
    package = griffe.load("mamlax", search_paths=[_ROOT], try_relative_path=False)
    problems = []
    for name, item in _public_names(package):
        if name not in shown:
            problems.append(f"{name} is on no page: add `::: {name}` to one under docs/api/.")
        problems += [f"{path} has no docstring." for path in _without_docstring(name, item)]
    if problems:
        raise PluginError("the public API is not fully documented:\n  " + "\n  ".join(problems))


class DoctestSections(griffe.Extension):
    """A griffe extension: the section `Example:` is code, as `Examples:` is."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for every object loaded."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.M
            )


def _public_names(package: griffe.Module) -> Iterator[tuple[str, griffe.Object]]:
    stub = (_ROOT / "mamlax" / "__init__.pyi").read_text()
    for name in re.findall(r" as (\w+)$", stub, re.M):
        if name not in _PACKAGES:
            yield f"mamlax.{name}", _target(package[name])
    for part in _PACKAGES:
        listed = sorted((_ROOT / "mamlax" / part).glob("__init__.py*"))  # .pyi: imported lazily
        for name in re.findall(r" as (\w+)$", listed[-1].read_text(), re.M):
            yield f"mamlax.{part}.{name}", _target(package[f"{part}.{name}"])


def _target(item: Any) -> Any:
    return item.final_target if item.is_alias else item


def _without_docstring(name: str, item: griffe.Object) -> Iterator[str]:
    if not item.has_docstring:
        yield name
    if item.is_class:
        for member in item.members.values():
            if member.is_function and not member.name.startswith("_") and not member.has_docstring:
                yield f"{name}.{member.name}"
