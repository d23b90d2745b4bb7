"""Which process of a job this one is, where several train together."""

from dataclasses import dataclass

from ._settings import Advanced, Count, Natural, Settings


@dataclass(frozen=True, kw_only=True)
class Job(Settings):
    """How processes find one another; SLURM and Open MPI tell it themselves."""

    coordinator: Advanced[str | None] = None
    """HOST:PORT of the first process, where the others find it. SLURM and others tell it."""
    num_processes: Advanced[Count | None] = None
    """Processes that train together, each started with this command. 1: for itself, also in a job
    of several."""
    process_id: Advanced[Natural | None] = None
    """Which of them this is, from 0 on; 0 runs on the coordinator's host and writes the files."""
