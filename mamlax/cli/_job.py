"""Joining the other processes of a job before JAX starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .._errors import MamlaxError
from ..config._job import Job

_SECONDS_TO_MEET, _SECONDS_TO_MISS, _SECONDS_TO_PART = 60, 30, 10
_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX")


@contextmanager
def joined(job: Job) -> Iterator[None]:
    """Join the other processes, where there are any; leave them at the end.

    Raises:
        MamlaxError: if the flags do not fit one another, or no coordinator answers in a minute.
    """
    given = (job.coordinator, job.num_processes, job.process_id)
    alone = given == (None, None, None) and not _in_a_cluster()
    if alone or job.num_processes == 1:
        yield
        return
    if None in given and not _in_a_cluster():
        raise MamlaxError(
            "coordinator, num_processes and process_id go together: which process this is of how "
            "many, and where the first one is. SLURM, Open MPI and Kubernetes tell them "
            f"themselves; none of these was found. Got {job}."
        )
    if None not in given and not job.process_id < job.num_processes:
        raise MamlaxError(
            f"process_id={job.process_id} must be below num_processes={job.num_processes}: "
            "they count from 0."
        )
    import jax

    # `run` answers SIGTERM itself
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            job.coordinator,
            job.num_processes,
            job.process_id,
            initialization_timeout=_SECONDS_TO_MEET,
            heartbeat_timeout_seconds=_SECONDS_TO_MISS,
            shutdown_timeout_seconds=_SECONDS_TO_PART,
        )
    except (RuntimeError, ValueError, OSError) as error:
        where = job.coordinator or "found by JAX in the cluster's settings"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MamlaxError(
            f"the processes of this job did not find one another within {_SECONDS_TO_MEET} s "
            f"(coordinator: {where}; {reason}). Start all of them, process 0 on the coordinator's "
            "host, with a port that is free and that a firewall lets through."
        ) from error
    from .._processes import largest
    from ..training._run import TrainingInterruptedError

    try:
        yield
    except TrainingInterruptedError:
        jax.distributed.shutdown()  # all have stopped after the same step
        raise
    # where this one fails, the others must not be waited for: they wait for it
    largest(0)  # the first one still draws
    jax.distributed.shutdown()


def _in_a_cluster() -> bool:
    """Whether a batch system started this process as one of several."""
    several = any(int(os.environ.get(name, "1") or 1) > 1 for name in _SIZES[:2])
    return several or ("KUBERNETES_SERVICE_HOST" in os.environ and _SIZES[2] in os.environ)
