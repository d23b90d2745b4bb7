"""The processor cores that this process may use."""

import os


def num_cores() -> int:
    """How many there are: those it is bound to, where the system knows of binding."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
