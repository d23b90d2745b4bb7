"""Mistakes in the words of a command that tyro would not explain."""

from pathlib import Path

from .._errors import MamlaxError
from ..recipes._catalog import RECIPES, nearest_recipe


def suggest_recipe(arguments: list[str]) -> None:
    """Name the nearest recipe where no word is one; tyro would only list them all."""
    words = [word for word in arguments[1:] if not word.startswith("-")]
    if arguments[:1] not in (["train"], ["plan"]) or set(words) & RECIPES.keys():
        return
    for word in words:  # behind flags, a word may be the value of one
        near = nearest_recipe(word)
        if near or word == arguments[1]:
            raise MamlaxError(f"there is no recipe {word!r}.{near} mamlax recipes lists them all.")


def suggest_order(arguments: list[str]) -> None:
    """Say that the table comes first where an option that takes several words would take it."""
    several = ("--task-column", "--target-column", "--features", "--split-column")
    option = ""
    for word in arguments[1:] if arguments[:1] == ["fit"] else []:
        if word.startswith("-"):
            option = word.replace("_", "-")
        elif option in several and Path(word).suffix in (".csv", ".tsv", ".parquet", ".gz"):
            others = " ".join(one for one in arguments[1:] if one != word)
            raise MamlaxError(
                f"{option} takes several words, and so would take {word}. The table comes first: "
                f"mamlax fit {word} {others}"
            )
