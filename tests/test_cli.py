"""The command line: what it answers, what it refuses, and how quickly it gets there."""

import re
import subprocess
import sys

import pytest

import mamlax
from mamlax import cli
from mamlax.cli import _console
from mamlax.recipes import RECIPES

COMMANDS = ["recipes", "train", "plan", "evaluate", "plot", "compare"]


@pytest.fixture(autouse=True)
def jax_as_it_is(monkeypatch, tmp_path):
    """Leave JAX's settings alone, and runs out of the working directory."""
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def exits(arguments):
    """The exit status, whether it is returned or raised."""
    try:
        return cli.main(arguments)
    except SystemExit as exit:
        return exit.code


def words_of(text):
    """Text without the frames of boxes and the breaks of lines."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["train", "sinusoid"]])
def test_help_is_given_for_every_command(command, capsys):
    assert exits([*command, "--help"]) == 0
    text = words_of(capsys.readouterr().out)
    assert "usage: mamlax" in text
    expected = {
        (): COMMANDS,
        ("train",): [*RECIPES, "--seed", "--num-seeds", "--out", "--data-dir", "MAMLAX_DATA"],
        ("train", "sinusoid"): ["--num-outer-steps", "--shots", "70000", "Step size α"],
        ("plan",): [*RECIPES, "--memory", "6GB", "512MiB", "--data-dir"],
        ("evaluate",): ["--num-tasks", "--num-inner-steps", "The run directory."],
        ("plot",): ["The run directory."],
        ("compare",): ["Two run directories or more.", "--out", "(default: comparison)", "paired"],
        ("recipes",): ["List the recipes"],
    }[tuple(command)]
    for words in expected:
        assert words in text


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_of_a_recipe_is_a_flag_with_help(name, capsys):
    from dataclasses import fields

    assert exits(["train", name, "--help"]) == 0
    text = words_of(capsys.readouterr().out)
    recipe = RECIPES[name]
    for field in (*fields(recipe), *fields(recipe.problem)):
        flag = f"--{field.name.replace('_', '-')}"
        hidden = field.name in ("name", "evidence", "problem")
        assert bool(re.search(rf"{flag}[ ,]", text)) != hidden, flag
    assert "(default: " in text


def test_recipes_are_listed_with_what_was_published(capsys):
    assert exits(["recipes"]) == 0
    text = capsys.readouterr().out
    for name, recipe in RECIPES.items():
        assert re.search(rf"^{re.escape(name)}$", text, re.MULTILINE), f"{name} is broken"
        assert recipe.evidence.expected.split()[0] in text
    assert "mamlax train RECIPE" in text


@pytest.mark.parametrize("width", ["60", "200"])
def test_recipe_names_can_be_copied_at_any_width(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    assert exits(["recipes"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in RECIPES)


@pytest.mark.parametrize(
    "arguments, near",
    [
        (["train", "sinusiod"], "sinusoid"),
        (["train", "Sinusoid"], "sinusoid"),
        (["train", "sinusoid_5_shot"], "sinusoid-5-shot"),
        (["train", "sinusoid-5shot"], "sinusoid-5-shot"),
        (["train", "omniglot-20-way-1shot"], "omniglot-20-way-1-shot"),
        (["train", "omniglot-5way-5shot"], "omniglot-5-way-5-shot"),
        (["train", "sinusiod", "--seed", "1"], "sinusoid"),
        (["plan", "sinusiod", "--memory", "6GB"], "sinusoid"),
        (["train", "mini-imagenet-5way-1shot"], "mini-imagenet-5-way-1-shot"),
    ],
)
def test_an_unknown_recipe_is_met_with_the_nearest(arguments, near, capsys):
    assert exits(arguments) == 1
    text = capsys.readouterr().err
    assert repr(arguments[1]) in text and f"Did you mean {near}?" in text
    assert "mamlax recipes" in text and "Traceback" not in text


@pytest.mark.parametrize("arguments", [["--seed", "1", "sinusiod"], ["--out=x", "sinusiod"]])
def test_an_unknown_recipe_after_flags_is_met_with_the_nearest(arguments, capsys):
    assert exits(["train", *arguments]) != 0
    assert "Did you mean sinusoid?" in words_of(capsys.readouterr().err)


def test_a_recipe_like_none_gets_no_guess(capsys):
    assert exits(["train", "qqqqqqq"]) == 1
    text = capsys.readouterr().err
    assert "Did you mean" not in text and "mamlax recipes" in text


@pytest.mark.parametrize(
    "arguments, near",
    [
        (["train", "omniglot-5-way-1-shot", "--chanels", "3"], "--channels"),
        (["evaluate", "run", "--num-task", "3"], "--num-tasks"),
        *(
            pytest.param(*mistake, marks=pytest.mark.slow)  # tyro looks through every recipe
            for mistake in (
                (["train", "sinusoid", "--num-outer-step", "3"], "--num-outer-steps"),
                (["train", "sinusoid", "--inner-learnin-rate", "3"], "--inner-learning-rate"),
                (["train", "sinusoid", "--sed", "3"], "--seed"),
                (["compare", "run", "other", "--ou", "x"], "--out"),
            )
        ),
    ],
)
def test_an_unknown_flag_is_met_with_the_nearest(arguments, near, capsys):
    assert exits(arguments) == 2
    text = words_of(capsys.readouterr().err)
    assert arguments[-2] in text and f"Perhaps you meant: {near} " in text


@pytest.mark.parametrize(
    "command",
    ["trian", *(pytest.param(one, marks=pytest.mark.slow) for one in ("plots", "evalute"))],
)
def test_an_unknown_command_is_met_with_the_commands(command, capsys):
    assert exits([command, "x"]) == 2
    text = words_of(capsys.readouterr().err)
    assert command in text and all(name in text for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--num-outer-steps", "many"], ["--num-outer-steps", "many"]),
        (["--outer-schedule", "linear"], ["--outer-schedule", "linear", "constant", "cosine"]),
        (["--algorithm", "mamal"], ["--algorithm", "mamal", "maml-plus-plus", "ridge-maml"]),
        (["--num-outer-steps"], ["--num-outer-steps"]),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(arguments, words, capsys):
    assert exits(["train", "sinusoid", *arguments]) == 2
    text = words_of(capsys.readouterr().err)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--shots", "0"], ["shots", "positive", "0"]),
        (["--num-seeds", "0"], ["--num-seeds", "1 or more"]),
        (["--meta-batch-size", "0"], ["meta_batch_size", "1 or more"]),
        (["--num-inner-steps", "-1"], ["num_inner_steps", "-1"]),
        (["--checkpoint-interval", "7"], ["checkpoint_interval=7", "log_interval=500"]),
        (["--log-interval", "0"], ["log_interval", "0"]),
        (["--num-devices", "99"], ["--num-devices 99"]),
        (
            ["--algorithm", "reptile", "--remat", "steps"],
            ["reptile has no use for --remat", "anil"],
        ),
    ],
)
def test_bad_settings_are_errors_without_a_traceback(arguments, words, capsys):
    assert exits(["train", "sinusoid", "--hidden-sizes", "4", *arguments]) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and "Traceback" not in text
    for word in words:
        assert word in text


def test_the_version_is_told(capsys):
    assert exits(["--version"]) == 0
    assert capsys.readouterr().out == f"mamlax {mamlax.__version__}\n"


def test_the_folder_above_a_run_is_no_run_but_a_hint(capsys, tmp_path):
    (tmp_path / "sinusoid" / "0").mkdir(parents=True)
    (tmp_path / "sinusoid" / "0" / "recipe.json").write_text("{}")
    assert exits(["evaluate", str(tmp_path / "sinusoid")]) == 1
    assert f"Did you mean {tmp_path / 'sinusoid' / '0'}?" in capsys.readouterr().err


def test_warnings_are_said_without_the_line_of_code(capsys, monkeypatch, recwarn):
    import warnings

    from mamlax.recipes import _experiment

    def train(*_, **__):
        with warnings.catch_warnings(action="always"):
            warnings.warn("the checkpoint is [damaged]", stacklevel=1)
        raise mamlax.MamlaxError("enough")

    monkeypatch.setattr(_experiment, "train", train)
    assert exits(["train", "sinusoid"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == "warning: the checkpoint is [damaged]"


@pytest.mark.parametrize(
    "number, ci95, text",
    [
        (0.0004, None, "0.0004"),
        (21.5414, 0.5, "21.541 ±0.500"),
        (110000.0, 92954.8, "1.1e+05 ±9.3e+04"),
        (252.34, 26.71, "252.3 ±26.7"),
    ],
)
def test_numbers_in_the_table_are_short(number, ci95, text):
    assert _console._mean_and_interval({"mean": number, "ci95": ci95}) == text


def test_brackets_in_a_message_are_not_taken_for_markup(capsys, tmp_path):
    (tmp_path / "[bold]run[red]").write_text("")
    assert exits(["train", "sinusoid", "--out", "[bold]run[red]"]) == 1
    assert "[bold]run[red] exists" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1])
def test_one_run_is_not_compared(count, capsys):
    assert exits(["compare", *["run"] * count]) == 1
    text = capsys.readouterr().err
    assert f"two run directories or more, got {count}" in text and "Traceback" not in text


def test_comparing_what_is_no_run_leaves_nothing_behind(capsys, tmp_path):
    assert exits(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert f"{tmp_path / 'a'} is not a run directory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "plot"])
def test_what_is_no_run_is_named(command, capsys, tmp_path):
    assert exits([command, str(tmp_path / "nowhere")]) == 1
    text = capsys.readouterr().err
    assert f"{tmp_path / 'nowhere'} is not a run directory" in text and "Traceback" not in text
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    assert exits([command, str(tmp_path / "empty")]) == 1
    assert "is not a run directory" in capsys.readouterr().err
    assert exits([command]) == 2


def test_a_directory_of_something_else_is_not_trained_in(capsys, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    assert exits(["train", "sinusoid", "--out", "thesis"]) == 1
    assert "thesis exists and is not a run directory" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "raised, status, words",
    [
        (mamlax.MamlaxError("what to do"), 1, ["error: what to do"]),
        (mamlax.TrainingDivergedError("not finite at step 3"), 1, ["error: not finite at step 3"]),
        (KeyboardInterrupt(), 130, ["stopped", "Repeat the command to resume"]),
    ],
)
def test_what_is_raised_becomes_a_message_and_a_status(raised, status, words, capsys, monkeypatch):
    from mamlax.recipes import _experiment

    def train(*_, **__):
        raise raised

    monkeypatch.setattr(_experiment, "train", train)
    assert exits(["train", "sinusoid"]) == status
    text = capsys.readouterr().err
    for word in words:
        assert word in text


def test_a_full_disk_at_the_end_is_an_error_without_a_traceback(capsys, monkeypatch):
    import errno

    from mamlax.recipes import _experiment

    def train(*_, **__):  # what writing evaluation.json or a figure may raise
        raise OSError(errno.ENOSPC, "No space left on device", "runs/sinusoid/0/evaluation.json")

    monkeypatch.setattr(_experiment, "train", train)
    assert exits(["train", "sinusoid"]) == 1
    text = capsys.readouterr().err
    assert "No space left on device" in text and "evaluation.json" in text


def test_a_bug_is_not_dressed_up_as_the_users_error(monkeypatch):
    from mamlax.recipes import _experiment

    def train(*_, **__):
        return {}["a bug"]

    monkeypatch.setattr(_experiment, "train", train)
    with pytest.raises(KeyError):
        cli.main(["train", "sinusoid"])


@pytest.mark.parametrize(
    "arguments, directory",
    [
        ([], "runs/sinusoid/0"),
        (["--seed", "4"], "runs/sinusoid/4"),
        (["--seed", "4", "--num-seeds", "3"], "runs/sinusoid/4-6"),
        (["--out", "elsewhere"], "elsewhere"),
    ],
)
def test_flags_arrive_where_they_belong(arguments, directory, monkeypatch):
    from pathlib import Path

    from mamlax.recipes import _experiment

    calls = []

    def train(recipe, **settings):
        calls.append((recipe, settings))
        raise mamlax.MamlaxError("enough")

    monkeypatch.setattr(_experiment, "train", train)
    flags = ["--shots", "3", "--num-outer-steps", "9", "--gradient-clip", "2.5", "--first-order"]
    flags += ["--algorithm", "anil", "--inner-optimizer", "adam", "--remat", "sqrt"]
    assert exits(["train", "sinusoid", *flags, *arguments, "--data-dir", "data"]) == 1
    ((recipe, settings),) = calls
    assert recipe.problem.shots == 3 and recipe.num_outer_steps == 9
    assert recipe.gradient_clip == 2.5 and recipe.first_order
    assert (recipe.algorithm, recipe.inner_optimizer, recipe.remat) == ("anil", "adam", "sqrt")
    assert recipe.name == "sinusoid" and recipe.evidence == RECIPES["sinusoid"].evidence
    assert recipe.inner_learning_rate == RECIPES["sinusoid"].inner_learning_rate
    assert settings["directory"] == Path(directory) and settings["data_dir"] == "data"
    assert settings["seed"] == (4 if "--seed" in arguments else 0)
    assert settings["num_seeds"] == (3 if "--num-seeds" in arguments else 1)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_without_flags_is_the_recipe(name, monkeypatch):
    from mamlax.recipes import _experiment

    trained = []

    def train(recipe, **_):
        trained.append(recipe)
        raise mamlax.MamlaxError("enough")

    monkeypatch.setattr(_experiment, "train", train)
    exits(["train", name])
    assert trained == [RECIPES[name]]


LIGHT = """
import sys
from mamlax.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as exit:
    status = exit.code
heavy = {"jax", "jaxlib", "optax", "equinox", "orbax", "matplotlib", "PIL", "scipy", "flax"}
print("status", status, "heavy", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments, status",
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["recipes"], 0),
        (["train", "sinusiod"], 1),
        (["plan", "--help"], 0),
    ],
)
def test_answers_come_without_importing_jax(arguments, status):
    command = [sys.executable, "-c", LIGHT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == f"status {status} heavy []", done.stderr


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    line = {
        "step": 50,
        "num_outer_steps": 100,
        "train/query_loss": 0.25,
        "validation/accuracy": 0.875,
        "time/outer_steps_per_second": 10.0,
    }
    with _console.Progress() as progress:
        progress("maml", line)
        progress("maml", {**line, "step": 60})  # too soon to say again
        progress("maml", {**line, "step": 100})
        progress("pretrained", line)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "maml: step 50/100  loss 0.25  validation accuracy 0.875  10 steps/s  5 s left",
        "maml: step 100/100  loss 0.25  validation accuracy 0.875  10 steps/s  0 s left",
        "pretrained: step 50/100  loss 0.25  validation accuracy 0.875  10 steps/s  5 s left",
    ]


@pytest.mark.parametrize("rate, speed", [(12345.6, "12,346 steps/s"), (0.0432, "0.043 steps/s")])
@pytest.mark.parametrize("terminal", [False, True])
def test_what_begins_is_announced_and_a_slow_run_has_a_speed(
    rate, speed, terminal, capsys, monkeypatch
):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    line = {"step": 1, "num_outer_steps": 2, "train/query_loss": 0.25}
    with _console.Progress() as progress:
        progress.announce("maml: [preparing]")
        progress("maml", {**line, "time/outer_steps_per_second": rate})
        progress.announce("maml: evaluating")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    places = [text.index(words) for words in ("maml: [preparing]", speed, "maml: evaluating")]
    assert places == sorted(places)


def test_what_diverged_is_called_so_in_the_table(capsys):
    curve = [
        {"num_inner_steps": 0, "mean": 4.0, "ci95": 0.5},
        {"num_inner_steps": 1, "mean": None, "ci95": None},
    ]
    evaluation = {
        "metric": "mse",
        "num_tasks": 9,
        "num_seeds": 3,
        "transductive": True,
        "curve": curve,
        "baselines": {"random": curve[:1] * 2},
    }
    _console.show_evaluation(evaluation)
    text = words_of(capsys.readouterr().out)
    assert "9 held-out tasks, 3 seeds (transductive)" in text
    assert "inner steps maml random 0 4.000 ±0.500 4.000 ±0.500 1 diverged 4.000" in text


def test_a_transductive_result_stands_beside_one_that_is_not(capsys):
    evaluation = {
        "metric": "accuracy",
        "num_tasks": 9,
        "num_seeds": 1,
        "transductive": True,
        "curve": points((0.9, 0.1)),
        "non_transductive_curve": points((0.7, 0.2)),
        "baselines": {"random": points((0.2, 0.1))},
    }
    _console.show_evaluation(evaluation)
    text = words_of(capsys.readouterr().out)
    assert "inner steps maml not transductive random 0 0.900 ±0.100 0.700 ±0.200 0.200" in text


def points(*pairs):
    return [
        {"num_inner_steps": step, "mean": mean, "ci95": ci95}
        for step, (mean, ci95) in enumerate(pairs)
    ]


def compared(**changes):
    """What `mamlax compare` has found of two runs, the second with the changes."""
    run = {
        "name": "first",
        "settings": {"first_order": False},
        "num_tasks": 9,
        "num_seeds": 1,
        "transductive": False,
        "curve": points((4.0, 0.5), (1.0, 0.25)),
        "num_diverged": [0, 0],
    }
    second = {"name": "second[1]", "settings": {"first_order": True}}
    difference = {
        "name": "second[1]",
        "to": "first",
        "paired": True,
        "why_unpaired": None,
        "curve": points((0.5, 0.1), (-0.00042, 0.00012)),
    }
    ours = {name: value for name, value in changes.items() if name in run}
    theirs = {name: value for name, value in changes.items() if name in ("paired", "why_unpaired")}
    return {
        "metric": "mse",
        "runs": [run, {**run, **second, **ours}],
        "differences": [{**difference, **theirs}],
    }


def test_a_comparison_shows_each_run_and_the_differences(capsys):
    _console.show_comparison(compared())
    text = words_of(capsys.readouterr().out)
    assert "query mse, less is better" in text
    assert "first: 9 held-out tasks; first_order=False" in text
    assert "second[1]: 9 held-out tasks; first_order=True" in text
    assert "inner steps first second[1] 0 4.000 ±0.500 4.000 ±0.500 1 1.000 ±0.250" in text
    assert "difference to first, 95 % interval over tasks" in text
    # small differences with the decimals that their interval has something to say about
    assert "inner steps second[1] 0 +0.500 ±0.100 1 -0.00042 ±0.00012" in text
    assert "note:" not in text


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"paired": False, "why_unpaired": "its shots are others"}, ["not paired: its shots are"]),
        ({"num_diverged": [0, 3]}, ["second[1] diverged on 3 of 9 tasks, the first after 1 inner"]),
        ({"num_seeds": 3}, ["9 held-out tasks, 3 seeds", "the mean over seeds in each task"]),
        ({"transductive": True}, ["9 held-out tasks, transductive", "Some are transductive"]),
    ],
)
def test_what_would_mislead_is_noted(changes, words, capsys):
    _console.show_comparison(compared(**changes))
    text = words_of(capsys.readouterr().out)
    assert text.count("note:") == 1
    for word in words:
        assert word in text


def test_no_number_of_a_comparison_is_cut_off(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    found = compared()
    names = [f"a run with a long name, number {n}" for n in range(8)]
    found["runs"] = [{**found["runs"][0], "name": name} for name in names]
    _console.show_comparison(found)
    text = capsys.readouterr().out
    assert "…" not in text and all(name in text for name in names)
    assert text.count("4.000 ±0.500") == 8


@pytest.mark.parametrize(
    "mean, ci95, text",
    [
        (0.5, 0.1, "+0.500 ±0.100"),
        (-0.5, None, "-0.500"),
        (0.0, 0.0, "+0.000 ±0.000"),
        (2e-5, 1e-9, "+0.000020 ±0.000000"),
        (-2e16, 3e15, "-2e+16 ±3e+15"),
        (252.34, 26.71, "+252.3 ±26.7"),
        (None, None, "diverged"),
    ],
)
def test_differences_have_their_sign(mean, ci95, text):
    assert _console._signed({"mean": mean, "ci95": ci95}) == text
