"""The root of what goes wrong in ways a user can mend; cheap to import."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs"}
"""Categories of characters that move the cursor or the text around them, or are none."""


class MamlaxError(Exception):
    """An error whose message alone should be enough to act on (the command line prints it bare)."""

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Text that a terminal shows as it is: what a file may have put into names is escaped.

    Example:
        >>> print(printable("a file called \\x1b[2J"))
        a file called \\x1b[2J
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character not in "\n\t" and unicodedata.category(character) in _HIDDEN
        else character
        for character in text
    )
