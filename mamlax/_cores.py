"""The processor cores that this process may use."""

import os


def num_cores() -> int:
    """The number of cores, counting only those the process is bound to if the system can tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads() -> int:
    """As many threads as there are cores, or as `OMP_NUM_THREADS` says if that is fewer.

    joblib sets that variable in its workers, so that together they use every core once.
    """
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(num_cores(), max(int(limit), 1)) if limit.isdecimal() else num_cores()
