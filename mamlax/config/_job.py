"""Settings of a job of several processes: which process this one is."""

from dataclasses import dataclass

from ._settings import Advanced, Count, Natural, Settings


@dataclass(frozen=True, kw_only=True)
class Job(Settings):
    """How processes find one another. Under SLURM and Open MPI this is automatic."""

    coordinator: Advanced[str | None] = None
    """HOST:PORT where the other processes find the first one. Automatic under SLURM and others."""
    num_processes: Advanced[Count | None] = None
    """Number of processes that train together, each started with this command. 1: train alone, also
    inside a job of several processes."""
    process_id: Advanced[Natural | None] = None
    """Number of this process, from 0. Process 0 runs on the coordinator's host and writes the
    files."""
