"""How text in a table is read: which words mean missing values, and what decimals begin with."""

from typing import NamedTuple

from .._errors import MamlaxError
from .._files import Json
from ._numerals import DecimalMark

MISSING_WORDS = (
    *("NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>"),
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
)
"""Of numbers and of categories that are predicted from, where no words are chosen."""


class Conventions(NamedTuple):
    """How text in a table is read.

    Attributes:
        missing: words that mean that a value is missing, besides an empty cell, wherever they
            stand; None: those of `MISSING_WORDS` in what is predicted from and in numbers, and none
            in names of tasks and classes.
        decimal_mark: what decimals begin with; auto: what fits a column.
    """

    missing: tuple[str, ...] | None = None
    decimal_mark: DecimalMark = "auto"

    @property
    def for_values(self) -> frozenset[str]:
        """Words for missing values."""
        return frozenset(MISSING_WORDS if self.missing is None else self.missing)

    @property
    def for_names(self) -> frozenset[str]:
        """Words for missing names of tasks and classes."""
        return frozenset(self.missing or ())

    def as_json(self) -> Json:
        """For `from_json`."""
        return self._asdict()

    @staticmethod
    def from_json(value: Json | None) -> "Conventions":
        """What `as_json` gave; None: the defaults."""
        if value is None:
            return Conventions()
        missing, mark = value["missing"], value["decimal_mark"]
        if mark not in ("auto", "point", "comma"):
            raise MamlaxError(f"there is no decimal mark {mark!r}.")
        return Conventions(None if missing is None else tuple(map(str, missing)), mark)
