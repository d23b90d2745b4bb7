"""The names that a misspelt one is nearest to, for "Did you mean ...?"."""

from collections.abc import Collection

_MOST_SUGGESTIONS = 3


def nearest(name: str, known: Collection[str]) -> list[str]:
    """The known names that are most similar to a misspelt one. Empty if none is similar.

    These are the names with the fewest typing errors; if all have too many, those that begin with
    the name; if none does, those that have each of its words, with one typing error at most
    ("stpes" is near "num-outer-steps"). Capitals do not count, and "_" is "-".

    Example:
        >>> nearest("shtos", ["shots", "num_inner_steps"])
        ['shots']
        >>> nearest("inner-stpes", ["shots", "num_inner_steps"])
        ['num_inner_steps']
        >>> nearest("momentum", ["shots", "num_inner_steps"])
        []
    """
    word = _plain(name)
    errors = {one: distance(word, _plain(one)) for one in known}
    if near := _smallest({one: n for one, n in errors.items() if n <= errors_allowed(word)}):
        return near
    if len(word) > 1 and (near := [one for one in known if _plain(one).startswith(word)]):
        return _smallest({one: len(one) for one in near})
    if len(word) < 3:
        return []
    counts = {one: _errors_in_words(word.split("-"), _plain(one).split("-")) for one in known}
    return _smallest({one: count for one, count in counts.items() if count is not None})


def errors_allowed(word: str) -> int:
    """How many typing errors a word may have to be recognized: more in a longer one."""
    return sum(len(word) >= length for length in (3, 6, 10))


def distance(one: str, other: str) -> int:
    """How many typing errors lead from one word to another.

    An error is a letter too many, too few or another one, or two neighbors exchanged (the optimal
    string alignment distance).

    Example:
        >>> distance("stpes", "steps"), distance("stpes", "shots")
        (1, 3)
    """
    before, row = [], list(range(len(other) + 1))
    for i, a in enumerate(one):
        earlier, before, row = before, row, [i + 1]
        for j, b in enumerate(other):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (a != b)))
            if i and j and (a, one[i - 1]) == (other[j - 1], b):
                row[-1] = min(row[-1], earlier[j - 1] + 1)
    return row[-1]


def _errors_in_words(words: list[str], others: list[str]) -> tuple[int, int] | None:
    """Typing errors if each word is one of the others, and how many of them are left; else None."""
    total, left = 0, list(others)
    for word in words:
        errors = {one: distance(word, one) for one in left}
        best = min(errors, key=lambda one: errors[one], default=None)
        if best is None or errors[best] > min(1, errors_allowed(word)):
            return None
        total += errors[best]
        left.remove(best)
    return total, len(left)


def _smallest(costs: dict[str, int] | dict[str, tuple[int, int]]) -> list[str]:
    least = min(costs.values(), default=None)
    return [one for one, cost in costs.items() if cost == least][:_MOST_SUGGESTIONS]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
