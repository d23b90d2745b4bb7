"""Files are whole or not there; logs are cut back; a directory belongs to one run."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

import mamlax
from mamlax._files import cache_directory, replacing, write_json
from mamlax.training._metrics import append_metrics, keep_metrics_until, read_metrics
from mamlax.training._run_directory import open_run, read_run


def test_a_file_is_replaced_when_all_is_written(tmp_path):
    path = tmp_path / "deep" / "down" / "file.txt"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent, "a rename is atomic within one file system only"
        temporary.write_text("first")
        assert not path.exists()
    with replacing(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second" and list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_whatever_is_raised_the_old_file_stays_and_nothing_else(tmp_path, error, old):
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_failing_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError), replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """Else a power cut may leave the name without the content."""
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    write_json(tmp_path / "file.json", 1)
    assert done == ["fsync", "replace"]


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_directory() == tmp_path
    monkeypatch.delenv("MAMLAX_CACHE")
    assert cache_directory() == Path("/xdg/mamlax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_directory() == Path("/home/someone/.cache/mamlax")


def test_metrics_are_appended_read_and_cut_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    lines = [{"step": step, "train/query_loss": 0.1 * step} for step in (10, 20, 30)]
    for line in lines:
        append_metrics(path, line)
    assert read_metrics(path) == lines
    keep_metrics_until(path, 20)
    assert read_metrics(path) == lines[:2] and path.read_text().count("\n") == 2
    keep_metrics_until(path, 0)
    assert path.read_text() == ""


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_line_cut_short_is_left_out(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, {"step": 10, "a": 1.5})
    append_metrics(path, {"step": 20, "a": 2.5})
    path.write_bytes(path.read_bytes()[:-cut])
    complete = [{"step": 10, "a": 1.5}] + [{"step": 20, "a": 2.5}] * (cut == 1)
    assert read_metrics(path) == complete
    keep_metrics_until(path, 20)
    append_metrics(path, {"step": 30, "a": 3.5})
    assert read_metrics(path) == [*complete, {"step": 30, "a": 3.5}]


@pytest.mark.parametrize("garbage", [b"{", b"\xff\xfe\x00", b"[1]", b"3", b'{"a": 1}', b"\0" * 9])
def test_a_damaged_line_costs_itself_alone_and_is_told(tmp_path, garbage):
    path = tmp_path / "metrics.jsonl"
    good = [{"step": step} for step in (10, 20, 40, 50)]
    texts = [json.dumps(line).encode() for line in good]
    path.write_bytes(b"\n".join([*texts[:2], garbage, *texts[2:]]) + b"\n")
    with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged in line 3: left out"):
        assert read_metrics(path) == good
    with pytest.warns(UserWarning, match="line 3"):
        keep_metrics_until(path, 40)
    assert read_metrics(path) == good[:3]


@pytest.mark.parametrize("use", [read_metrics, lambda path: append_metrics(path, {"step": 1})])
def test_a_log_that_is_no_file_is_named(tmp_path, use):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(mamlax.MamlaxError, match=r"metrics\.jsonl could not be"):
        use(tmp_path / "metrics.jsonl")


DESCRIPTION = {
    "recipe": "sinusoid",
    "seed": 0,
    "mamlax": "0.1.0",
    "settings": {"num_inner_steps": 1, "problem": {"shots": 10, "hidden_sizes": (40, 40)}},
    "environment": {"jax": "0.10.2", "devices": ["cpu"]},
}


def test_a_directory_is_opened_again_by_the_same_run(tmp_path):
    open_run(tmp_path / "run", DESCRIPTION)
    open_run(tmp_path / "run", DESCRIPTION)
    assert read_run(tmp_path / "run") == json.loads(json.dumps(DESCRIPTION))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.json"]


def test_an_empty_directory_may_be_used(tmp_path):
    open_run(tmp_path, DESCRIPTION)
    assert read_run(tmp_path)["recipe"] == "sinusoid"


@pytest.mark.parametrize(
    "change, line",
    [
        ({"recipe": "omniglot"}, "recipe: 'sinusoid' there, 'omniglot' now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"mamlax": "0.2.0"}, "mamlax: '0.1.0' there, '0.2.0' now"),
        (
            {"settings": {**DESCRIPTION["settings"], "num_inner_steps": 5}},
            "settings.num_inner_steps: 1 there, 5 now",
        ),
        (
            {"settings": {**DESCRIPTION["settings"], "problem": {"shots": 5}}},
            "settings.problem.shots: 10 there, 5 now",
        ),
        ({"new": True}, "new: None there, True now"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, change, line):
    open_run(tmp_path, DESCRIPTION)
    before = (tmp_path / "recipe.json").read_bytes()
    with pytest.raises(mamlax.MamlaxError) as error:
        open_run(tmp_path, {**DESCRIPTION, **change})
    message = str(error.value)
    assert line in message and str(tmp_path) in message and "--out" in message
    named = {text.split(":")[0].strip() for text in message.splitlines() if " there, " in text}
    changed = {"settings.problem.hidden_sizes"} if "shots: 10 there" in message else set()
    assert named == {line.split(":")[0]} | changed, "something else is said to differ"
    assert (tmp_path / "recipe.json").read_bytes() == before


def test_another_machine_may_resume(tmp_path):
    open_run(tmp_path, DESCRIPTION)
    open_run(tmp_path, {**DESCRIPTION, "environment": {"jax": "0.11", "devices": ["gpu"]}})
    assert read_run(tmp_path)["environment"]["jax"] == "0.10.2", "the first record stays"


@pytest.mark.parametrize("steps", [200, None])
def test_what_may_grow_grows_and_is_written_down(tmp_path, steps):
    first = {**DESCRIPTION, "settings": {"num_outer_steps": 100, "shots": 10}}
    longer = {**DESCRIPTION, "settings": {"num_outer_steps": steps, "shots": 10}}
    open_run(tmp_path, first)
    with pytest.raises(mamlax.MamlaxError, match="num_outer_steps: 100 there"):
        open_run(tmp_path, longer)
    with pytest.raises(mamlax.MamlaxError, match="shots: 10 there, 20 now"):
        other = {**longer, "settings": {**longer["settings"], "shots": 20}}
        open_run(tmp_path, other, may_grow=("settings.num_outer_steps",))
    assert read_run(tmp_path) == first
    open_run(tmp_path, longer, may_grow=("settings.num_outer_steps",))
    assert read_run(tmp_path) == longer
    with pytest.raises(mamlax.MamlaxError, match="num_outer_steps"):
        open_run(tmp_path, first, may_grow=("settings.num_outer_steps",))


def test_what_a_killed_process_leaves_does_not_spoil_a_directory(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(Killed):
            open_run(tmp_path, DESCRIPTION)
    assert [path.name for path in tmp_path.iterdir()] != []
    open_run(tmp_path, DESCRIPTION)
    assert read_run(tmp_path)["recipe"] == "sinusoid"


def test_a_description_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "recipe.json").mkdir()
    with pytest.raises(mamlax.MamlaxError, match=r"recipe\.json could not be read"):
        read_run(tmp_path)


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(mamlax.MamlaxError, match=r"not a run directory.*--out"):
        open_run(tmp_path, DESCRIPTION)
    with pytest.raises(mamlax.MamlaxError, match="not a run directory"):
        open_run(tmp_path / "thesis.tex", DESCRIPTION)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(mamlax.MamlaxError, match=r"file/run/recipe\.json could not be written"):
        open_run(tmp_path / "file" / "run", DESCRIPTION)


def test_reading_no_run_says_so(tmp_path):
    with pytest.raises(mamlax.MamlaxError, match=r"not a run directory.*recipe\.json is missing"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"recipe": "sinu', b"\xff\xfe\x00", b"[1, 2]", b"null"])
def test_a_damaged_description_is_named(tmp_path, content):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(mamlax.MamlaxError, match=r"recipe\.json is damaged"):
        read_run(tmp_path)
    with pytest.raises(mamlax.MamlaxError, match=r"recipe\.json is damaged"):
        open_run(tmp_path, DESCRIPTION)
