"""Settings have bounds and unique names, and invalid ones are refused."""

import math
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

import jaxtyping
import pytest

from mamlax import MamlaxError, config
from mamlax.config import ALGORITHMS, POLICY_ALGORITHMS, RECIPES, Recipe, Settings
from mamlax.config._algorithms import carried_over

GROUPS = [
    kind
    for kind in vars(config).values()
    if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
    if not issubclass(kind, Recipe)
]


@pytest.fixture(scope="module", autouse=True)
def as_users_have_it():
    """Without the type checker of the tests, which would refuse wrong types first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# settings without a default
GIVEN = {"TrainingSettings": {"meta_batch_size": 2, "num_outer_steps": 10}}


def made(kind, **settings):
    return kind(**{**GIVEN.get(kind.__name__, {}), **settings})


def names_of(settings):
    return [field.name for field in fields(settings)]


ONE_OR_MORE = [
    *("shots", "num_query", "train_shots", "channels", "image_size"),
    *("horizon", "num_states", "inner_batch_size"),
    *("context_size", "num_conjugate_gradient_steps", "num_gradient_steps", "num_solver_steps"),
    *("episodes_per_task", "num_test_episodes", "meta_batch_size", "num_outer_steps"),
    *("log_interval", "checkpoint_interval", "num_devices"),
    *("num_test_tasks", "validation_interval", "num_validation_tasks"),
    *("num_baseline_inner_steps",),
]
TWO_OR_MORE = ["ways", "test_ways", "num_arms", "num_actions"]
ZERO_OR_MORE = [
    *("num_unrolled_steps", "num_multi_step_outer_steps"),
    *("num_first_order_outer_steps", "num_baseline_steps", "num_test_inner_steps"),
    *("num_validation_inner_steps", "crop_padding"),
]
SEEDS = ["split_seed", "goal_seed"]
POSITIVE = [
    *("inner_learning_rate", "outer_learning_rate", "proximal_strength", "ridge", "max_kl"),
    *("gradient_clip", "inner_gradient_clip", "sparse_radius", "action_bound"),
]
NOT_NEGATIVE = ["damping", "weight_scale", "head_scale"]
FRACTION = ["discount", "gae_lambda", "inner_learning_rate_decay", "max_unstable_share"]
# tested below, because their bounds depend on the algorithm
WITHOUT_BOUNDS = {"num_inner_steps"}

NAN, INFINITY = math.nan, math.inf
OF_ALL = ("many", NAN)  # out of all bounds
BOUNDS: dict[str, tuple[str, list[Any], list[Any]]] = {
    **{name: ("a whole number, 1 or more", [0, -3, 1.5, *OF_ALL], [1, 2]) for name in ONE_OR_MORE},
    **{name: ("a whole number, 2 or more", [1, 0, 2.5, *OF_ALL], [2, 3]) for name in TWO_OR_MORE},
    **{name: ("a whole number, 0 or more", [-1, 2.5, *OF_ALL], [0, 3]) for name in ZERO_OR_MORE},
    **{
        name: ("a whole number from 0 to 4294967295", [-1, 2**32, *OF_ALL], [0, 2**32 - 1])
        for name in SEEDS
    },
    "gray_bits": ("a whole number from 8 to 32", [7, 33, *OF_ALL], [8, 32]),
    "velocities": (
        "two numbers, the lower one first",
        [(1.0, 1.0), (2.0, 1.0), (0.0, INFINITY), (NAN, 1.0)],
        [(0.0, 2.0), (-1, 1)],
    ),
    **{
        name: ("a positive number", [0, 0.0, -0.1, INFINITY, *OF_ALL], [1e-9, 3])
        for name in POSITIVE
    },
    **{name: ("a number, 0 or more", [-0.1, INFINITY, *OF_ALL], [0.0, 4]) for name in NOT_NEGATIVE},
    **{name: ("a number from 0 to 1", [-0.1, 1.1, *OF_ALL], [0, 1.0, 0.5]) for name in FRACTION},
    "task_batch_size": ("auto, or a whole number, 1 or more", [0, 1.5, *OF_ALL], [1, "auto"]),
    "fisher_fraction": ("a number above 0, at most 1", [0.0, 1.1, *OF_ALL], [0.1, 1]),
    "second_moment_decay": ("a number, 0 or more and below 1", [-0.1, 1.0, *OF_ALL], [0.0, 0.999]),
    "step_weights": (
        "a tuple, each value a number, 0 or more",
        [(1.0, -0.5), (NAN,), (INFINITY,), ("many",)],
        [(1.0,), (0.0, 1)],
    ),
    "hidden_sizes": (
        "a tuple, each value a whole number, 1 or more",
        [(0,), (8, -1), (8, 1.5), ("many",)],
        [(), (3,), (3, 4)],
    ),
}
SETTINGS = [(kind, name) for kind in GROUPS for name in names_of(kind)]


def is_number(hint):
    if hint in (int, float):
        return True
    return any(is_number(part) for part in get_args(hint))


@pytest.mark.parametrize(
    "kind, name", SETTINGS, ids=[f"{kind.__name__}-{name}" for kind, name in SETTINGS]
)
def test_a_setting_is_refused_outside_its_bounds_and_taken_within(kind, name):
    """Every number has bounds, with few exceptions; strings are one of several choices."""
    hint = get_type_hints(kind)[name]
    words = [word for word in (hint, *get_args(hint)) if str(word).startswith("typing.Literal")]
    if name in BOUNDS:
        expected, bad, good = BOUNDS[name]
    elif words:
        choices = get_args(words[0])
        expected, bad, good = f"one of {', '.join(choices)}", ["another", 3], choices
    else:
        assert not is_number(hint) or name in WITHOUT_BOUNDS, f"{name} has no bounds"
        return
    for value in bad:
        with pytest.raises(MamlaxError) as error:
            made(kind, **{name: value})
        shown = repr(value) if isinstance(value, str) else value
        assert str(error.value) == f"{name} must be {expected}, got {shown}."
    for value in good:
        assert getattr(made(kind, **{name: value}), name) == value
    if type(None) in get_args(hint):
        assert getattr(made(kind, **{name: None}), name) is None
    else:
        with pytest.raises(MamlaxError, match=f"{name} must be .*, got None"):
            made(kind, **{name: None})


def test_every_bound_is_of_a_setting():
    assert {name for _, name in SETTINGS} >= BOUNDS.keys() | WITHOUT_BOUNDS


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize(
    "name, words",
    [
        ("imaml", ["2 or more for imaml", "16 or more", "far from the minimum", "sinusoid-imaml"]),
        ("reptile", ["2 or more for reptile", "5 or more", "joint training on the support sets"]),
    ],
)
def test_an_algorithm_of_several_inner_steps_is_refused_with_fewer(name, words, steps):
    with pytest.raises(MamlaxError) as error:
        ALGORITHMS[name](num_inner_steps=steps)
    for word in (*words, f"got {steps}"):
        assert word in str(error.value)
    assert ALGORITHMS[name]().num_inner_steps == {"imaml": 16, "reptile": 5}[name]


LEAST_STEPS = {"proto-maml": 0, "ridge-maml": 0, "logistic-maml": 0, "imaml": 2, "reptile": 2}
"""The least number of inner steps if it is not 1: with a head of the task none is needed."""


@pytest.mark.parametrize("name", [*ALGORITHMS, *POLICY_ALGORITHMS])
def test_an_algorithm_takes_only_numbers_of_inner_steps_that_make_sense(name):
    kind, least = {**ALGORITHMS, **POLICY_ALGORITHMS}[name], LEAST_STEPS.get(name, 1)
    assert kind(num_inner_steps=least).num_inner_steps == least
    for bad in (least - 1, -1, 2.5, NAN):
        with pytest.raises(MamlaxError, match=f"must be a whole number, {least} or more") as error:
            kind(num_inner_steps=bad)
        assert ("with 0 nothing would adapt" in str(error.value)) == (least == 1)


@pytest.mark.parametrize("kind", GROUPS)
def test_a_setting_cannot_be_set_to_an_invalid_value(kind):
    """Values are frozen, so that bounds hold after they were checked."""
    value = made(kind)
    name = names_of(kind)[0]
    with pytest.raises(AttributeError):
        setattr(value, name, None)
    assert hash(value) == hash(made(kind)) and value == made(kind)


def algorithms_of(recipe):
    return [recipe.with_algorithm(name) for name in recipe.algorithms]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_no_two_groups_of_a_recipe_have_a_setting_of_the_same_name(recipe):
    """Each is one flag of the command line, and one argument of `changed`."""
    own = {field.name for field in fields(Recipe)} | {"recipe", "seed", "num_seeds", "out"}
    for variant in algorithms_of(recipe):
        names = [name for group in variant.groups.values() for name in names_of(group)]
        assert len(names) == len(set(names)), sorted({n for n in names if names.count(n) > 1})
        assert not own & set(names)
        assert variant.settings.keys() == {"algorithm", *names}


def test_a_recipe_is_changed_by_names_whatever_their_group():
    recipe = RECIPES["sinusoid"].changed(
        shots=3, inner_learning_rate=0.5, log_interval=10, num_test_tasks=7, gradient_clip=2.0
    )
    assert recipe.problem.shots == 3 and recipe.algorithm.inner_learning_rate == 0.5
    assert recipe.training.log_interval == 10 and recipe.evaluation.num_test_tasks == 7
    assert recipe.outer_optimizer.gradient_clip == 2.0
    settings, usual = recipe.settings, RECIPES["sinusoid"].settings
    assert {name for name in settings if settings[name] != usual[name]} == {
        *("shots", "inner_learning_rate", "log_interval", "num_test_tasks", "gradient_clip")
    }
    policy = RECIPES["navigation-2d"].changed(
        discount=0.5, activation="tanh", hidden_sizes=(3,), max_kl=0.5, goals="circle"
    )
    assert policy.episodes.discount == 0.5 and policy.policy.hidden_sizes == (3,)
    assert policy.algorithm.max_kl == 0.5 and policy.problem.goals == "circle"


def test_a_changed_recipe_leaves_the_named_one_as_it_was():
    before = RECIPES["sinusoid"].settings
    RECIPES["sinusoid"].changed(shots=3, algorithm="imaml", damping=2.0)
    assert RECIPES["sinusoid"].settings == before


def test_groups_and_algorithms_may_be_given_whole():
    recipe = RECIPES["sinusoid"].changed(
        problem=config.SinusoidProblem(shots=2),
        algorithm=config.Cavia(context_size=3),
        name="mine",
        weight_scale=0.5,  # changes the problem that is given
    )
    assert recipe.problem == config.SinusoidProblem(shots=2, weight_scale=0.5)
    assert recipe.algorithm.context_size == 3 and recipe.name == "mine"


@pytest.mark.parametrize(
    "name, settings, unknown",
    [
        ("sinusoid", {"shot": 3}, "shot"),
        ("sinusoid", {"shots": 3, "ways": 5}, "ways"),
        ("sinusoid", {"damping": 1.0}, "damping"),  # a setting of another algorithm
        ("sinusoid", {"algorithm": "fomaml", "first_order": True}, "first_order"),
        ("sinusoid", {"algorithm": "imaml", "remat": "steps"}, "remat"),
        ("sinusoid", {"episodes_per_task": 3}, "episodes_per_task"),
        ("navigation-2d", {"outer_learning_rate": 0.1}, "outer_learning_rate"),
        ("navigation-2d", {"algorithm": "promp", "max_kl": 0.1}, "max_kl"),
        ("navigation-2d", {"seed": 1}, "seed"),
    ],
)
def test_an_unknown_setting_is_refused_by_its_name(name, settings, unknown):
    algorithm = settings.get("algorithm", RECIPES[name].algorithm.name)
    with pytest.raises(MamlaxError) as error:
        RECIPES[name].changed(**settings)
    assert str(error.value).startswith(
        f"the recipe {name} with the algorithm {algorithm} has no setting {unknown!r}."
    )
    if unknown in ("damping", "max_kl"):
        known = {"damping": "imaml", "max_kl": "maml-trpo"}[unknown]
        assert str(error.value).endswith(f" It is for {known}.")
    assert ("Did you mean shots?" in str(error.value)) == (unknown == "shot")


@pytest.mark.parametrize(
    "name, algorithm", [("sinusoid", "mamml"), ("sinusoid", "promp"), ("navigation-2d", "imaml")]
)
def test_an_unknown_algorithm_is_refused_with_the_known_ones(name, algorithm):
    with pytest.raises(MamlaxError, match=f"no algorithm '{algorithm}' for {name}") as error:
        RECIPES[name].changed(algorithm=algorithm)
    for known in RECIPES[name].algorithms:
        assert known in str(error.value)
    assert ("Did you mean maml?" in str(error.value)) == (algorithm == "mamml")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"shots": 0}, "shots must be a whole number, 1 or more, got 0."),
        ({"algorithm": "imaml", "damping": -1.0}, "damping must be a number, 0 or more, got -1.0."),
        (
            {"num_inner_steps": -1},
            "num_inner_steps must be a whole number, 1 or more (with 0",
        ),
        ({"checkpoint_interval": 15}, "checkpoint_interval=15 must be a multiple of log_int"),
        ({"validation_interval": 700}, "validation_interval=700 must be a multiple of log_int"),
        ({"log_interval": 300}, "validation_interval=2000 must be a multiple of log_interval=300"),
    ],
)
def test_a_recipe_is_not_changed_to_invalid_settings(changes, words):
    with pytest.raises(MamlaxError, match=re.escape(words)):
        RECIPES["sinusoid"].changed(**changes)


def test_another_algorithm_keeps_what_both_have_and_allow():
    recipe = RECIPES["sinusoid"].changed(
        inner_learning_rate=0.3, inner_optimizer="learned-curvature"
    )
    imaml = recipe.with_algorithm("imaml").algorithm
    assert imaml.inner_learning_rate == 0.3
    # where imaml does not allow maml's values, it has its own defaults
    assert imaml.num_inner_steps == 16 and imaml.inner_optimizer == "sgd"
    many = recipe.changed(num_inner_steps=7, inner_optimizer="adam").with_algorithm("imaml")
    assert many.algorithm.num_inner_steps == 7 and many.algorithm.inner_optimizer == "adam"
    promp = RECIPES["navigation-2d"].changed(step_weights=(1.0,)).with_algorithm("promp").algorithm
    assert promp.step_weights == (1.0,) and promp.inner_learning_rate == 0.5


def test_carrying_over_to_the_same_class_changes_nothing():
    for recipe in RECIPES.values():
        assert carried_over(recipe.algorithm, type(recipe.algorithm)) == recipe.algorithm
        assert recipe.with_algorithm(recipe.algorithm.name) == recipe


# options that only some algorithms have, and these algorithms
SOLVED = {"ridge-maml", "logistic-maml"}
HEADS = {"proto-maml", "unicorn-maml", *SOLVED}
OF_MAML = {"maml", "anil", "boil", "cavia", *HEADS}
DIFFERENTIATED = OF_MAML | {"meta-sgd", "meta-curvature"}
USERS = {
    "inner_optimizer": OF_MAML | {"fomaml", "imaml", "reptile"},
    "inner_gradient_clip": OF_MAML | {"fomaml", "imaml", "reptile"},
    "first_order": DIFFERENTIATED,
    "inner_batch_size": set(ALGORITHMS) - {"imaml"} - HEADS,
    "num_unrolled_steps": DIFFERENTIATED | {"maml-plus-plus"},
    "remat": DIFFERENTIATED | {"maml-plus-plus"},
    "num_multi_step_outer_steps": {"maml-plus-plus"},
    "num_first_order_outer_steps": {"maml-plus-plus"},
    "per_step_normalization": {"maml-plus-plus"},
    "proximal_strength": {"imaml"},
    "num_conjugate_gradient_steps": {"imaml"},
    "damping": {"imaml"},
    "context_size": {"cavia"},
    "ridge": SOLVED,
    "head_prior": SOLVED,
    "num_solver_steps": {"logistic-maml"},
    "inner_learning_rate": set(ALGORITHMS),
    "num_inner_steps": set(ALGORITHMS),
    "compute_dtype": set(ALGORITHMS),
}
POLICY_USERS = {
    "max_kl": {"maml-trpo"},
    "fisher": {"maml-trpo"},
    "fisher_fraction": {"maml-trpo"},
    "num_conjugate_gradient_steps": {"maml-trpo"},
    "outer_learning_rate": {"promp", "policy-gradient"},
    "num_gradient_steps": {"promp"},
    "inner_learning_rate": set(POLICY_ALGORITHMS),
    "num_inner_steps": set(POLICY_ALGORITHMS),
    "first_order": set(POLICY_ALGORITHMS),
    "surrogate": set(POLICY_ALGORITHMS),
    "inner_learning_rate_decay": set(POLICY_ALGORITHMS),
    "sampling_correction": set(POLICY_ALGORITHMS),
    "step_weights": set(POLICY_ALGORITHMS),
    "remat": set(POLICY_ALGORITHMS),
}


@pytest.mark.parametrize(
    "algorithms, users", [(ALGORITHMS, USERS), (POLICY_ALGORITHMS, POLICY_USERS)]
)
def test_each_option_belongs_to_the_algorithms_that_use_it(algorithms, users):
    found = {}
    for name, kind in algorithms.items():
        for option in names_of(kind):
            found.setdefault(option, set()).add(name)
    assert found == users


def test_a_learned_inner_optimizer_needs_an_outer_loop_that_differentiates():
    for name, kind in ALGORITHMS.items():
        if "inner_optimizer" not in names_of(kind):
            continue
        if name in ("imaml", "reptile"):
            with pytest.raises(MamlaxError, match="inner_optimizer must be one of sgd, momentum"):
                kind(inner_optimizer="learned-step-sizes")
        else:
            assert kind(inner_optimizer="learned-step-sizes")


@pytest.mark.parametrize("kind", [*ALGORITHMS.values(), *POLICY_ALGORITHMS.values()])
def test_an_algorithm_has_a_name_a_docstring_and_a_sentence_for_each_setting(kind):
    from mamlax.cli._flags import _docs

    assert {**ALGORITHMS, **POLICY_ALGORITHMS}[kind.name] is kind and is_dataclass(kind)
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")
    assert set(names_of(kind)) <= _docs(kind).keys()
    assert replace(kind()) == kind()


def test_settings_import_no_jax():
    """So the command line is fast, and explains bounds without JAX."""
    code = (
        "import sys, mamlax.config as config\n"
        "config.RECIPES['sinusoid'].changed(shots=3, algorithm='imaml')\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not {"jax", "numpy", "optax", "tyro"} & set(done.stdout.split())
