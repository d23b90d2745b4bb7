"""From settings to flags: a rule for tyro, which makes the command line from types.

Every setting of a recipe is a flag, whatever its group. The algorithm is a subcommand of the
recipe, and only its own settings are flags. Bounds are checked when values are made, and those of a
command's own flags before it runs.
"""

import ast
import functools
import inspect
import re
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
        registry.primitive_rule(_switch)
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


def _switch(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """The rule for `bool | None`: the flag alone means true, as a flag of `bool` does."""
    if info.type != (bool | None):
        return None
    meanings = {"true": True, "false": False, "none": None}

    def value(words: list[str]) -> bool | None:
        word = " ".join(words).lower() or "true"
        if word not in meanings:
            said = " ".join(words)
            raise ValueError(f"say True, False or None after it, or nothing for True; got {said}.")
        return meanings[word]

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[True|False|None]",
        instance_from_str=value,
        is_instance=lambda one: one is None or isinstance(one, bool),
        str_from_instance=lambda one: [str(one)],
    )


def as_command(function: Callable[..., None]) -> Callable[..., None]:
    """A command as tyro takes it, from a function of this package.

    It first refuses values of its flags which are out of their types' bounds. Its help breaks no
    sentence where a line of the docstring ends, and names no default that is nothing.
    """

    hints = get_type_hints(function, include_extras=True)

    def checked(*arguments: Any, **flags: Any) -> None:
        given = inspect.signature(function).bind(*arguments, **flags).arguments
        for name, hint in hints.items():
            if name in given and not isinstance(given[name], Settings) and is_bounded(hint):
                check_setting(f"--{name.replace('_', '-')}", hint, given[name])
        function(*arguments, **flags)

    command: Any = functools.update_wrapper(checked, function)
    hint_of_default = tyro.conf.arg(help_behavior_hint=_default)
    command.__annotations__ = {name: Annotated[one, hint_of_default] for name, one in hints.items()}
    command.__signature__ = inspect.signature(function)
    command.__doc__ = re.sub(r"\n {8,}", " ", inspect.getdoc(function) or "")
    del command.__wrapped__  # whose help tyro would show
    return command


def _default(label: str) -> str:
    return "" if label in ("", "None") else f"(default: {label})"


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
