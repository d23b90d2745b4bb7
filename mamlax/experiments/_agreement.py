"""Whether the processes that train together were asked for the same, and have the same data."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .._errors import MamlaxError
from .._processes import of_each
from ..records._description import RunDescription, differences
from ._experiment import Experiment
from ._fingerprints import fingerprints_of
from ._method import draws

_NUM_TASKS = 8


def check_agreement(experiment: Experiment, description: RunDescription) -> None:
    """Compare what all processes are about to train, before the first step.

    Raises:
        MamlaxError: if a process differs from the first one; names it and what differs.
    """
    if jax.process_count() == 1:
        return
    method, parts, which = experiment.method, experiment.parts, draws(0, _NUM_TASKS)
    numbers = [
        fingerprints_of(method.task, tasks, which).tolist()
        for tasks in (parts.train_tasks, parts.test_tasks)
    ]
    first, *others = of_each((description, jax.local_device_count(), numbers))
    for process, other in enumerate(others, start=1):
        different = {
            **differences(first[0], other[0]),
            **_of_two(first[0].environment, other[0].environment),
            **_of_two({"devices": first[1]}, {"devices": other[1]}),
        }
        found = [
            f"  {name}: {here!r} in process 0, {there!r} in process {process}"
            for name, (here, there) in different.items()
        ]
        # machines of several kinds round sums in several ways
        if not found and not np.allclose(first[2], other[2], rtol=1e-3, atol=1e-4):
            found = ["  data: a draw with the same key is another task"]
        if found:
            raise MamlaxError(
                f"process {process} is not asked for what process 0 is:\n"
                + "\n".join(found)
                + "\nStart all processes with the same command, software and data. Runs that have "
                "nothing to do with one another are started with --num-processes 1."
            )


def _of_two(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (one[name], other.get(name)) for name in one if one[name] != other.get(name)}
