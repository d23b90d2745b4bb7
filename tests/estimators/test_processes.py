"""Estimators in several processes, as scikit-learn's `n_jobs` starts them."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("joblib")

SEVERAL_PROCESSES = """
import jax, jax.numpy as jnp, numpy as np
from sklearn.model_selection import GroupKFold, cross_val_score
import mamlax

jnp.ones(3).sum().block_until_ready()  # JAX runs in this process, with its threads
rng = np.random.default_rng(0)
groups = np.repeat(np.arange(8), 6)
x = rng.normal(size=(48, 2))
y = x[:, 0] + groups
model = mamlax.FewShotRegressor(
    num_outer_steps=5, hidden_sizes=(4,), meta_batch_size=2, max_support=4, compare=False,
    random_state=0,
)
for n_jobs in (1, 2):
    print(*cross_val_score(
        model, x, y, groups=groups, params={"groups": groups}, cv=GroupKFold(2), n_jobs=n_jobs,
    ))
"""


@pytest.mark.slow
def test_cross_validation_in_several_processes_gives_the_same():
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL_PROCESSES], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    one, two = (np.array(line.split(), float) for line in done.stdout.splitlines())
    np.testing.assert_allclose(one, two, rtol=1e-5)
    assert np.isfinite(one).all()
