"""A small outer loop to run: noisy, with a state of every kind of leaf, and able to diverge."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax


class State(NamedTuple):
    """The state of the loop; `name` is not an array."""

    meta_params: Any
    optimizer_state: Any
    count: Any
    own_key: Any
    half: Any
    name: str


def noisy_loop(bad_step=None, bad_value=float("nan"), bad_params=None, where="train/query_loss"):
    """Adam follows noise drawn from each step's key.

    At outer step `bad_step` the metric `where` is `bad_value`, or, if `where` is "state", one
    number of the state that no metric depends on. With `bad_params`, this happens only to runs
    whose `params["first"]` has that value.
    """
    optimizer = optax.adam(0.1)

    def init(params):
        return State(
            params,
            optimizer.init(params),
            jnp.zeros((), jnp.int32),
            jax.random.key(7),
            jnp.ones(2, jnp.bfloat16),
            "noisy",
        )

    def step(key, state):
        noise = jax.random.normal(key, state.meta_params["w"].shape)

        def loss_fn(params):
            return jnp.sum((params["w"] - noise) ** 2) + params["first"] * 0

        loss, gradient = jax.value_and_grad(loss_fn)(state.meta_params)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state)
        count = state.count + 1
        metrics = {"train/query_loss": loss, "train/gradient_norm": optax.tree.norm(gradient)}
        bad = count == (-1 if bad_step is None else bad_step)
        if bad_step is not None and bad_params is not None:
            bad &= state.meta_params["first"] == bad_params
        half = state.half * jnp.bfloat16(0.99)
        if bad_step is not None and where == "state":
            half = half.at[1].set(jnp.where(bad, bad_value, half[1]).astype(half.dtype))
        elif bad_step is not None:
            metrics[where] = jnp.where(bad, bad_value, metrics[where])
        state = state._replace(
            meta_params=optax.apply_updates(state.meta_params, updates),
            optimizer_state=optimizer_state,
            count=count,
            half=half,
        )
        return state, metrics

    return mamlax.OuterLoop(init, step)


class Crash(Exception):
    """A crash."""


class Walk:
    """Runs of the noisy loop, and how to compare them."""

    loop = staticmethod(noisy_loop)
    Crash = Crash
    KEY = jax.random.key(3)
    PARAMS = {"w": jnp.array([1.0, -2.0, 0.5]), "first": jnp.zeros(())}  # noqa: RUF012

    def run(self, directory=None, loop=None, crash_at=None, **settings):
        """60 steps in blocks of 10, a checkpoint every 20; a crash at the log line of a step."""

        def report(line):
            if line["step"] == crash_at:
                raise Crash

        settings = {
            "key": self.KEY,
            "num_outer_steps": 60,
            "log_interval": 10,
            "checkpoint_interval": 20,
            "report": report,
            **settings,
        }
        params = settings.pop("params", self.PARAMS)
        return mamlax.run(loop or noisy_loop(), params, directory=directory, **settings)

    @staticmethod
    def validation(values, interval=10, maximize=True):
        """A validation whose value after step n·interval is `values[n − 1]`."""

        def validate(state):
            return {"validation/score": values[int(np.max(state.count)) // interval - 1]}

        return mamlax.Validation(validate, interval, "validation/score", maximize)

    @staticmethod
    def assert_same_bits(a, b):
        """Two states are equal in every bit, dtype and shape."""
        assert jax.tree.structure(a) == jax.tree.structure(b)
        for (path, x), y in zip(
            jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True
        ):
            if isinstance(x, str):
                assert x == y
                continue
            if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
                x, y = jax.random.key_data(x), jax.random.key_data(y)
            assert x.dtype == y.dtype and x.shape == y.shape, path
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), path

    @staticmethod
    def lines(directory):
        """The lines of metrics.jsonl without times."""
        text = (Path(directory) / "metrics.jsonl").read_text()
        return [
            {name: value for name, value in json.loads(line).items() if name[:5] != "time/"}
            for line in text.splitlines()
        ]

    @staticmethod
    def steps(directory, kind="latest"):
        """The steps that have checkpoints."""
        folder = Path(directory) / "checkpoint" / kind
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.fixture(scope="session")
def walk():
    return Walk()


@pytest.fixture(scope="session")
def by_hand(walk):
    """The states after 0 to 60 jitted steps of the noisy loop, and the metrics."""
    loop = walk.loop()
    step, states, metrics = eqx.filter_jit(loop.step), [loop.init(walk.PARAMS)], []
    for index in range(60):
        state, one = step(jax.random.fold_in(walk.KEY, index), states[-1])
        states.append(state)
        metrics.append(one)
    return states, metrics


@pytest.fixture(scope="session")
def whole(walk, tmp_path_factory):
    """An uninterrupted run: its result and its directory."""
    directory = tmp_path_factory.mktemp("whole")
    return walk.run(directory), directory
