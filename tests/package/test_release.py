"""What a release says of itself agrees: versions, what changed, what it needs, how it is made."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import mamlax

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()

# names that are others on conda-forge
ON_CONDA = {"matplotlib": "matplotlib-base", "flatbuffers": "python-flatbuffers"}


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(mamlax.__version__, id="the package"),
        pytest.param(importlib.metadata.version("mamlax"), id="the installation"),
        pytest.param(CITATION["version"], id="CITATION.cff"),
        pytest.param(RECIPE["context"]["version"], id="recipe.yaml"),
    ],
)
def test_the_version_is_that_of_pyproject(version):
    assert version == PROJECT["version"], "pyproject.toml has the version; write it here, too"


def test_the_newest_entry_of_the_changelog_is_this_version():
    """With a date once it is released; until then the version is one of development."""
    number, when = re.findall(r"^## \[(.+?)\] - (.+)$", CHANGELOG, re.M)[0]
    version = Version(PROJECT["version"])
    assert number == version.base_version
    if version.is_devrelease:
        assert when == "Unreleased"
    else:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", when), "a release has a date"


def test_the_changelog_says_each_thing_once():
    lines = [line for line in CHANGELOG.splitlines() if line.startswith("- ")]
    assert sorted(set(lines)) == sorted(lines)


def test_the_license_is_the_same_everywhere():
    assert CITATION["license"] == RECIPE["about"]["license"] == PROJECT["license"]


def test_the_classifiers_name_the_pythons_of_the_hosted_checks():
    named = {
        found[1]
        for one in PROJECT["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one))
    }
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert named == set(workflow["jobs"]["check"]["strategy"]["matrix"]["python"])
    assert f">={min(named, key=Version)}" == PROJECT["requires-python"]


def test_the_conda_recipe_needs_what_pyproject_needs():
    """The core and the command line are installed; bounds of other extras are constraints."""
    assert PROJECT["requires-python"] == f">={RECIPE['context']['python_min']}"
    python = ["python >=${{ python_min }}"]
    needed = requirements(*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cli"])
    assert sorted(RECIPE["requirements"]["run"]) == sorted([*python, *needed])
    extras = ("flax", "tabular", "serve", "onnx", "hub", "track", "gym", "mujoco", "mjx")
    others = requirements(
        *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])
    )
    assert sorted(RECIPE["requirements"]["run_constraints"]) == sorted(others - needed)


def requirements(*texts):
    """As conda writes them: `jax >=0.10`. Extras inside extras are left out."""
    found = [Requirement(text) for text in texts if not text.startswith("mamlax[")]
    return {f"{ON_CONDA.get(one.name, one.name.lower())} {one.specifier}" for one in found}


def test_every_dependency_of_a_user_has_a_lower_bound():
    """It is the oldest that was tried, see docs/developer/release.md."""
    extras = PROJECT["optional-dependencies"]
    for text in (*PROJECT["dependencies"], *(one for extra in extras.values() for one in extra)):
        one = Requirement(text)
        assert one.name == "mamlax" or one.specifier, f"{text} has no bound"
