"""From settings to flags: a rule for tyro, which makes the command line from types.

Every setting of a recipe is a flag, whatever its group. The algorithm is a subcommand of the
recipe, and only its own settings are flags. Bounds are checked when values are made, and those of a
command's own flags before it runs.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Annotated, Any, Union, get_type_hints

import tyro

from ..config._algorithms import carried_over
from ..config._recipe import Recipe
from ..config._settings import Settings, check_setting, hints_of, is_advanced, is_bounded


@dataclass(frozen=True)
class Flags:
    """Which settings are shown in the help.

    Attributes:
        all: also those that are marked as advanced.
    """

    all: bool = True

    def registry(self) -> tyro.constructors.ConstructorRegistry:
        """A registry with the rule for settings."""
        registry = tyro.constructors.ConstructorRegistry()
        registry.struct_rule(self._rule)
        return registry

    def _rule(
        self, info: tyro.constructors.StructTypeInfo
    ) -> tyro.constructors.StructConstructorSpec | None:
        settings = info.default
        if not isinstance(settings, Settings):
            return None
        return tyro.constructors.StructConstructorSpec(
            instantiate=lambda **given: replace(settings, **given),
            fields=tuple(
                tyro.constructors.StructFieldSpec(
                    name=field.name,
                    type=self._type(settings, field.name),
                    default=getattr(settings, field.name),
                    helptext=_docs(type(settings)).get(field.name),
                )
                for field in fields(settings)
                if not (isinstance(settings, Recipe) and field.name in ("name", "evidence"))
            ),
        )

    def _type(self, settings: Settings, name: str) -> Any:
        """The type of a setting, for tyro."""
        value, hint = getattr(settings, name), hints_of(type(settings))[name]
        if isinstance(settings, Recipe) and name == "algorithm":
            return _choice_of_algorithm(settings)
        if isinstance(value, Settings):
            return type(value)
        if is_advanced(hint) and not self.all:
            return tyro.conf.Suppress[hint]
        return hint


def within_bounds(command: Callable[..., None]) -> Callable[..., None]:
    """A command that first refuses values of its flags which are out of their types' bounds."""

    @functools.wraps(command)
    def checked(*arguments: Any, **flags: Any) -> None:
        given = inspect.signature(command).bind(*arguments, **flags).arguments
        for name, hint in get_type_hints(command, include_extras=True).items():
            if name in given and not isinstance(given[name], Settings) and is_bounded(hint):
                check_setting(f"--{name.replace('_', '-')}", hint, given[name])
        command(*arguments, **flags)

    return checked


def _choice_of_algorithm(recipe: Recipe) -> Any:
    """The algorithms that can learn a recipe, each with its default settings for the recipe."""
    return Union[  # noqa: UP007  of a tuple
        tuple(
            Annotated[
                kind,
                tyro.conf.subcommand(
                    name,
                    default=carried_over(recipe.algorithm, kind),
                    description=inspect.getdoc(kind),
                    prefix_name=False,
                ),
            ]
            for name, kind in recipe.algorithms.items()
        )
    ]


@functools.cache
def _docs(kind: type) -> dict[str, str]:
    """The docstring below each field of a class and of its bases."""
    found = {}
    for one in reversed(kind.__mro__[:-1]):
        definition = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return found
