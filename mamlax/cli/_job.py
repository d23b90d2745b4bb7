"""Joining the other processes of a job before JAX starts."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .._errors import MamlaxError
from ..config._job import Job
from ._console import escape, say

_SECONDS_TO_MEET, _SECONDS_TO_MISS, _SECONDS_TO_PART = 60, 30, 10
_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX")


@contextmanager
def joined(job: Job) -> Iterator[None]:
    """Join the other processes, where there are any; leave them at the end.

    Raises:
        MamlaxError: if the flags do not fit one another, or no coordinator answers in a minute.
    """
    alone = job == Job() and not _in_a_cluster()
    if alone or job.num_processes == 1:
        yield
        return
    _check(job)
    where = job.coordinator or "an address of the batch system's"
    say(escape(f"meeting the other processes at {where}, for {_SECONDS_TO_MEET} s at most"))
    if job.process_id and job.coordinator:
        _wait_for(job.coordinator)
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
        raise MamlaxError(_nobody(job.coordinator, error)) from error
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


def process() -> str:
    """Which process speaks, where there are several."""
    return f"process {sys.modules['jax'].process_index()}: " if is_one_of_several() else ""


def is_one_of_several() -> bool:
    """Whether this process has joined others; JAX is not imported to find out."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def _check(job: Job) -> None:
    """Refuse flags that do not fit one another."""
    if job.coordinator is None or job.num_processes is None or job.process_id is None:
        if not _in_a_cluster():
            raise MamlaxError(
                "coordinator, num_processes and process_id go together: where the first process "
                "is, how many there are, and which of them this is. SLURM, Open MPI and Kubernetes "
                f"tell them themselves, but none of these was found. Got {job.coordinator}, "
                f"{job.num_processes} and {job.process_id}."
            )
    elif job.process_id >= job.num_processes:
        raise MamlaxError(
            f"process_id={job.process_id} must be below num_processes={job.num_processes}: "
            "processes are counted from 0."
        )


def _wait_for(coordinator: str) -> None:
    """Wait until somebody listens there: JAX would end the process with a signal if nobody did."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise MamlaxError(f"coordinator must be HOST:PORT, got {coordinator!r}.")
    until = time.monotonic() + _SECONDS_TO_MEET
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise MamlaxError(_nobody(coordinator, error)) from error
            time.sleep(0.5)


def _nobody(coordinator: str | None, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"the processes of this job did not find one another within {_SECONDS_TO_MEET} s "
        f"(coordinator: {coordinator or 'found by JAX'}; {reason}). Start all of them, process 0 "
        "on the coordinator's host, with a port that is free and that a firewall lets through."
    )


def _in_a_cluster() -> bool:
    """Whether a batch system started this process as one of several."""
    several = any(int(os.environ.get(name, "1") or 1) > 1 for name in _SIZES[:2])
    return several or ("KUBERNETES_SERVICE_HOST" in os.environ and _SIZES[2] in os.environ)
