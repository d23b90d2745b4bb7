"""A random order of classes that is the same on every machine."""

import hashlib
from collections.abc import Sequence


def seeded_order(names: Sequence[str], seed: int) -> list[int]:
    """Indices of the names, sorted by a hash of seed and name."""

    def digest(index):
        return hashlib.sha256(f"{seed}/{names[index]}".encode(errors="surrogateescape")).digest()

    return sorted(range(len(names)), key=digest)
