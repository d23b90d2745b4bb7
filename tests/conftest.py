"""Strict JAX for every test: silent promotion of ranks and types is an error."""

import functools
import gc
import os
import signal
import subprocess
import sys

# two processor devices, so that sharding over tasks is tested on any machine; read when JAX starts
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Keep compiled programs from run to run; compile them quickly, also those of other processes.

    The slow tests train, and compile as users do.
    """
    if getattr(config, "cache", None):
        _keep_programs(config.cache.mkdir("programs"))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's `make test &` leaves it so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.markexpr != "not slow":
        return
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    jax.config.update("jax_disable_most_optimizations", True)
    _lower_in_one_context()
    # for workers, which inherit it: this process has read its flags, and others must have the same
    if getattr(config.option, "numprocesses", None):
        os.environ["XLA_FLAGS"] = _flags_of_xla()
    # looking for garbage among thousands of programs that stay takes more than leaving it
    gc.set_threshold(100_000, 20, 100)


def _keep_programs(folder):
    """By what they compute and by JAX's settings: `pytest --cache-clear` forgets them."""
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


def _lower_in_one_context():
    """JAX makes a context of MLIR for each program, which takes longer than lowering most of them.

    Where JAX has another way, it stays as it is: this is private.
    """
    with suppress(ImportError, AttributeError):
        from jax._src.interpreters import mlir

        mlir.make_ir_context = functools.cache(mlir.make_ir_context)
        _contexts.append(mlir.make_ir_context)


_contexts = []
"""The function that gives the one context, if there is one."""


def _flags_of_xla():
    """Without what takes XLA longest, if it has those options: they come and go."""
    given = os.environ.get("XLA_FLAGS", "")
    quick = f"{given} --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    trial = [sys.executable, "-c", "import jax; jax.devices()"]
    done = subprocess.run(trial, env={**os.environ, "XLA_FLAGS": quick}, capture_output=True)
    return quick if done.returncode == 0 else given


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep the user's caches and data out of the tests."""
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("MAMLAX_DATA", raising=False)


@pytest.fixture(scope="session")
def tiny_sinusoid():
    """The smallest recipe that logs, validates and checkpoints twice, without baselines."""
    from mamlax.config import RECIPES

    return RECIPES["sinusoid"].changed(
        hidden_sizes=(4,),
        meta_batch_size=2,
        num_outer_steps=4,
        num_baseline_steps=0,
        log_interval=2,
        checkpoint_interval=2,
        validation_interval=2,
        num_validation_tasks=3,
        num_validation_inner_steps=1,
        num_test_tasks=3,
        num_test_inner_steps=1,
    )


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Forget compiled programs before there are too many: each takes pieces of the memory map.

    Linux allows a process 65,530 of them, and XLA aborts where it gets no more.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > 20_000:
        jax.clear_caches()
        for one in _contexts:
            one.cache_clear()
        gc.collect()


@pytest.fixture
def key():
    """A PRNG key."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def imitation():
    """`imitation(size=6)`: an imitation of Omniglot that can be learned."""
    return _imitation


@pytest.fixture(scope="module")
def fake_omniglot():
    """`mamlax.omniglot` gives the imitation, at any size asked for."""
    from mamlax.datasets import _omniglot

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            _omniglot, "omniglot", lambda data_dir, *, size, split, split_seed: _imitation(size)
        )
        yield


def _imitation(size=6):
    """Splits of 8, 4 and 4 random patterns, each drawn 6 times with a little noise."""
    import mamlax

    random = np.random.default_rng(0)

    def classes(count, prefix):
        return mamlax.ClassArrays.of(
            {
                f"{prefix}{c}": np.clip(
                    255 * (random.random((1, size, size, 1)) < 0.5)
                    + random.normal(0, 20, (6, size, size, 1)),
                    0,
                    255,
                ).astype(np.uint8)
                for c in range(count)
            }
        )

    # the last two alike in names and shapes: one program evaluates on both
    return mamlax.Splits(classes(8, "a"), classes(4, "b"), classes(4, "b"))
