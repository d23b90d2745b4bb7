"""Numbers as people write them: decimal points or commas, marks between thousands, % and $."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple

DecimalMark = Literal["auto", "point", "comma"]
SIGNS = {"%": "percent", "$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_SIGNS_BEFORE = "".join(SIGNS).replace("%", "")


class Notation:
    """A way of writing numbers.

    Attributes:
        words: what it is called where it must be said; empty for what programs write.
        mark: between whole and decimals.
    """

    def __init__(self, words: str, mark: str, thousands: str = ""):
        self.words, self.mark, self._thousands = words, mark, thousands

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        whole = r"\d+"
        if self._thousands:
            whole = rf"[1-9]\d{{0,2}}(?:[{self._thousands}]\d{{3}})+|\d+"
        mark = re.escape(self.mark)
        number = rf"(?:(?:{whole})(?:{mark}\d*)?|{mark}\d+)(?:e[+-]?\d+)?"
        before, after = f"[{_SIGNS_BEFORE}]?\\s*", f"[{''.join(SIGNS)}]?\\s*"
        pattern = rf"\s*{before}([+-]?){before}({number}|inf|infinity)\s*{after}"
        return re.compile(pattern, re.ASCII | re.I)

    def value(self, text: str) -> float | None:
        """What a text means; None where it is no number."""
        found = self._pattern.fullmatch(text.replace("−", "-"))
        if not found:
            return None
        digits = re.sub(f"[{self._thousands}]", "", found[2]) if self._thousands else found[2]
        return float(found[1] + digits.replace(self.mark, "."))


_BLANKS = " \u00a0\u2009\u202f'’"
_PLAIN = Notation("", ".")
_POINTS_BETWEEN = Notation("decimal commas, points between thousands", ",", ".")
_NOTATIONS = (
    _PLAIN,
    Notation("decimal commas", ","),
    Notation("commas between thousands", ".", ","),
    _POINTS_BETWEEN,
    Notation("blanks between thousands", ".", _BLANKS),
    Notation("decimal commas, blanks between thousands", ",", _BLANKS),
)


class Numerals(NamedTuple):
    """Different texts as numbers, in the one notation that fits the most of them.

    Attributes:
        values: a number for each text; None where it is none.
        notation: how they are written.
        sign: one of `SIGNS` that most have, as `37 %` or `$ 37`; empty if there is none.
        doubtful: a text that is another number in another notation, which fits as well; None
            where there is no doubt.
    """

    values: list[float | None]
    notation: Notation
    sign: str
    doubtful: str | None


def numerals(texts: Sequence[str], mark: DecimalMark = "auto") -> Numerals:
    """Read texts as numbers.

    Args:
        texts: different from one another.
        mark: before decimals; auto: what fits the most.
    """
    marks = {"auto": ".,", "point": ".", "comma": ","}[mark]
    read = {one: [one.value(text) for text in texts] for one in _NOTATIONS if one.mark in marks}
    counts = {one: sum(value is not None for value in values) for one, values in read.items()}
    best = max(counts, key=lambda one: counts[one])  # the first of those that fit as many
    values, doubtful = read[best], None
    if best is not _PLAIN:
        others = (read[one] for one in counts if counts[one] == counts[best] > 0)
        doubtful = next(
            (t for o in others for t, a, b in zip(texts, o, values, strict=True) if a != b), None
        )
    signs = ["".join(one for one in text if one in SIGNS) for text in texts]
    of_numbers = Counter(
        sign for sign, value in zip(signs, values, strict=True) if value is not None
    )
    sign = next((one for one, count in of_numbers.items() if 2 * count > counts[best]), "")
    values = [value if one == sign else None for value, one in zip(values, signs, strict=True)]
    return Numerals(values, best, sign, doubtful)


def may_have_thousands(texts: Sequence[str]) -> str | None:
    """A text with a point that, as all with points, could also be thousands: `1.234`."""
    pointed = [text for text in texts if "." in text]
    if pointed and all(_POINTS_BETWEEN.value(text) is not None for text in pointed):
        return pointed[0]
    return None
