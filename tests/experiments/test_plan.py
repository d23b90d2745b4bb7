"""`mamlax plan`: which choices are tried, which fit, and the error if none does."""

import re

import pytest

import mamlax
from mamlax import cli
from mamlax.experiments import _plan
from mamlax.experiments.problems._build import parts_of
from mamlax.training._cost import Cost

REMATS = ("none", "steps", "sqrt")


@pytest.fixture
def tiny(small):
    def of(**settings):
        usual = {"shots": 3, "hidden_sizes": (4,), "num_baseline_steps": 0}
        return small.sinusoid(**{**usual, **settings})

    return of


@pytest.fixture
def told(monkeypatch):
    """Fake costs, without compiling: `told[task_batch_size, remat] = memory, seconds`."""
    costs = {}

    def measured(variant, parts, memory):
        size, remat = variant.training.task_batch_size, getattr(variant.algorithm, "remat", "none")
        needed, seconds = costs.get((size, remat), (1000, 1.0))
        return _plan.Choice(size, remat, needed, 1e6, seconds if needed <= memory else None)

    monkeypatch.setattr(_plan, "_measured", measured)
    return costs


def looked_at(recipe):
    choices = _plan.plan(recipe, memory=10**9).choices
    return [(choice.task_batch_size, choice.remat) for choice in choices]


def test_every_choice_is_tried(tiny, told):
    recipe = tiny(num_inner_steps=5, meta_batch_size=8)
    assert looked_at(recipe) == [(size, remat) for size in (8, 2, 1) for remat in REMATS]
    # whatever the recipe has
    assert looked_at(recipe.changed(task_batch_size=4, remat="sqrt")) == looked_at(recipe)


@pytest.mark.parametrize(
    "settings, sizes, remats",
    [
        ({"meta_batch_size": 6}, (6, 1), REMATS),  # 4 does not divide it
        ({"meta_batch_size": 1}, (1,), REMATS),
        ({"meta_batch_size": 8, "num_devices": 2}, (4, 1), REMATS),
        ({"num_inner_steps": 3}, (4, 1), ("none", "steps")),  # too few steps for segments
        ({"algorithm": "maml-plus-plus"}, (4, 1), REMATS),
        *(
            ({"algorithm": algorithm}, (4, 1), ("none",))
            for algorithm in ("fomaml", "imaml", "reptile")
        ),
    ],
)
def test_only_possible_choices_are_tried(settings, sizes, remats, tiny, told):
    """Also, remat is left out if an algorithm does not have it."""
    recipe = tiny(**{"num_inner_steps": 5, **settings})
    assert looked_at(recipe) == [(size, remat) for size in sizes for remat in remats]


def test_the_fastest_of_those_that_fit_is_taken(tiny, told):
    told.update({(4, "none"): (3000, 0.1), (4, "steps"): (2000, 0.3), (1, "none"): (500, 0.2)})
    recipe, reported, said = tiny(), [], []
    report = lambda choice, *, first: reported.append((choice, first))  # noqa: E731
    for memory, best in ((3000, (4, "none")), (2999, (1, "none")), (500, (1, "none"))):
        found = _plan.plan(recipe, memory=memory, report=report, announce=said.append)
        assert (found.best.task_batch_size, found.best.remat) == best and found.memory == memory
    assert said == 3 * ["measuring one outer step of 4 settings; each is compiled first"]
    assert found.best.flags == "--task-batch-size 1"
    assert found.recipe == recipe.changed(task_batch_size=1)
    assert [choice.seconds for choice in found.choices] == [None, None, 0.2, None]
    assert [first for _, first in reported] == 3 * [True, False, False, False]
    assert [choice for choice, _ in reported[-4:]] == found.choices


def test_if_nothing_fits_the_smallest_is_named(tiny, told):
    told[1, "steps"] = (800, 1.0)
    with pytest.raises(mamlax.MamlaxError) as error:
        _plan.plan(tiny(), memory=799)
    for words in (
        "nothing fits in 799 bytes",
        "task.batch.size.1.*remat.steps, needs 800 bytes",
        "compute.dtype.bfloat16",
    ):
        assert re.search(words, str(error.value))


@pytest.mark.parametrize(
    "settings, said, unsaid",
    [
        ({"num_inner_steps": 1}, ["fomaml"], ["unrolled.steps", "imaml"]),
        ({"num_inner_steps": 3}, ["fomaml or imaml", "num.unrolled.steps"], []),
        ({"algorithm": "imaml", "num_inner_steps": 3}, [], ["algorithm", "unrolled"]),
    ],
)
def test_only_changes_that_need_less_memory_are_advised(settings, said, unsaid, tiny):
    advice = ", ".join(_plan._memory_savings(tiny(**settings)))
    assert re.search("meta.batch.size", advice)
    assert all(re.search(words, advice) for words in said)
    assert not any(re.search(words, advice) for words in unsaid)


def test_a_choice_has_the_cost_of_its_program_and_is_timed_where_it_fits(tiny, monkeypatch):
    monkeypatch.setattr(_plan, "_TIMED_SECONDS", 0.0)
    asked = []

    def cost_of(loop, params):
        asked.append(loop.init(params))
        return Cost(1000, 5e6, lambda key, state: timed.append(state) or state)

    timed = []
    monkeypatch.setattr(_plan, "cost_of", cost_of)
    recipe = tiny(task_batch_size=2, remat="steps")
    parts = parts_of(recipe)
    fits, does_not = (_plan._measured(recipe, parts, memory) for memory in (1000, 999))
    assert fits[:4] == does_not[:4] == (2, "steps", 1000, 5e6)
    assert fits.seconds > 0 and does_not.seconds is None
    assert len(timed) == 2 and len(asked) == 2


def test_settings_are_checked_first(tiny):
    with pytest.raises(mamlax.MamlaxError, match="proto-maml makes a head for the classes"):
        _plan.plan(tiny(algorithm="proto-maml"))


def test_memory_is_what_the_groups_of_a_container_leave(tmp_path):
    job = tmp_path / "sys/fs/cgroup/slurm/job"
    job.mkdir(parents=True)
    own = tmp_path / "proc/self/cgroup"
    assert _plan.left_in_groups(tmp_path) == []
    own.parent.mkdir(parents=True)
    own.write_text("4:memory:/elsewhere\n0::/slurm/job\n")
    assert _plan.left_in_groups(tmp_path) == []
    for folder, most in ((job, "1000"), (job.parent, "max"), (job.parent.parent, "5000")):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text("800\n")
        (folder / "memory.stat").write_text("anon 300\nfile 500\nfile_mapped 10\n")
    assert _plan.left_in_groups(tmp_path) == [700, 4700]


def test_the_free_memory_is_the_default(tiny, told, monkeypatch):
    monkeypatch.setattr(_plan, "free_memory", lambda: 4321)
    assert _plan.plan(tiny()).memory == 4321
    monkeypatch.undo()
    assert 2**20 < _plan.free_memory() < 2**50


@pytest.mark.parametrize(
    "text, number",
    [
        ("123 bytes", 123),
        ("2gb", 2 * 10**9),
        ("2 GiB", 2 * 2**30),
        ("2 gib", 2 * 2**30),
        ("1mB", 10**6),
        ("6GB", 6 * 10**9),
        ("6 GB", 6 * 10**9),
        ("512MiB", 512 * 2**20),
        ("1.5k", 1500),
        ("2KiB", 2048),
        ("1TB", 10**12),
        (" 3 g".replace("g", "G"), 3 * 10**9),
        ("7b", 7),
    ],
)
def test_sizes_are_parsed(text, number):
    assert _plan.bytes_of(text) == number


@pytest.mark.parametrize(
    "text", ["", "much", "0", "-1GB", "6GBs", "1.2.3GB", ".", "6 G B", "1e9", "0.5b", "2 i"]
)
def test_an_invalid_size_is_refused(text):
    with pytest.raises(mamlax.MamlaxError) as error:
        _plan.bytes_of(text)
    assert "6GB" in str(error.value) and repr(text) in str(error.value)


@pytest.mark.parametrize(
    "number, text",
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e6, "2.5 MB"), (6e9, "6 GB")],
)
def test_sizes_are_formatted(number, text):
    assert _plan.in_bytes(number) == text
    assert number == 0 or _plan.bytes_of(text) == number


@pytest.mark.parametrize("text", ["2", " 2 ", "1.5", "6000000000"])
def test_a_size_without_a_unit_is_refused(text):
    """`--memory 2` is meant as 2 GB, not as 2 bytes."""
    with pytest.raises(mamlax.MamlaxError, match="--memory must have a unit") as error:
        _plan.bytes_of(text)
    assert repr(text) in str(error.value) and f"--memory {text.strip()}GB" in str(error.value)


FLAGS = ["--shots", "3", "--hidden-sizes", "4", "--meta-batch-size", "2"]


@pytest.mark.slow
def test_a_plan_from_the_command_line(capsys, monkeypatch):
    """With real compilation and timing: one inner step, one or two tasks at once."""
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    monkeypatch.setattr(_plan, "_TIMED_SECONDS", 0.0)
    assert cli.main(["plan", "sinusoid", *FLAGS, "--memory", "1 GiB"]) == 0
    output = capsys.readouterr()
    head, *lines = output.out.splitlines()
    assert head.split() == ["task-batch-size", "remat", "memory", "operations", "seconds"]
    assert [line.split()[:2] for line in lines] == [
        ["2", "none"],
        ["2", "steps"],
        ["1", "none"],
        ["1", "steps"],
    ]
    assert all(float(line.split()[-1]) >= 0 for line in lines)
    said = " ".join(output.err.split())
    command = re.search(r"fits in 1.07 GB: mamlax train sinusoid (.*)$", said)
    assert command and "--task-batch-size" in command[1]
    for flag in ("--shots 3", "--hidden-sizes 4", "--meta-batch-size 2"):
        assert flag in command[1]


@pytest.mark.parametrize(
    "memory, words", [("lots", "--memory must be a size"), ("9b", "needs"), ("2", "--memory 2GB")]
)
def test_an_impossible_plan_is_an_error_without_a_traceback(
    memory, words, capsys, monkeypatch, told
):
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    assert cli.main(["plan", "sinusoid", *FLAGS, "--memory", memory]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "error:" in said and words in said
