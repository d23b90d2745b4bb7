"""Plan a training: memory, operations and time of an outer step for several settings.

The outer step is compiled for several micro-batch sizes and kinds of recomputation, and the
compiler's analysis is read. The programs that fit in memory are run briefly to time them.
"""

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import MamlaxError
from ..config._algorithms import Remat, Unrolled
from ..config._policies import PolicyAlgorithm
from ..config._recipe import Recipe, SupervisedRecipe
from ..records._evaluation import MAIN
from ..training._cost import Cost, cost_of
from ._experiment import Announce, check, experiment_of, loop_of, silent
from ._mesh import mesh_for, tasks_at_once
from .problems._build import parts_of
from .problems._parts import Parts

_TIMED_SECONDS = 0.25
_WITH_REMAT = (Unrolled, PolicyAlgorithm)


class Choice(NamedTuple):
    """One way of running the outer step, and its cost.

    Attributes:
        task_batch_size: tasks per device at once.
        remat: what is recomputed.
        memory: bytes at the peak; see `mamlax.Cost`.
        flops: floating-point operations of an outer step, including recomputation.
        seconds: measured time of an outer step; None if it does not fit.
    """

    task_batch_size: int
    remat: Remat
    memory: int
    flops: float
    seconds: float | None

    @property
    def flags(self) -> str:
        """The flags of `mamlax train` that choose it."""
        remat = "" if self.remat == "none" else f" --remat {self.remat}"
        return f"--task-batch-size {self.task_batch_size}{remat}"


class Plan(NamedTuple):
    """The choices, and the best one.

    Attributes:
        choices: all that were tried.
        best: the fastest that fits.
        memory: the bytes to fit in.
        recipe: the recipe with the best choice.
    """

    choices: list[Choice]
    best: Choice
    memory: int
    recipe: Recipe


def plan(
    recipe: Recipe,
    *,
    memory: int | None = None,
    data_dir: str | None = None,
    report: Callable[..., None] = lambda choice, *, first: None,
    announce: Announce = silent,
) -> Plan:
    """Compile the outer step of a recipe for every choice, and take the fastest that fits.

    Args:
        recipe: the recipe; its `task_batch_size` and `remat` are replaced.
        memory: bytes to fit in; None: the free memory.
        data_dir: where data sets are.
        report: `report(choice, first=...)`, called with each choice once it is known.
        announce: called with what is measured, before it is: compiling takes most of the time.

    Returns:
        The choices and the fastest that fits.

    Raises:
        MamlaxError: if none fits; says how much the smallest needs.
    """
    memory = free_memory() if memory is None else memory
    parts = parts_of(recipe, data_dir)
    choices, variants = [], list(_variants(recipe))
    announce(f"measuring one outer step of {len(variants)} settings; each is compiled first")
    for variant in variants:
        choices.append(_measured(variant, parts, memory))
        report(choices[-1], first=len(choices) == 1)
    fitting = [(choice.seconds, choice) for choice in choices if choice.seconds is not None]
    if not fitting:
        least = min(choices, key=lambda choice: choice.memory)
        raise MamlaxError(
            f"nothing fits in {in_bytes(memory)}: the smallest, {least.flags}, needs "
            f"{in_bytes(least.memory)}. These take less: {', '.join(_memory_savings(recipe))}."
        )
    _, best = min(fitting, key=lambda pair: pair[0])
    return Plan(choices, best, memory, _with(recipe, best.task_batch_size, best.remat))


def free_memory() -> int:
    """Free bytes of the accelerator, or of the machine or the container."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    try:  # MemAvailable includes file caches that the system would release
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([free, *left_in_groups()])


def left_in_groups(root: Path = Path("/")) -> list[int]:
    """Free bytes of each control group that limits this process: of a container or a job.

    Args:
        root: where `proc` and `sys` are.
    """
    try:
        [own] = re.findall(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return []
    group, left = root / "sys/fs/cgroup" / own, []
    for one in (group, *group.parents[: len(Path(own).parts)]):
        try:
            most, used = (int((one / f"memory.{name}").read_text()) for name in ("max", "current"))
            [caches] = re.findall(r"^file (\d+)$", (one / "memory.stat").read_text(), re.MULTILINE)
        except (OSError, ValueError):  # "max": without a limit
            continue
        left.append(most - used + int(caches))
    return left


def bytes_of(text: str) -> int:
    """`"6GB"`, `"512 MiB"` or `"900 bytes"` as a number of bytes. The unit's case does not matter.

    Raises:
        MamlaxError: if it is not a size, has no unit, or is less than a byte.
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*(?:([kmgt])(i?))?(b|bytes)?\s*", text, re.IGNORECASE)
    amount, prefix, binary, word = found.groups() if found else ("", None, None, None)
    try:
        number = float(amount)
    except ValueError:
        number = 0.0
    power = " kmgt".index(prefix.lower() if prefix else " ")
    size = int(number * (1024 if binary else 1000) ** power)
    if size < 1:
        raise MamlaxError(f"--memory must be a size, such as 6GB or 512MiB, got {text!r}.")
    if prefix is None and word is None:
        raise MamlaxError(
            f"--memory must have a unit (kB, MB, GB, TB; KiB, MiB, GiB, TiB; bytes), got {text!r}. "
            f"For example: --memory {amount}GB"
        )
    return size


def in_bytes(number: float) -> str:
    """A number of bytes as people read it: `"1.5 GB"`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _memory_savings(recipe: Recipe) -> list[str]:
    """Other changes of the recipe that need less memory, in words."""
    ways = ["a smaller --meta-batch-size"]
    if not isinstance(recipe, SupervisedRecipe):
        return [*ways, "fewer --episodes-per-task"]
    ways += ["fewer query examples (--num-query)", "--compute-dtype bfloat16"]
    if isinstance(recipe.algorithm, Unrolled):
        several = recipe.algorithm.num_inner_steps > 1
        ways += ["--num-unrolled-steps"] * several
        ways.append("the algorithm fomaml" + " or imaml" * several)
    return ways


def _variants(recipe: Recipe) -> Iterator[Recipe]:
    """The recipe with every choice worth trying, those that need the most memory first."""
    training = recipe.training
    mesh = mesh_for(training.meta_batch_size, training.num_devices)
    num_tasks = training.meta_batch_size // (1 if mesh is None else mesh.size)
    sizes = [size for size in (num_tasks, num_tasks // 4, 1) if size and num_tasks % size == 0]
    remats: tuple[Remat, ...] = get_args(Remat)
    if recipe.algorithm.num_inner_steps < 4:
        remats = ("none", "steps")  # too few steps for segments
    if not isinstance(recipe.algorithm, _WITH_REMAT):
        remats = ("none",)
    for size, remat in itertools.product(dict.fromkeys(sizes), remats):
        yield _with(recipe, size, remat)


def _with(recipe: Recipe, task_batch_size: int, remat: Remat) -> Recipe:
    settings = {"remat": remat} if isinstance(recipe.algorithm, _WITH_REMAT) else {}
    return recipe.changed(task_batch_size=task_batch_size, **settings)


def _measured(variant: Recipe, parts: Parts, memory: int) -> Choice:
    experiment = experiment_of(variant, parts, Path())
    check(experiment)
    main = experiment.stages[MAIN]
    loop, params = loop_of(experiment, main), main.init_params(jax.random.key(0))
    cost = cost_of(loop, params)
    seconds = None
    if cost.memory <= memory:
        # most schedules of algorithms end early in training, so the last step is typical
        last = jnp.asarray(variant.training.num_outer_steps - 1, jnp.int32)
        seconds = _seconds(cost, loop.init(params)._replace(outer_step=last))
    size = tasks_at_once(variant.training)
    assert size is not None
    remat = variant.algorithm.remat if isinstance(variant.algorithm, _WITH_REMAT) else "none"
    return Choice(size, remat, cost.memory, cost.flops, seconds)


def _seconds(cost: Cost, state: PyTree) -> float:
    """The time of an outer step: the fastest of those that fit in a moment, two or more."""
    times = []
    while sum(times) < _TIMED_SECONDS or len(times) < 2:  # the first also moves data
        began = time.perf_counter()
        jax.block_until_ready(cost.step(jax.random.key(len(times)), state))
        times.append(time.perf_counter() - began)
    return min(times)
