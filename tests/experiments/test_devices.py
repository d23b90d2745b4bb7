"""The devices that tasks are spread over."""

import jax
import pytest

from mamlax import MamlaxError
from mamlax.config import RECIPES
from mamlax.experiments._mesh import mesh_for, tasks_at_once


def test_a_processor_computes_one_task_at_once_and_an_accelerator_all(monkeypatch):
    training = RECIPES["omniglot-5-way-1-shot"].training
    by_hand = RECIPES["omniglot-5-way-1-shot"].changed(task_batch_size=4).training
    assert tasks_at_once(training) == 1 and tasks_at_once(by_hand) == 4
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert tasks_at_once(training) is None and tasks_at_once(by_hand) == 4


class Device:
    def __init__(self, process, number):
        self.process_index, self.id = process, number


@pytest.fixture
def machines(monkeypatch):
    """`machines(processes, in_each)`: so many processes, whose devices JAX lists in no order."""

    def set_up(processes, in_each):
        devices = [Device(p, 100 * p + d) for d in range(in_each) for p in range(processes)]
        monkeypatch.setattr(jax, "process_count", lambda: processes)
        monkeypatch.setattr(jax, "local_device_count", lambda: in_each)
        monkeypatch.setattr(jax, "devices", lambda: devices)

    return set_up


@pytest.mark.parametrize(
    "processes, in_each, tasks, most, expected",
    [
        (1, 1, 8, None, None),
        (1, 4, 8, None, [0, 1, 2, 3]),
        (1, 4, 6, None, [0, 1]),
        (1, 4, 8, 2, [0, 1]),
        (2, 1, 8, None, [0, 100]),
        (2, 4, 8, None, [0, 1, 2, 3, 100, 101, 102, 103]),
        (2, 4, 12, None, [0, 1, 100, 101]),
        (2, 4, 8, 1, [0, 100]),
        (2, 4, 7, None, None),
        (3, 2, 3, None, [0, 100, 200]),
    ],
)
def test_every_process_gives_as_many_devices(machines, processes, in_each, tasks, most, expected):
    machines(processes, in_each)
    mesh = mesh_for(tasks, most)
    assert (None if mesh is None else [device.id for device in mesh.devices]) == expected


def test_more_devices_than_a_process_has_are_refused(machines):
    machines(2, 4)
    with pytest.raises(MamlaxError, match="num_devices=5, but this run can use 4"):
        mesh_for(8, 5)
