"""The package as a whole: light to import, documented, each name once, arrows one way."""

import ast
import inspect
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import mamlax

ROOT = Path(mamlax.__file__).parent
REPOSITORY = ROOT.parent
STUB = (ROOT / "__init__.pyi").read_text()
NAMES = re.findall(r"import \w+ as (\w+)$", STUB, re.MULTILINE)


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_mamlax_imports_nothing_heavy():
    heavy = {
        *("jax", "jaxlib", "numpy", "scipy", "optax", "equinox", "jaxtyping", "flax", "orbax"),
        *("matplotlib", "PIL", "tyro", "rich", "sklearn", "pandas", "gymnasium", "mujoco"),
        *("msgspec", "safetensors"),
    }
    loaded = run("import mamlax, sys; print(*sorted(sys.modules))").split()
    assert "mamlax" in loaded and not heavy & set(loaded)


def test_using_mamlax_imports_neither_images_nor_figures_nor_checkpoints():
    code = "import mamlax, sys; mamlax.run, mamlax.FewShot, mamlax.omniglot, mamlax.models.conv4\n"
    loaded = run(code + "print(*sorted(sys.modules))").split()
    assert "jax" in loaded
    heavy = {"matplotlib", "PIL", "orbax", "tyro", "rich", "msgspec", "flax", "sklearn", "pandas"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize(
    "use",
    [
        'mamlax.config.RECIPES["sinusoid"].changed(algorithm="imaml", damping=2.0)',
        "mamlax.records.read_evaluation, mamlax.records.read_examples, mamlax.records.read_run",
    ],
)
def test_settings_and_records_are_used_without_jax(use):
    loaded = set(run(f"import mamlax, sys; {use}\nprint(*sorted(sys.modules))").split())
    assert not {"jax", "optax", "equinox", "matplotlib", "orbax", "tyro"} & loaded


def test_importing_mamlax_does_not_start_jax():
    """`jax.config.update("jax_num_cpu_devices", …)` must still be possible."""
    code = (
        "import mamlax, jax; mamlax.run, mamlax.omniglot, mamlax.models.mlp, mamlax.load_run\n"
        'jax.config.update("jax_num_cpu_devices", 3); print(jax.device_count())'
    )
    assert run(code, JAX_NUM_CPU_DEVICES="1", JAX_PLATFORMS="cpu").strip() == "3"


def test_the_stub_lists_what_there_is():
    assert len(NAMES) == len(set(NAMES)) == STUB.count("import ")
    assert sorted(mamlax.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(mamlax))
    with pytest.raises(AttributeError, match="no_such_name"):
        mamlax.no_such_name  # noqa: B018


def test_the_public_interface_can_be_taken_in():
    """In groups with a title, each of which one sees at a glance."""
    head, *groups = STUB.split("\n\n")
    assert "import" not in head
    for group in groups:
        title, *names = group.splitlines()
        assert title.startswith("# ") and 1 < len(names) <= 15, title


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_resolves_and_is_documented(name):
    value = getattr(mamlax, name)
    doc = inspect.getdoc(value)
    assert doc and len(doc) > 20
    # what a named tuple or a data class is given for want of a better one
    assert not doc.startswith(f"{name}("), "it has no docstring of its own"
    if not isinstance(value, types.ModuleType):
        assert value.__name__ == name


def test_no_object_has_two_names():
    objects = [getattr(mamlax, name) for name in NAMES]
    assert len({id(value) for value in objects}) == len(objects)


MODULES = [getattr(mamlax, name) for name in NAMES if inspect.ismodule(getattr(mamlax, name))]


def is_own(module, value):
    home = getattr(value, "__module__", "")
    return home == module.__name__ or home.startswith(f"{module.__name__}.")


def public_functions():
    for name in NAMES:
        value = getattr(mamlax, name)
        if inspect.isfunction(value):
            yield name, value
    for module in MODULES:
        for name in dir(module):
            value = getattr(module, name)
            if inspect.isfunction(value) and is_own(module, value) and name[0] != "_":
                yield f"{module.__name__.removeprefix('mamlax.')}.{name}", value


FUNCTIONS = dict(public_functions())


CLASSES = {
    f"{module.__name__.removeprefix('mamlax.')}.{name}": getattr(module, name)
    for module in MODULES
    for name in dir(module)
    if inspect.isclass(getattr(module, name)) and is_own(module, getattr(module, name))
    if name[0] != "_"
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_of_a_module_is_documented(name):
    doc = CLASSES[name].__dict__.get("__doc__")
    assert doc and not doc.startswith(f"{CLASSES[name].__name__}("), "no docstring of its own"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_a_public_function_is_explained(name):
    function = FUNCTIONS[name]
    doc = inspect.getdoc(inspect.unwrap(function))
    assert doc is not None
    parameters = list(inspect.signature(function).parameters)
    # one argument may be explained by the first line, which then has to name it
    first = doc.split("\n\n")[0]
    for parameter in parameters:
        assert re.search(rf"^ *\*{{0,2}}{parameter}: \S", doc, re.MULTILINE) or (
            len(parameters) == 1 and "Args:" not in doc and first
        ), f"{name} says nothing of {parameter}"


def test_every_module_says_what_it_is():
    for path in ROOT.rglob("*.py"):
        source = path.read_text()
        assert not source.strip() or ast.get_docstring(ast.parse(source)), path


def test_files_stay_readable():
    lengths = {path.name: len(path.read_text().splitlines()) for path in ROOT.rglob("*.py")}
    assert max(lengths.values()) < 500, max(lengths, key=lengths.get)


def test_abbreviations_and_synonyms_stay_out_of_signatures():
    """`naming.md`: one word for each thing."""
    banned = {"lr", "bsz", "k", "n", "num_shots", "n_way", "k_shot", "update_lr", "fast_weights"}
    for name, function in FUNCTIONS.items():
        assert not banned & set(inspect.signature(function).parameters), name


def test_types_are_shipped():
    assert (ROOT / "py.typed").exists() and (ROOT / "__init__.pyi").exists()


def test_imports_go_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* kept, 0 broken", done.stdout)


@pytest.mark.parametrize(
    "package, homes",
    [
        ("matplotlib", {"plots/_style.py"}),
        (
            "PIL",
            {
                *("datasets/_batches.py", "datasets/_decoding.py", "datasets/_gray_levels.py"),
                *("plots/_film.py", "trackers/_tensorboard.py"),
            },
        ),
        ("orbax", {"training/_checkpoint.py"}),
        (
            "tyro",
            {
                f"cli/{one}.py"
                for one in ("__init__", "_flags", "_models", "_runs", "_service", "_sharing")
            },
        ),
        ("msgspec", {"records/_json.py"}),
        ("urllib", {"datasets/_download.py"}),
        ("gymnasium", {"rl/envs/gymnasium/_members.py"}),
    ],
)
def test_a_library_has_one_home(package, homes):
    users = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for name in imported_by(path)
        if name.split(".")[0] == package
    }
    assert users == homes


def imported_by(path):
    """Modules that a file imports, also by `optional("module", extra)`."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0):
                yield node.module
            case ast.Call(func=ast.Name("optional"), args=[ast.Constant(name), *_]):
                yield name
            case ast.Call(
                func=ast.Name("optional"), args=[ast.JoinedStr([ast.Constant(name), *_]), *_]
            ):
                yield name


def test_mamlax_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "mamlax", "train", "sinusiod"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "Did you mean sinusoid?" in done.stderr
