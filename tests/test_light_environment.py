"""Who only computes needs few libraries: all others are made impossible to import."""

import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import pytest
from packaging.requirements import Requirement


def core_distributions():
    """What `pip install mamlax` without an extra installs."""
    found, todo = set(), ["mamlax"]
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for text in requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


@pytest.fixture(scope="module")
def run_light():
    """`run_light(code)`: in a process that can import the core libraries alone."""
    core = core_distributions()
    hidden = {
        package
        for package, owners in packages_distributions().items()
        if not {owner.lower().replace("_", "-") for owner in owners} & core
    }
    assert {"tyro", "rich", "matplotlib", "PIL", "orbax", "msgspec", "sklearn"} <= hidden
    assert not {"jax", "equinox", "optax", "numpy", "scipy"} & hidden
    prelude = f"""
import sys
from importlib.machinery import PathFinder
class CoreFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.split(".")[0] in {hidden!r}
        return None if hidden else PathFinder.find_spec(name, path, target)
sys.meta_path = [CoreFinder if one is PathFinder else one for one in sys.meta_path]
"""

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", prelude + code], capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_meta_learning_needs_the_core_libraries_alone(run_light):
    code = """
import jax, jax.numpy as jnp, optax, mamlax

def loss_fn(params, batch):
    return jnp.mean((params(batch.inputs) - batch.targets) ** 2)

learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=1)
tasks = mamlax.Sinusoids(shots=5)
loop = mamlax.outer_loop(learner, optax.adam(1e-3), tasks.sample, meta_batch_size=2)
params = mamlax.models.mlp(jax.random.key(0), 1, 1, hidden_sizes=(4,))
run = mamlax.run(loop, params, key=jax.random.key(1), num_outer_steps=2)
print(run.best_step)
try:
    mamlax.run(loop, params, key=jax.random.key(1), num_outer_steps=2, directory="never")
except mamlax.MamlaxError as error:
    print(error)
"""
    status, output, errors = run_light(f"import os, tempfile; os.chdir(tempfile.mkdtemp())\n{code}")
    assert status == 0, errors
    first, second = output.splitlines()
    assert first == "2"
    assert "orbax" in second and "pip install 'mamlax[cli]'" in second


@pytest.mark.slow
def test_policies_need_the_core_libraries_alone(run_light):
    status, output, errors = run_light("""
import jax, optax, mamlax
from mamlax import rl

env = rl.PointNavigation(horizon=3)
options = dict(inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=2)
learner = rl.policy_learner(env, **options)
loop = rl.maml_trpo(learner, meta_batch_size=2)
policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(4,))
run = mamlax.run(loop, policy, key=jax.random.key(1), num_outer_steps=1)
print(run.best_step)
""")
    assert (status, output) == (0, "1\n"), errors


def test_what_needs_more_names_the_extra_that_installs_it(run_light):
    status, _, errors = run_light("from mamlax.__main__ import main; sys.exit(main())")
    assert status == 1 and "pip install 'mamlax[cli]'" in errors and "Traceback" not in errors
    status, _, errors = run_light("import mamlax; mamlax.FewShotRegressor")
    assert status == 1 and "pip install 'mamlax[tabular]'" in errors.splitlines()[-1]


def test_settings_and_recipes_do_not_load_jax(run_light):
    status, output, errors = run_light("""
from mamlax.config import RECIPES
print(RECIPES["sinusoid"].changed(shots=5).settings["shots"], "jax" in sys.modules)
""")
    assert (status, output) == (0, "5 False\n"), errors
