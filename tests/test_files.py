"""Files are whole or not there, and the cache is where it is asked to be."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mamlax import MamlaxError
from mamlax._files import cache_directory, replacing, write_json


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


@pytest.fixture
def umask():
    """Sets the umask for one test."""
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path, umask, mask, mode):
    umask(mask)
    write_json(tmp_path / "file.json", 1)
    assert stat.S_IMODE((tmp_path / "file.json").stat().st_mode) == mode


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, umask, mode):
    umask(0o022)
    path = tmp_path / "file.json"
    write_json(path, 1)
    path.chmod(mode)
    write_json(path, 2)
    assert path.read_text() == "2\n" and stat.S_IMODE(path.stat().st_mode) == mode


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_the_file(tmp_path):
    """Not what belongs to another file, nor what a process is at work on."""
    program = (
        "import os, pathlib, sys\n"
        "from mamlax._files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os._exit(9)\n"
    )
    path, other = tmp_path / "file.txt", tmp_path / "file.txt.more"
    for one in (path, path, other):
        subprocess.run([sys.executable, "-c", program, str(one)], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    (left_of_other,) = tmp_path.glob(".file.txt.more.new-*")
    for left in tmp_path.glob(".*"):
        os.utime(left, (0, 0))  # one that was just made may not be locked yet
    with replacing(path) as first, replacing(path) as second:
        assert first.exists() and second.exists() and first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first", "that which ended last"
    assert set(tmp_path.iterdir()) == {path, left_of_other}


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


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    target, link = tmp_path / "far" / "file.json", tmp_path / "link.json"
    write_json(target, 1)
    link.symlink_to(target)
    write_json(link, 2)
    assert link.is_symlink() and target.read_text() == "2\n"


def test_what_is_no_regular_file_is_not_written_over(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(MamlaxError, match="not a regular file"):
            write_json(path, 1)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_two_processes_may_write_one_file(tmp_path):
    program = (
        "import pathlib, sys\n"
        "from mamlax._files import write_json\n"
        "for number in range(300):\n"
        "    write_json(pathlib.Path(sys.argv[1]), number)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "file.json")]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.wait(60) == 0, writer.stderr.read()
        writer.stderr.close()
    assert (tmp_path / "file.json").read_text() == "299\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "file.json"]


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
