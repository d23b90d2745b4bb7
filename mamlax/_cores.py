"""The processor cores that this process may use."""

import os


def num_cores() -> int:
    """The number of cores, counting only those the process is bound to if the system can tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
