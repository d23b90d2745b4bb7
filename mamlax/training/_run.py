"""Run an outer loop: many steps per program; logged, checkpointed, and resumable bit for bit."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGINT, Signals
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError
from .._files import Json
from .._processes import ENDED, has_lost_another, words_where_one_has_ended
from .._types import OuterLoop
from ._divergence import above_limit, not_finite, stayed_finite
from ._interruption import interruptible, wait_until
from ._process_group import ProcessGroup
from ._record import Progress, Record
from ._remedies import what_to_try
from ._validation import Validation


class TrainingDivergedError(MamlaxError):
    """The loss or the gradient became infinite or NaN."""


class TrainingFailedError(MamlaxError):
    """Code that the compiled program called, such as an environment, failed."""


class TrainingInterruptedError(MamlaxError, KeyboardInterrupt):
    """The run was interrupted, and wrote a checkpoint to resume from.

    Attributes:
        signal: the signal received: SIGINT (Ctrl-C) or SIGTERM. Shells expect the exit status
            128 + its number.
    """

    def __init__(self, message: str, signal: Signals = SIGINT):
        super().__init__(message)
        self.signal = signal


class Run(NamedTuple):
    """A finished run.

    Attributes:
        state: the state of the outer loop after the last step.
        best_state: the state with the best validation; without validation, the last state.
        best_step: the outer step of `best_state`.
        step: number of outer steps taken.
    """

    state: PyTree
    best_state: PyTree
    best_step: int
    step: int


def run(
    loop: OuterLoop,
    params: PyTree,
    *,
    key: Any,
    num_outer_steps: int,
    directory: str | Path | None = None,
    log_interval: int = 100,
    checkpoint_interval: int | None = None,
    validation: Validation | None = None,
    report: Callable[[Json], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Run:
    """Take `num_outer_steps` outer steps. With a `directory`, log them and write checkpoints.

    A validation with `patience` may end the run earlier. The steps between two log lines are one
    compiled program. Step i always uses `jax.random.fold_in(key, i)`. So the same call after an
    interruption continues from the last checkpoint, and its result is the same, bit for bit.

    Several processes of `jax.distributed` train together if the loop has a mesh of devices of all
    these processes. All of them must make this call. The first process has the files, provides the
    initial state, and calls `report` and `announce`. A signal to any process stops all.

    Args:
        loop: the outer loop to run.
        params: parameters to start from.
        key: a PRNG key; or `[seeds]` keys, to train several runs at the same time in one program,
            with `[seeds, ...]` arrays in `params` and in the returned states.
        num_outer_steps: total number of outer steps, including those before a resume.
        directory: the folder for `metrics.jsonl` and `checkpoint/`. None: nothing is written.
        log_interval: outer steps per program and per log line. Logged metrics are means over the
            interval (and over seeds).
        checkpoint_interval: outer steps between checkpoints, a multiple of `log_interval`. None:
            about twenty checkpoints in the run.
        validation: how to choose the best state.
        report: called with each log line. If patience ends the run, the last line also has
            `"stopped"`, a sentence that says why.
        announce: called with a sentence if an earlier run is resumed, and when the first program is
            compiled.

    Returns:
        The last and the best state.

    Raises:
        TrainingDivergedError: if a metric (the loss, the gradient's norm) or a number in the state
            is no longer finite, or a metric exceeds the loop's limit. The message names the step.
        TrainingFailedError: if code that the compiled program calls fails, such as an environment.
            A checkpoint is written first.
        TrainingInterruptedError: after Ctrl-C or SIGTERM, once a checkpoint is written.
        MamlaxError: if a file cannot be written, no checkpoint can be read, or the directory
            belongs to another key or another process.
        ValueError: if the settings contradict one another, or the validation lacks its metric.

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
    _check_settings(num_outer_steps, log_interval, checkpoint_interval, validation)
    if checkpoint_interval is None:
        checkpoint_interval = log_interval * max(1, num_outer_steps // (20 * log_interval))
    num_seeds, group = _num_seeds(key, params), ProcessGroup(loop.mesh)
    with Record(directory, is_shared=group.are_several) as record:
        record.open()
        start = group.start(_initial_state(loop, params, num_seeds is not None), key)
        now = record.progress(start, key) or Progress(0, start, None, 0, start)
        if now.step > num_outer_steps:
            raise MamlaxError(
                f"{directory} has already taken {now.step} outer steps, more than "
                f"num_outer_steps={num_outer_steps}. Ask for as many, or give another directory."
            )
        if announce is not None and now.step and group.is_first:
            is_over = validation is not None and validation.is_over(now.step, now.best_step)
            is_whole = is_over or now.step == num_outer_steps
            how = "trained already, to" if is_whole else "resuming from"
            announce(f"{how} outer step {now.step} of {num_outer_steps}")
        record.drop_lines_after(now.step)
        advance = _Advance(loop.step, key, num_seeds is not None)
        with _stopped_at_once(record), interruptible() as interrupted:
            for end in _block_ends(now.step, num_outer_steps, log_interval):
                if validation is not None and validation.is_over(now.step, now.best_step):
                    break
                has_compiled = advance.compile(now.state, now.step, end)
                if has_compiled and len(advance.compiled) == 1 and announce and group.is_first:
                    announce(f"training; the first result comes after outer step {end}")
                if has_compiled and group.signal(interrupted):
                    break
                try:
                    seconds, (state, metrics, finite) = advance(now.state, now.step, end)
                except jax.errors.JaxRuntimeError as error:
                    if interrupted() and not group.are_several:
                        break
                    with suppress(MamlaxError):  # a full disk must not hide the failure
                        record.save(now, key)
                    raise TrainingFailedError(
                        f"training stopped after outer step {now.step}: {_message_of(error)} "
                        f"{record}"
                    ) from error
                bad = not_finite(metrics, finite, now.step, end, num_seeds)
                above = above_limit(loop.limits, metrics, now.step)
                if bad or above:
                    with suppress(MamlaxError):
                        record.save(now, key)
                    parts = (above, record)
                    if bad:
                        advice = what_to_try(metrics, now.step, now.state, state, num_seeds)
                        parts = (bad, advice, loop.advice, record)
                    raise TrainingDivergedError(" ".join(str(part) for part in parts if part))
                line = {"step": end, **{name: _mean(metrics[name]) for name in metrics}}
                begin, now = now.step, now._replace(step=end, state=state)
                last = end == num_outer_steps
                if validation is not None and (last or end % validation.interval == 0):
                    with words_where_one_has_ended():
                        line.update(group.of_first(validation.measured(state)))
                    if validation.is_better(line[validation.metric], now.best_value):
                        value = line[validation.metric]
                        now = now._replace(best_value=value, best_step=end, best_state=state)
                line["time/outer_steps_per_second"] = (end - begin) / seconds
                line["time/compile_seconds"] = advance.compile_seconds
                line["time/date"] = time.strftime("%Y-%m-%dT%H:%M:%S")

                def tell(now=now, line=line, last=last):
                    record.log(line)
                    if report is not None:
                        if validation and not last and validation.is_over(now.step, now.best_step):
                            line["stopped"] = validation.why_over(now.best_step)
                        report(line)
                    if now.step % checkpoint_interval == 0:
                        record.save(now, key)

                if group.signal(interrupted, tell):
                    break
            record.save(now, key)
        # checked again: Ctrl-C during the last step must also stop what the caller does next
        if (received := group.signal(interrupted)) is not None:
            raise TrainingInterruptedError(
                f"stopped after outer step {now.step} of {num_outer_steps}. {record.how_to_resume}",
                received,
            )
    return _finished(now, group)


def restore_run(
    loop: OuterLoop,
    params: PyTree,
    directory: str | Path,
    *,
    seeds: bool = False,
    is_shared: bool | None = None,
) -> Run:
    """Read the states of a run from its directory, without training.

    Args:
        loop: the outer loop that was run.
        params: parameters with the same structure as those the run started from.
        directory: the run directory.
        seeds: whether several seeds were trained at the same time.
        is_shared: whether all processes of `jax.distributed` make this call together; the first
            one then has the directory. If None, that depends on the mesh of the loop.

    Raises:
        MamlaxError: if there is no checkpoint, or none can be read.
    """
    group = ProcessGroup(loop.mesh)
    is_shared = group.are_several if is_shared is None else is_shared
    with Record(directory, is_shared=is_shared) as record:
        progress = record.progress(_initial_state(loop, params, seeds))
    if progress is None:
        raise MamlaxError(f"{directory} has no checkpoint yet. Train it first.")
    return _finished(progress, group)


@contextmanager
def _stopped_at_once(record: Record) -> Iterator[None]:
    """After a second Ctrl-C, say which checkpoint there is to resume from."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise TrainingInterruptedError(f"stopped at once. {record.how_to_resume}") from stop


def _initial_state(loop: OuterLoop, params: PyTree, seeds: bool) -> PyTree:
    return eqx.filter_vmap(loop.init)(params) if seeds else loop.init(params)


def _finished(progress: Progress, group: ProcessGroup) -> Run:
    state = group.on_this_process(progress.state)
    if progress.best_value is None:
        return Run(state, state, progress.step, progress.step)
    best = group.on_this_process(progress.best_state)
    return Run(state, best, progress.best_step, progress.step)


def _message_of(error: Exception) -> str:
    """The message of an error of the compiled program, without the traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Traceback" in str(error):  # of Python code that was called; its message comes last
        return lines[-1].removeprefix("MamlaxError: ")
    text = lines[0] if lines else type(error).__name__
    if "RESOURCE_EXHAUSTED" in text:
        text += " Take fewer tasks at once (batch_size of over_tasks), or see what fits: cost_of."
    return f"{text.rstrip('.')}. {ENDED}" if has_lost_another(error) else text


def _mean(values: Any) -> float:
    return float(np.mean(np.asarray(values, np.float64)))


class _Advance:
    """Takes the steps from one log line to the next, compiled once per number of steps."""

    def __init__(self, step: Callable[..., PyTree], key: Any, seeds_axis: bool):
        self.key, self.step, self.seeds_axis = key, step, seeds_axis
        self.compiled, self.compile_seconds = {}, 0.0

    def compile(self, state: PyTree, start: int, end: int) -> bool:
        """Compile the program for this number of steps; False if it is compiled already."""
        length = end - start
        if length in self.compiled:
            return False
        began = time.perf_counter()
        lowered = _steps.lower(  # pyright: ignore[reportFunctionMemberAccess]
            *self._arguments(state, start, length)
        )
        self.compiled[length] = lowered.compile()
        self.compile_seconds += time.perf_counter() - began
        return True

    def __call__(self, state: PyTree, start: int, end: int) -> tuple[float, Any]:
        """Take the steps. Returns the seconds they took and the result of `_steps`."""
        began = time.perf_counter()
        result = self.compiled[end - start](*self._arguments(state, start, end - start))
        *_, finite = result
        wait_until(finite.is_ready)
        result = jax.block_until_ready(result)
        return time.perf_counter() - began, result

    def _arguments(self, state: PyTree, start: int, length: int) -> tuple[PyTree, ...]:
        return self.step, self.key, state, jnp.asarray(start, jnp.int32), length, self.seeds_axis


# One function for all runs: another run of the same step, even with other arrays, compiles nothing.
@eqx.filter_jit
def _steps(
    step: Callable[..., PyTree],
    key: Any,
    state: PyTree,
    start: PyTree,
    length: int,
    seeds_axis: bool,
) -> PyTree:
    """The state after `length` steps, the metrics of each, and whether it stayed finite."""

    def of_one(key, state):
        arrays, static = eqx.partition(state, eqx.is_array)

        def one(arrays, index):
            new, metrics = step(jax.random.fold_in(key, index), eqx.combine(arrays, static))
            return eqx.filter(new, eqx.is_array), metrics

        after, metrics = jax.lax.scan(one, arrays, start + jnp.arange(length))
        return eqx.combine(after, static), metrics, stayed_finite(arrays, after)

    return eqx.filter_vmap(of_one)(key, state) if seeds_axis else of_one(key, state)


def _block_ends(start: int, end: int, interval: int) -> Iterator[int]:
    while start < end:
        start = min((start // interval + 1) * interval, end)
        yield start


def _check_settings(
    num_outer_steps: Any, log: int, checkpoint: int | None, validation: Validation | None
) -> None:
    if not isinstance(num_outer_steps, int | np.integer) or num_outer_steps < 0:
        raise ValueError(
            f"num_outer_steps must be a whole number, 0 or more, got {num_outer_steps!r}."
        )
    if log < 1:
        raise ValueError(f"log_interval must be positive, got {log}.")
    intervals = {"checkpoint_interval": checkpoint}
    if validation is not None:
        intervals["validation interval"] = validation.interval
        if validation.patience is not None and validation.patience < 1:
            raise ValueError(f"patience must be 1 or more, got {validation.patience}.")
    for name, interval in intervals.items():
        if interval is not None and (interval < 1 or interval % log):
            raise ValueError(f"{name}={interval} must be a multiple of log_interval={log}.")


def _num_seeds(key: Any, params: PyTree) -> int | None:
    """How many seeds are trained at the same time; None if there is a single key."""
    if not hasattr(key, "dtype"):
        raise ValueError(f"key must be a PRNG key, e.g. jax.random.key(0), got {key!r}.")
    shape: tuple[int, ...] = jnp.shape(key)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        shape = shape[:-1]  # the last axis of an old key (jax.random.PRNGKey) is its data
    if not shape:
        return None
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(eqx.filter(params, eqx.is_array))]
    num_seeds, *more = shape
    if more or any(found[:1] != (num_seeds,) for found in shapes):
        raise ValueError(
            f"key has shape {list(shape)}: that many seeds are trained side by side, and every "
            f"array in params must have an axis of seeds first; their shapes are {shapes[:5]}. "
            "Give a single key, or initialize params for each seed (eqx.filter_vmap)."
        )
    return num_seeds
