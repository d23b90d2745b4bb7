"""A run killed at any change of any of its files can be resumed, and ends with the same bits."""

import errno
import os
import shutil

import numpy as np
import pytest

import mamlax
from mamlax.training._checkpoint import Checkpoints

from .crashes import moments

SCORES = [3.0, 5.0, 1.0, 4.0, 6.0, 2.0]


def test_a_directory_without_a_finished_checkpoint_has_none(tmp_path):
    directory = tmp_path / "latest"
    directory.mkdir()
    assert Checkpoints(directory).restore({"a": np.zeros(2)}) is None


def test_a_run_killed_in_its_first_checkpoint_starts_again(walk, whole, tmp_path):
    """The directory of checkpoints then exists, empty or with an unfinished checkpoint."""
    with pytest.raises(walk.Crash):
        walk.run(tmp_path, crash_at=10)
    latest = tmp_path / "checkpoint" / "latest"
    (latest / "20.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_a_full_disk_at_the_first_checkpoint_can_be_resumed_from(
    walk, whole, tmp_path, monkeypatch
):
    import orbax.checkpoint as ocp

    def full(self, step, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(
            mamlax.MamlaxError, match="Free some disk space, then repeat the command"
        ):
            walk.run(tmp_path)
    assert (tmp_path / "checkpoint" / "latest").exists() and not walk.steps(tmp_path)
    with pytest.raises(mamlax.MamlaxError, match="no checkpoint yet"):
        mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)


@pytest.fixture(scope="module")
def killed(walk, tmp_path_factory):
    """A run with validations, and copies of its directory before each change."""
    folder = tmp_path_factory.mktemp("killed")
    directory, copies = folder / "run", folder / "copies"
    validation = walk.validation(SCORES)
    with moments(directory, copies) as kept:
        result = walk.run(directory, validation=validation)
    return result, directory, kept


@pytest.mark.slow
def test_a_run_killed_at_any_file_change_resumes_to_the_same_bits(walk, killed, tmp_path):
    result, directory, kept = killed
    assert len(kept) > 30
    assert any((one / "checkpoint/latest").exists() and not walk.steps(one) for one in kept)
    for number, copy in enumerate(kept):
        place = tmp_path / copy.name
        shutil.copytree(copy, place)
        for left in place.rglob(".*.new-*"):
            os.utime(left, (0, 0))  # one that was just made may not be locked yet, and stays
        validation = walk.validation(SCORES)
        resumed = walk.run(place, validation=validation)
        walk.assert_same_bits(resumed.state, result.state)
        assert resumed.best_step == result.best_step, number
        walk.assert_same_bits(resumed.best_state, result.best_state)
        assert walk.lines(place) == walk.lines(directory), number
        left = [path.name for path in place.rglob(".*.new-*")]
        assert not left, (number, left)
        restored = mamlax.restore_run(walk.loop(), walk.PARAMS, place)
        walk.assert_same_bits(restored.best_state, result.best_state)
        shutil.rmtree(place)


@pytest.mark.slow
def test_a_run_killed_again_while_resuming_resumes_to_the_same_bits(walk, killed, tmp_path):
    """Killed twice: the second time while it resumes from what the first kill left."""
    result, directory, kept = killed
    first = next(
        copy
        for copy in kept
        if (copy / "checkpoint/latest").exists() and walk.steps(copy) == [20, 40]
    )
    place = tmp_path / "run"
    shutil.copytree(first, place)
    with moments(place, tmp_path / "copies") as again:
        walk.run(place, validation=walk.validation(SCORES))
    assert len(again) > 10
    for copy in again:
        resumed = walk.run(copy, validation=walk.validation(SCORES))
        walk.assert_same_bits(resumed.state, result.state)
        walk.assert_same_bits(resumed.best_state, result.best_state)
        assert walk.lines(copy) == walk.lines(directory)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:every validation diverged")
def test_a_recipe_killed_in_any_stage_resumes_to_the_same_files(tiny_sinusoid, tmp_path):
    recipe = tiny_sinusoid.changed(num_baseline_steps=4)
    directory = tmp_path / "run"
    with moments(directory, tmp_path / "copies") as kept:
        mamlax.train(recipe, directory=directory)
    baselines = [one for one in kept if (one / "baselines/pretrained/checkpoint").exists()]
    main = [one for one in kept if one not in baselines]
    assert len(main) > 20 and len(baselines) > 20
    for copy in [*main[::25], *baselines[::25], kept[-1]]:
        mamlax.train(recipe, directory=copy)
        for name in ("recipe.json", "evaluation.json"):
            assert (copy / name).read_bytes() == (directory / name).read_bytes(), copy
        for name in ("curves.npz", "examples.npz"):
            with np.load(copy / name) as ours, np.load(directory / name) as expected:
                assert set(ours) == set(expected)
                for array in ours:
                    np.testing.assert_array_equal(ours[array], expected[array], strict=True)
        shutil.rmtree(copy)
