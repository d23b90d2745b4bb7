"""Run an outer loop: many steps per dispatch, logged, checkpointed, resumable bit for bit."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import MamlaxError
from .._types import OuterLoop
from ._record import Progress, Record


class TrainingDivergedError(MamlaxError):
    """The loss or the gradient became infinite or NaN."""


class TrainingInterruptedError(MamlaxError):
    """The run was asked to stop (Ctrl-C) and left a checkpoint to resume from."""


class Validation(NamedTuple):
    """How to choose the best checkpoint while training.

    Attributes:
        fn: `fn(state) -> {metric key: number}`, evaluated on tasks not trained on.
        interval: outer steps between validations.
        metric: the key to choose by, e.g. `"validation/accuracy"`.
        maximize: whether larger is better.
    """

    fn: Callable[[Any], dict[str, float]]
    interval: int
    metric: str
    maximize: bool = True


class Run(NamedTuple):
    """A finished run.

    Attributes:
        state: the outer loop's state after the last step.
        best_state: the state at the best validation; the last one without validation.
        best_step: the outer step of `best_state`.
    """

    state: Any
    best_state: Any
    best_step: int


def run(
    loop: OuterLoop,
    params: Any,
    *,
    key: Any,
    num_outer_steps: int,
    directory: str | Path | None = None,
    log_interval: int = 100,
    checkpoint_interval: int | None = None,
    validation: Validation | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Take `num_outer_steps` outer steps; with a `directory`, so that nothing is lost.

    The steps between two log lines are one compiled program. Step i always uses
    `jax.random.fold_in(key, i)`: the same call after an interruption continues from the last
    checkpoint and ends with the same bits.

    Args:
        loop: what to run.
        params: parameters to start from.
        key: a PRNG key; or `[seeds]` keys to train several runs side by side in one program, with
            `[seeds, ...]` arrays in `params` and in the states returned.
        num_outer_steps: outer steps in all, those before a resume included.
        directory: where `metrics.jsonl` and `checkpoint/` go; None: nothing is written.
        log_interval: outer steps per program and per log line. Logged metrics are means over the
            interval (and over seeds).
        checkpoint_interval: outer steps between checkpoints, a multiple of `log_interval`; None:
            about twenty over the run.
        validation: how to choose the best state.
        report: called with each log line.

    Returns:
        The last and the best state.

    Raises:
        TrainingDivergedError: if the loss or gradient is not finite; names the step.
        TrainingInterruptedError: after Ctrl-C, once a checkpoint is written.
        MamlaxError: if a file cannot be written, or no checkpoint can be read.
        ValueError: if intervals are not positive or do not fit together.

    Example:
        >>> import jax, jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((params(batch.inputs) - batch.targets) ** 2)
        >>> learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=1)
        >>> loop = mamlax.outer_loop(
        ...     learner, optax.adam(1e-3), mamlax.Sinusoids(shots=10).sample, meta_batch_size=4
        ... )
        >>> params = mamlax.models.mlp(jax.random.key(0), 1, 1)
        >>> run = mamlax.run(loop, params, key=jax.random.key(1), num_outer_steps=10)
        >>> run.best_step
        10
    """
    if checkpoint_interval is None:
        checkpoint_interval = log_interval * max(1, num_outer_steps // (20 * log_interval))
    _check_intervals(log_interval, checkpoint_interval, validation)
    seeds = jnp.ndim(key) > 0
    record = Record(directory)
    now = record.resume(_initial_state(loop, params, seeds))
    if now.step > num_outer_steps:
        raise MamlaxError(
            f"{directory} has already taken {now.step} outer steps, more than "
            f"num_outer_steps={num_outer_steps}. Ask for as many, or give another directory."
        )
    advance = _Advance(loop.step, key, seeds)
    with _interruptible() as interrupted:
        for end in _block_ends(now.step, num_outer_steps, log_interval):
            seconds, (state, metrics) = advance(now.state, now.step, end)
            if bad_step := _first_bad_step(metrics, now.step):
                record.save(now)
                raise TrainingDivergedError(f"{_DIVERGED.format(bad_step)} {record}")
            line = {"step": end, **{name: float(np.mean(metrics[name])) for name in metrics}}
            before, now = now, now._replace(step=end, state=state)
            last = end == num_outer_steps
            if validation is not None and (last or end % validation.interval == 0):
                line.update({name: float(v) for name, v in validation.fn(state).items()})
                if _is_better(line[validation.metric], now.best_value, validation.maximize):
                    value = line[validation.metric]
                    now = now._replace(best_value=value, best_step=end, best_state=state)
                    record.save_best(now)
            line["time/outer_steps_per_second"] = (end - before.step) / seconds
            line["time/compile_seconds"] = advance.compile_seconds
            line["time/date"] = time.strftime("%Y-%m-%dT%H:%M:%S")
            record.log(line)
            if report is not None:
                report(line)
            if last or end % checkpoint_interval == 0 or interrupted():
                record.save(now)
            if interrupted() and not last:
                raise TrainingInterruptedError(
                    f"stopped after outer step {end} of {num_outer_steps}. {record}"
                    + ("" if directory is None else " Repeat the command to resume.")
                )
    record.close()
    return _finished(now)


def restore_run(loop: OuterLoop, params: Any, directory: str | Path, *, seeds: bool = False) -> Run:
    """The states of a run from its directory, without training.

    Args:
        loop: the loop that was run.
        params: parameters of the same structure as those it started from.
        directory: its run directory.
        seeds: whether several seeds were trained side by side.

    Raises:
        MamlaxError: if there is no checkpoint, or none can be read.
    """
    directory = Path(directory)
    if not (directory / "checkpoint").exists():
        raise MamlaxError(f"{directory} has no checkpoint yet. Train it first.")
    record = Record(directory)
    progress = record.progress(_initial_state(loop, params, seeds))
    record.close()
    if progress is None:
        raise MamlaxError(f"{directory} has no checkpoint yet. Train it first.")
    return _finished(progress)


_DIVERGED = (
    "the loss or its gradient is not finite at outer step {}. Try a smaller outer or inner "
    "learning rate, fewer inner steps, or clip the outer gradient (--gradient-clip, or "
    "optax.clip_by_global_norm before the outer optimizer)."
)


def _initial_state(loop: OuterLoop, params: Any, seeds: bool) -> Any:
    return eqx.filter_vmap(loop.init)(params) if seeds else loop.init(params)


def _finished(progress: Progress) -> Run:
    if progress.best_value is None:
        return Run(progress.state, progress.state, progress.step)
    return Run(progress.state, progress.best_state, progress.best_step)


def _is_better(value: float, best: float | None, maximize: bool) -> bool:
    if math.isnan(value):
        return False
    return best is None or (value > best if maximize else value < best)


class _Advance:
    """Takes the steps from one log line to the next, compiled once per number of steps."""

    def __init__(self, step: Callable[..., Any], key: Any, seeds_axis: bool):
        self.key, self.compiled, self.compile_seconds = key, {}, 0.0

        def block(step, key, state, start, length):
            arrays, static = eqx.partition(state, eqx.is_array)

            def one(arrays, index):
                new, metrics = step(jax.random.fold_in(key, index), eqx.combine(arrays, static))
                return eqx.filter(new, eqx.is_array), metrics

            arrays, metrics = jax.lax.scan(one, arrays, start + jnp.arange(length))
            return eqx.combine(arrays, static), metrics

        def blocks(step, key, state, start, length):
            if not seeds_axis:
                return block(step, key, state, start, length)
            one_seed = eqx.filter_vmap(lambda key, state: block(step, key, state, start, length))
            return one_seed(key, state)

        self.block, self.step = eqx.filter_jit(blocks), step

    def __call__(self, state: Any, start: int, end: int) -> tuple[float, Any]:
        length = end - start
        index = jnp.asarray(start, jnp.int32)
        if length not in self.compiled:
            began = time.perf_counter()
            lowered = self.block.lower(  # pyright: ignore[reportFunctionMemberAccess]
                self.step, self.key, state, index, length
            )
            self.compiled[length] = lowered.compile()
            self.compile_seconds += time.perf_counter() - began
        began = time.perf_counter()
        result = self.compiled[length](self.step, self.key, state, index, length)
        result = jax.block_until_ready(result)
        return time.perf_counter() - began, result


def _block_ends(start: int, end: int, interval: int) -> Iterator[int]:
    while start < end:
        start = min((start // interval + 1) * interval, end)
        yield start


def _check_intervals(log: int, checkpoint: int, validation: Validation | None) -> None:
    intervals = {"checkpoint_interval": checkpoint}
    if validation is not None:
        intervals["validation interval"] = validation.interval
    if log < 1:
        raise ValueError(f"log_interval must be positive, got {log}.")
    for name, interval in intervals.items():
        if interval < 1 or interval % log:
            raise ValueError(f"{name}={interval} must be a multiple of log_interval={log}.")


def _first_bad_step(metrics: Any, start: int) -> int | None:
    """The first outer step with a metric that is not finite; metrics are `[(seeds,) steps]`."""
    finite = np.all([np.isfinite(np.asarray(values)) for values in metrics.values()], axis=0)
    bad = np.flatnonzero(~np.atleast_2d(finite).all(axis=0))
    return start + int(bad[0]) + 1 if bad.size else None


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks to stop after the running block; a second one stops at once."""
    asked = False

    def ask(signal_number, frame):
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        previous = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread: leave signals alone
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)
