"""MuJoCo's own engine, on all processor cores, as a function that JAX can call.

`mujoco.rollout` keeps no state between calls: it is a function of the engine's state and a control.
So a compiled program may call it at each step, for all the tasks and episodes it is mapped over at
once, and everything else about an episode stays in the program. The state travels through it as
bits, because the engine computes in double precision.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._cores import num_cores
from ..._host_call import host_call
from ._model import mujoco_library
from ._physics import Changes, Physics
from ._skeleton import Skeleton

_MOST_MODELS = 256  # more than a meta-batch has; each takes half a megabyte
_LARGEST, _FASTEST = 1e10, 1e4  # MuJoCo itself takes the former for broken down


class MujocoEngine:
    """A model, and threads that step it.

    Args:
        model: an `mujoco.MjModel`; not to be changed afterwards.
        frame_skip: steps of the engine per step of the environment.

    References:
        Todorov, Erez & Tassa, MuJoCo: A physics engine for model-based control, IROS 2012.
    """

    def __init__(self, model: PyTree, frame_skip: int):
        self.model, self.frame_skip, self.skeleton = model, frame_skip, Skeleton(model)
        self._mujoco = mujoco_library()
        # else a row that breaks down would be put back to the start, unseen
        model.opt.disableflags |= self._mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self._layout = _Layout(self._mujoco, model)
        self._models: OrderedDict[tuple[PyTree, ...], Any] = OrderedDict()
        self._lock = threading.Lock()
        self._workers: list[_Workers] = []
        self._num_calls = self._most_calls = 0

    def start(self, position: PyTree, velocity: PyTree) -> Physics:
        """Put the bodies somewhere; nothing is in contact yet."""

        bits = jax.ShapeDtypeStruct((2 * self._layout.size,), jnp.uint32)
        state = host_call(self._layout.join, bits, position, velocity)
        return Physics(position, velocity, jnp.zeros(self.model.nsensordata), state)

    def step(self, physics: Physics, control: PyTree, changes: Changes = None) -> Physics:
        """Hold a control for the time of one environment step."""
        changes = changes or {}
        sizes = {name: np.shape(getattr(self.model, name)) for name in changes}
        flat = [jnp.ravel(changes[name]) for name in sizes]
        # one array: a task is looked up by its bytes
        changed = jnp.concatenate(flat) if flat else jnp.zeros(0)

        def advance(bits, control, changed):
            lead = np.broadcast_shapes(*(x.shape[:-1] for x in (bits, control, changed)))
            rows = [np.broadcast_to(x, (*lead, x.shape[-1])) for x in (bits, control)]
            state, control = (np.ascontiguousarray(x).reshape(-1, x.shape[-1]) for x in rows)
            models = self._models_of(changed, sizes, lead)
            after, sensors = self._advance(models, state.view(np.float64), control)
            seen = (*self._layout.split(after), sensors)
            bits = after.view(np.uint32).reshape(*lead, 2 * self._layout.size)
            position, velocity, sensors = (
                x.reshape(*lead, x.shape[-1]).astype(number) for x in seen
            )
            return Physics(position, velocity, sensors, bits)

        number = jnp.result_type(float)
        shapes = Physics(
            jax.ShapeDtypeStruct((self.model.nq,), number),
            jax.ShapeDtypeStruct((self.model.nv,), number),
            jax.ShapeDtypeStruct((self.model.nsensordata,), number),
            jax.ShapeDtypeStruct((2 * self._layout.size,), jnp.uint32),
        )
        return host_call(advance, shapes, physics.engine, control, changed)

    def _advance(
        self, models: list[PyTree], state: np.ndarray, control: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """States `[rows, size]`, NaN where one broke down, and sensors, after one step."""
        count, skip = len(state), self.frame_skip
        controls = np.repeat(control[:, None].astype(np.float64), skip, axis=1)
        states = np.empty((count, skip, self._layout.size))
        sensors = np.empty((count, skip, self.model.nsensordata))
        with self._lent_workers() as workers:
            workers.pool.rollout(
                models,
                workers.data,
                state,
                controls,
                nstep=skip,
                skip_checks=True,
                state=states,
                sensordata=sensors,
            )
        after = np.ascontiguousarray(states[:, -1])
        _, velocity = self._layout.split(after)
        sound = (np.abs(after) < _LARGEST).all(axis=1) & (np.abs(velocity) < _FASTEST).all(axis=1)
        after[~sound] = np.nan
        return after, sensors[:, -1]

    @contextmanager
    def _lent_workers(self) -> Iterator["_Workers"]:
        """As many threads as there are cores for each of the calls that have come at once.

        Not in a threading.local: XLA's threads are new to Python at every call.
        """
        with self._lock:
            self._num_calls += 1
            if self._num_calls > self._most_calls:
                self._most_calls = self._num_calls
                self._workers.clear()
            found = self._workers.pop() if self._workers else None
            threads = self._num_threads
        workers = found or _Workers(self._mujoco, self.model, threads)
        try:
            yield workers
        finally:
            with self._lock:
                self._num_calls -= 1
                if len(workers.data) == self._num_threads:
                    self._workers.append(workers)

    @property
    def _num_threads(self) -> int:
        """Of each call."""
        return max(1, num_cores() // self._most_calls)

    def _models_of(
        self, changed: np.ndarray, sizes: dict[str, tuple[int, ...]], lead: tuple[int, ...]
    ) -> list[PyTree]:
        """The model of each row."""
        if not sizes:
            return [self.model] * int(np.prod(lead))
        tasks = changed.reshape(-1, changed.shape[-1])
        which = np.arange(len(tasks)).reshape(changed.shape[:-1])
        models = [self._changed(task, sizes) for task in tasks]
        return [models[index] for index in np.broadcast_to(which, lead).ravel()]

    def _changed(self, task: np.ndarray, sizes: dict[str, tuple[int, ...]]) -> PyTree:
        """A copy of the model with some fields of its own, from the cache if it is there."""
        name = (*sizes, task.tobytes())
        with self._lock:
            if name in self._models:
                self._models.move_to_end(name)
                return self._models[name]
            found, start = self._mujoco.MjModel.__copy__(self.model), 0
            for field, shape in sizes.items():
                stop = start + int(np.prod(shape))
                getattr(found, field)[...] = task[start:stop].reshape(shape)
                start = stop
            self._models[name] = found
            if len(self._models) > _MOST_MODELS:
                self._models.popitem(last=False)
            return found


class _Workers:
    """Threads with the memory they step in; one call at a time may use it."""

    def __init__(self, mujoco: Any, model: PyTree, threads: int):
        from mujoco.rollout import Rollout

        # 0: on the thread that calls
        self.pool = Rollout(nthread=threads if threads > 1 else 0)
        self.data = [mujoco.MjData(model) for _ in range(threads)]


class _Layout:
    """Where positions and velocities lie in the engine's state."""

    def __init__(self, mujoco: Any, model: PyTree):
        self._start = self._state(mujoco, model, mujoco.MjData(model))
        self.size = len(self._start)
        self._places = []
        for field in ("qpos", "qvel"):
            marked = mujoco.MjData(model)
            getattr(marked, field)[:] = np.nan
            self._places.append(np.flatnonzero(np.isnan(self._state(mujoco, model, marked))))

    def join(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Bits `[..., 2 size]` of a state."""
        lead = np.broadcast_shapes(position.shape[:-1], velocity.shape[:-1])
        state = np.broadcast_to(self._start, (*lead, self.size)).copy()
        for place, values in zip(self._places, (position, velocity), strict=True):
            state[..., place] = values
        return state.view(np.uint32)

    def split(self, state: np.ndarray) -> tuple[np.ndarray, ...]:
        """Position and velocity of states `[rows, size]`."""
        return tuple(state[:, place] for place in self._places)

    @staticmethod
    def _state(mujoco: Any, model: PyTree, data: Any) -> np.ndarray:
        kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
        state = np.zeros(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, state, kind)
        return state
