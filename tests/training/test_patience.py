"""Early stopping: a run ends when validations stop improving, also if it was resumed."""

import jax
import jax.numpy as jnp
import pytest

import mamlax

SCORES = [3.0, 5.0, 1.0, 5.0, 0.5, 2.0]
"""The best is at step 20; an equal score at 40 is not better."""


def patient(walk, patience, scores=SCORES, **settings):
    return walk.validation(scores, **settings)._replace(patience=patience)


@pytest.mark.parametrize("patience, end", [(1, 30), (2, 40), (4, 60), (None, 60)])
def test_a_run_ends_after_validations_without_improvement(walk, by_hand, tmp_path, patience, end):
    reported = []
    validation = patient(walk, patience)
    result = walk.run(tmp_path, validation=validation, report=reported.append)
    why = f"validation score has not improved in {patience} validations since outer step 20"
    assert [line.get("stopped") for line in reported] == [
        *[None] * (len(reported) - 1),
        why if end < 60 else None,
    ]
    walk.assert_same_bits(result.state, by_hand[0][end])
    walk.assert_same_bits(result.best_state, by_hand[0][20])
    assert result.best_step == 20
    assert [line["step"] for line in walk.lines(tmp_path)] == list(range(10, end + 1, 10))


@pytest.mark.parametrize(
    "scores, maximize, end",
    [
        ([1.0, 0.0, 2.0, 0.0, 3.0, 0.0], True, 60),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], False, 30),
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], False, 60),
    ],
)
def test_a_better_validation_resets_the_count(walk, scores, maximize, end):
    result = walk.run(validation=patient(walk, 2, scores, maximize=maximize))
    assert int(result.state.count) == end


def test_validations_are_counted_not_log_lines(walk, tmp_path):
    result = walk.run(tmp_path, validation=patient(walk, 1, [9.0, 8.0, 7.0], interval=20))
    assert int(result.state.count) == 40 and result.best_step == 20
    assert [line["step"] for line in walk.lines(tmp_path)] == [10, 20, 30, 40]


def test_validations_that_are_nan_use_up_patience(walk):
    result = walk.run(validation=patient(walk, 2, [float("nan")] * 6))
    assert int(result.state.count) == 20 and int(result.best_state.count) == 20


@pytest.mark.parametrize("crash_at", [20, 40])
def test_a_crash_and_a_resume_end_at_the_same_step_with_the_same_bits(
    walk, by_hand, tmp_path, crash_at
):
    with pytest.raises(walk.Crash):
        walk.run(tmp_path, crash_at=crash_at, validation=patient(walk, 2))
    result = walk.run(tmp_path, validation=patient(walk, 2))
    walk.assert_same_bits(result.state, by_hand[0][40])
    walk.assert_same_bits(result.best_state, by_hand[0][20])
    assert [line["step"] for line in walk.lines(tmp_path)] == [10, 20, 30, 40]


def test_the_end_is_a_checkpoint_between_the_regular_ones(walk, by_hand, tmp_path):
    walk.run(tmp_path, validation=patient(walk, 1))
    assert walk.steps(tmp_path)[-1] == 30
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)
    walk.assert_same_bits(restored.state, by_hand[0][30])
    walk.assert_same_bits(restored.best_state, by_hand[0][20])


def test_a_run_that_ended_takes_no_more_steps_unless_given_more_patience(walk, by_hand, tmp_path):
    first = walk.run(tmp_path, validation=patient(walk, 1))
    lines, reported = walk.lines(tmp_path), []
    again = walk.run(tmp_path, validation=patient(walk, 1), report=reported.append)
    walk.assert_same_bits(again.state, first.state)
    assert not reported and walk.lines(tmp_path) == lines
    longer = walk.run(tmp_path, validation=patient(walk, 2), report=reported.append)
    walk.assert_same_bits(longer.state, by_hand[0][40])
    assert [line["step"] for line in reported] == [40]


def test_seeds_side_by_side_end_together(walk):
    keys = jnp.stack([jax.random.key(seed) for seed in (3, 8)])
    params = jax.tree.map(lambda x: jnp.stack([x, x + 1.0]), walk.PARAMS)
    result = walk.run(key=keys, params=params, validation=patient(walk, 2))
    assert result.state.count.tolist() == [40, 40] and result.best_step == 20


@pytest.mark.parametrize("patience", [0, -3])
def test_no_patience_is_refused(walk, tmp_path, patience):
    with pytest.raises(ValueError, match=f"patience must be 1 or more, got {patience}"):
        walk.run(tmp_path / "run", validation=patient(walk, patience))
    assert not (tmp_path / "run").exists()
