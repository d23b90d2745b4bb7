"""Linear systems of positive definite matrices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from mamlax._linear_systems import solve_positive


def positive(roots):
    return roots @ roots.mT + jnp.broadcast_to(jnp.eye(4), roots.shape)


def systems(*lead):
    roots = jax.random.normal(jax.random.key(0), (*lead, 4, 4), jnp.float64)
    return roots, jax.random.normal(jax.random.key(1), (*lead, 4, 2), jnp.float64)


def test_the_solution_is_that_of_numpy_however_it_is_mapped():
    with jax.enable_x64(True):
        roots, targets = systems(3, 5)
        matrices = positive(roots)
        expected = np.linalg.solve(matrices, targets)
        found = jax.jit(jax.vmap(jax.vmap(solve_positive)))(matrices, targets)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        of_one_matrix = jax.vmap(solve_positive, (None, 0))(matrices[0, 0], targets[0])
        expected = np.linalg.solve(np.broadcast_to(matrices[0, 0], (5, 4, 4)), targets[0])
        np.testing.assert_allclose(of_one_matrix, expected, rtol=1e-9)


def test_its_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):

        def solved(roots, targets):
            return jax.vmap(solve_positive)(positive(roots), targets)

        check_grads(solved, systems(3), order=2, modes=("fwd", "rev"))


def test_a_complex_matrix_is_hermitian():
    """`jax.scipy.linalg.solve(assume_a="pos")` solves it, with another derivative."""

    def solved(real, imaginary, targets):
        root = jax.lax.complex(real, imaginary)
        return solve_positive(root @ root.conj().T + jnp.eye(4), jax.lax.complex(*targets))

    with jax.enable_x64(True):
        (real, imaginary), targets = systems(2)[0], jnp.stack([*systems(2)[1]])
        root = real + 1j * imaginary
        expected = np.linalg.solve(root @ root.conj().T + np.eye(4), targets[0] + 1j * targets[1])
        np.testing.assert_allclose(solved(real, imaginary, targets), expected, rtol=1e-9)
        check_grads(
            lambda *args: solved(*args).real, (real, imaginary, targets), order=2, modes=("rev",)
        )


def test_what_is_not_positive_definite_has_no_solution():
    assert not np.isfinite(solve_positive(-jnp.eye(2), jnp.ones((2, 1)))).any()


def test_an_accelerator_solves_all_at_once_and_a_processor_in_turn():
    with jax.enable_x64(True):
        roots, targets = systems(3)
        arguments = positive(roots), targets
        solved = jax.jit(jax.vmap(solve_positive))
        lowered = {
            platform: jax.export.export(solved, platforms=[platform])(*arguments).mlir_module()
            for platform in ("cpu", "cuda")
        }
    assert "stablehlo.while" in lowered["cpu"] and "stablehlo.while" not in lowered["cuda"]


# With factorizations that are split over threads, this waits forever within two seconds.
TWO_THREADS = """
import threading, time
import jax, jax.numpy as jnp
from mamlax._linear_systems import solve_positive

@jax.jit
def solved(matrices, targets):
    def turn(targets, _):
        found = jax.vmap(solve_positive)(matrices + 1e-6 * targets[:, :1], targets)
        return found / jnp.linalg.norm(found), None
    return jax.lax.scan(turn, targets, None, length=300)[0]

def keep_solving(tasks):
    roots = jax.random.normal(jax.random.key(tasks), (tasks, 65, 65))
    matrices, targets = roots @ roots.mT + 65 * jnp.eye(65), roots[..., :1]
    ends = time.monotonic() + 2
    while time.monotonic() < ends:
        jax.block_until_ready(solved(matrices, targets))

threads = [threading.Thread(target=keep_solving, args=(tasks,)) for tasks in (25, 26)]
for one in threads: one.start()
for one in threads: one.join()
"""


def test_programs_that_solve_at_the_same_time_do_not_wait_for_each_other():
    flags = {"XLA_FLAGS": ""}  # threads, as Python has them by default
    subprocess.run(
        [sys.executable, "-c", TWO_THREADS], check=True, timeout=60, env=os.environ | flags
    )
