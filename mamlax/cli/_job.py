"""Joining the other processes of a job before JAX starts."""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .._errors import MamlaxError
from ..config._job import Job
from ._console import escape, say

_SECONDS_TO_MEET, _SECONDS_TO_PART = 60, 10
_SECONDS_IN_A_CLUSTER = 300
"""To meet, where a batch system starts processes at its own pace."""
_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
_ALONE_ON_ITS_MACHINE = {
    "SLURM_STEP_TASKS_PER_NODE": r"1(\(x\d+\))?",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}


@contextmanager
def joined(job: Job) -> Iterator[None]:
    """Join the other processes, where there are any; leave them at the end.

    Raises:
        MamlaxError: if the flags do not fit one another, or no coordinator answers in time.
    """
    alone = job == Job() and not _in_a_cluster()
    if alone or job.num_processes == 1:
        yield
        return
    _check(job)
    is_told = None not in (job.coordinator, job.num_processes, job.process_id)
    where = job.coordinator or "an address of the batch system's"
    is_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    seconds = _SECONDS_TO_MEET if is_told and not is_pod else _SECONDS_IN_A_CLUSTER
    say(escape(f"meeting the other processes at {where}, for {seconds} s at most"))
    if job.process_id and job.coordinator:
        _wait_for(job.coordinator, seconds)
    import jax

    # `run` answers SIGTERM itself
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            job.coordinator,
            job.num_processes,
            job.process_id,
            local_device_ids=_devices_here(),
            cluster_detection_method="deactivate" if is_told else None,
            initialization_timeout=seconds,
            shutdown_timeout_seconds=_SECONDS_TO_PART,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise MamlaxError(_nobody(job.coordinator, error, seconds)) from error
    from .._processes import largest
    from ..training._run import TrainingInterruptedError

    _joined.append(jax.process_index())
    try:
        yield
    except TrainingInterruptedError:
        with suppress(RuntimeError):  # stopped at once, without the others
            jax.distributed.shutdown()  # else all have stopped after the same step
        raise
    # where this one fails, the others must not be waited for: they wait for it
    largest(0)  # the first one still draws
    jax.distributed.shutdown()


_joined: list[int] = []
"""The number of this process, once it has joined others."""


def process() -> str:
    """Which process speaks, where there are several."""
    return f"process {_joined[0]}: " if _joined else ""


def is_one_of_several() -> bool:
    """Whether this process has joined others."""
    return bool(_joined)


def _devices_here() -> list[int] | None:
    """All GPUs that this process may see, where it need not share them; None: as JAX decides.

    In a batch system JAX gives each process one GPU: that of its number on the machine.
    """
    visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    is_alone = any(
        re.fullmatch(pattern, os.environ.get(name, ""))
        for name, pattern in _ALONE_ON_ITS_MACHINE.items()
    )
    has_its_own = len(visible) == 1  # bound by the batch system, and counted from 0
    if "JAX_LOCAL_DEVICE_IDS" in os.environ or not visible or not (is_alone or has_its_own):
        return None
    return list(range(len(visible)))


def _check(job: Job) -> None:
    """Refuse flags that do not fit one another."""
    if job.coordinator is None or job.num_processes is None or job.process_id is None:
        if not _in_a_cluster():
            raise MamlaxError(
                "coordinator, num_processes and process_id go together: where the first process "
                "is, how many there are, and which of them this is. SLURM and Open MPI tell them "
                f"themselves, but neither was found. Got {job.coordinator}, "
                f"{job.num_processes} and {job.process_id}."
            )
    elif job.process_id >= job.num_processes:
        raise MamlaxError(
            f"process_id={job.process_id} must be below num_processes={job.num_processes}: "
            "processes are counted from 0."
        )
    elif not re.fullmatch(r".+:\d+", job.coordinator):
        raise MamlaxError(f"coordinator must be HOST:PORT, got {job.coordinator!r}.")


def _wait_for(coordinator: str, seconds: float) -> None:
    """Wait until somebody listens there: JAX would end the process with a signal if nobody did."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise MamlaxError(f"coordinator must be HOST:PORT, got {coordinator!r}.")
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise MamlaxError(_nobody(coordinator, error, seconds)) from error
            time.sleep(0.5)


def _nobody(coordinator: str | None, error: Exception, seconds: float) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"the processes of this job did not find one another within {seconds} s "
        f"(coordinator: {coordinator or 'found by JAX'}; {reason}). Start all of them, process 0 "
        "on the coordinator's host, with a port that is free and that a firewall lets through."
    )


def _in_a_cluster() -> bool:
    """Whether SLURM or Open MPI started this process as one of several.

    Pods of Kubernetes are not taken for one job: most often each has a run of its own.
    """
    return any(int(os.environ.get(name) or 1) > 1 for name in _SIZES)
