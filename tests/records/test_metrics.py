"""metrics.jsonl is appended to, cut back on resume, and read even if lines are damaged."""

import json

import pytest

import mamlax
from mamlax.records import read_metrics
from mamlax.records._metrics import append_metrics, keep_metrics_until, read_series


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
def test_only_the_damaged_line_is_left_out_with_a_warning(tmp_path, garbage):
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
def test_a_log_that_is_not_a_file_is_named(tmp_path, use):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(mamlax.MamlaxError, match=r"metrics\.jsonl could not be"):
        use(tmp_path / "metrics.jsonl")


def test_a_line_with_other_metrics_is_left_out_with_a_warning(tmp_path):
    """For example after one letter of a name has changed."""
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        append_metrics(path, {"step": step, "train/query_loss": 0.5, "time/date": "today"})
    append_metrics(path, {"step": 4, "train/query_loss": 0.5, "time/date": "", "validation/mse": 1})
    append_metrics(path, {"step": 5, "train/queri_loss": 0.5, "time/date": "today"})
    with pytest.warns(UserWarning, match="the line of step 5 has other metrics"):
        lines = read_series(path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize("value", ['"0.5"', "[0.5]", "{}", "true"])
def test_a_line_with_other_things_than_numbers_is_damaged(tmp_path, value):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1.0}\n{"step": 2, "a": ' + value + "}\n")
    with pytest.warns(UserWarning, match="damaged in line 2"):
        assert [line["step"] for line in read_metrics(path)] == [1]
