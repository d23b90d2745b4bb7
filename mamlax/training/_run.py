"""Run an outer loop: many steps per dispatch, logged, checkpointed, resumable bit for bit."""

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
from ._checkpoint import Checkpoints
from ._metrics import append_metrics, keep_metrics_until


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
    seeds_axis = jnp.ndim(key) > 0
    init = eqx.filter_vmap(loop.init) if seeds_axis else loop.init
    state = best_state = init(params)
    start, saved, best = 0, None, None
    checkpoints = best_checkpoints = None
    if directory is not None:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        checkpoints = Checkpoints(directory / "checkpoint" / "latest")
        best_checkpoints = Checkpoints(directory / "checkpoint" / "best", keep=1)
        if restored := checkpoints.restore(state):
            start, state, best = restored.step, restored.state, restored.info["best"]
            saved = start
            if best is not None:
                # the best one may be newer than the last: a crash came between the two
                best_restored = best_checkpoints.restore(best_state)
                best_state = state if best_restored is None else best_restored.state
        keep_metrics_until(directory / "metrics.jsonl", start)

    def save(step):
        nonlocal saved
        if checkpoints is not None and saved != step:
            checkpoints.save(step, state, {"best": best})
            saved = step

    advance = _Advance(loop.step, key, seeds_axis)
    with _interruptible() as interrupted:
        for step in _block_ends(start, num_outer_steps, log_interval):
            seconds, (new_state, metrics) = advance(state, start, step)
            if bad_step := _first_bad_step(metrics, start):
                save(start)
                raise TrainingDivergedError(_DIVERGED.format(bad_step) + _kept(start, directory))
            state = new_state
            line = {"step": step, **{name: float(np.mean(metrics[name])) for name in metrics}}
            if validation is not None and (
                step % validation.interval == 0 or step == num_outer_steps
            ):
                line.update(validation.fn(state))
                value = line[validation.metric]
                if best is None or (value > best[0] if validation.maximize else value < best[0]):
                    best, best_state = [value, step], state
                    if best_checkpoints is not None:
                        best_checkpoints.save(step, state, {})
            line["time/outer_steps_per_second"] = (step - start) / seconds
            line["time/compile_seconds"] = advance.compile_seconds
            line["time/date"] = time.strftime("%Y-%m-%dT%H:%M:%S")
            if directory is not None:
                append_metrics(directory / "metrics.jsonl", line)
            if report is not None:
                report(line)
            start = step
            last = step == num_outer_steps
            if last or step % checkpoint_interval == 0 or interrupted():
                save(step)
            if interrupted() and not last:
                raise TrainingInterruptedError(
                    f"stopped after outer step {step} of {num_outer_steps}. "
                    + _kept(step, directory)
                    + ("" if directory is None else " Repeat the command to resume.")
                )
    for opened in (checkpoints, best_checkpoints):
        if opened is not None:
            opened.close()
    if best is None:
        return Run(state, state, num_outer_steps)
    return Run(state, best_state, best[1])


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
    init = eqx.filter_vmap(loop.init) if seeds else loop.init
    like = eqx.filter_eval_shape(init, params)
    directory = Path(directory) / "checkpoint"
    like = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x, like
    )
    latest = Checkpoints(directory / "latest").restore(like)
    if latest is None:
        raise MamlaxError(f"{directory.parent} has no checkpoint yet. Train it first.")
    best = latest.info["best"]
    if best is None:
        return Run(latest.state, latest.state, latest.step)
    restored = Checkpoints(directory / "best", keep=1).restore(like)
    if restored is None:
        return Run(latest.state, latest.state, latest.step)
    return Run(latest.state, restored.state, restored.step)


_DIVERGED = (
    "the loss or its gradient is not finite at outer step {}. Try a smaller outer or inner "
    "learning rate, fewer inner steps, or clip the outer gradient (--gradient-clip, or "
    "optax.clip_by_global_norm before the outer optimizer). "
)


def _kept(step: int, directory: Path | None) -> str:
    if directory is None:
        return "Nothing was written: no directory was given."
    return f"The last good checkpoint, of step {step}, is in {directory / 'checkpoint'}."


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
