"""Compare names of classes: find different names for one class, which a split would separate."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .._errors import MamlaxError

_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])")


def folded(name: str) -> str:
    """The name without differences in spelling: case, Unicode forms, `_` or `-` for a space."""
    plain = unicodedata.normalize("NFD", name).casefold()
    plain = " ".join(unicodedata.normalize("NFKC", plain).split())
    return _BETWEEN_LETTERS.sub(" ", plain)


def check_names(source: str, names: Iterable[str], *, repeated_names: bool = False) -> None:
    """Raise if several names may mean the same class, which a split could then separate.

    Args:
        source: name of the data in errors.
        names: paths of folders, e.g. `Greek/alpha`.
        repeated_names: whether folders with the same name in different folders are different
            classes.

    Raises:
        MamlaxError: if two names differ only in spelling, a class is in another class's folder, or
            folders in different folders have the same name.
    """
    parts = {name: tuple(map(folded, name.split("/"))) for name in sorted(names)}
    for same in _groups(parts, lambda path: path):
        raise MamlaxError(
            f"{source} has {_shown(same)}, which differ in spelling alone (case, Unicode, spaces): "
            "one class would be taken for two. Put them into one folder, or name them differently."
        )
    by_path = {path: name for name, path in parts.items()}
    for name, path in parts.items():
        for depth in range(1, len(path)):
            if above := by_path.get(path[:depth]):
                raise MamlaxError(
                    f"{source} has images in {above}/ and in {name}/, which lies in it: one class "
                    "would be taken for two. Put all images of a class into one folder."
                )
    if repeated_names:
        return
    last = _without_common_end(parts)
    for same in _groups(last, lambda path: path[-1:]):
        raise MamlaxError(
            f"{source} has {_shown(same)}, folders of one name in different places. If they are "
            "one class, it would be taken for several, and be trained on and judged by at once: "
            "put its images into one folder. If they are different classes, as characters of "
            "several alphabets are, say so: repeated_names=True."
        )


def _groups(parts: dict[str, tuple[str, ...]], key) -> list[list[str]]:
    """Groups of several names with the same key."""
    names = defaultdict(list)
    for name, path in parts.items():
        names[key(path)].append(name)
    return [those for those in names.values() if len(those) > 1]


def _without_common_end(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Paths without the last folders, if these have the same name in all paths (CLASS/images)."""
    while len({path[-1] for path in parts.values()}) == 1 and all(
        len(path) > 1 for path in parts.values()
    ):
        parts = {name: path[:-1] for name, path in parts.items()}
    return parts


def _shown(names: Sequence[str]) -> str:
    """`a/x and b/x (and 3 more)`, forms of Unicode told apart."""
    one, other = (f"{name!a}" if not name.isascii() else f"{name!r}" for name in names[:2])
    return f"{one} and {other}" + (f" (and {len(names) - 2} more)" if len(names) > 2 else "")
