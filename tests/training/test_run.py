"""What `run` computes, logs, validates and refuses, without interruptions."""

import errno
import json
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax.training._run import _check_settings


def test_a_run_is_the_loop_by_hand_bit_for_bit(walk, whole, by_hand):
    result, _ = whole
    walk.assert_same_bits(result.state, by_hand[0][60])
    walk.assert_same_bits(result.best_state, by_hand[0][60])
    assert result.best_step == 60


class Line(NamedTuple):
    """The parameters of a straight line."""

    slope: jax.Array
    offset: jax.Array


def test_a_run_of_maml_is_its_outer_steps_by_hand(walk):
    def loss_fn(params, batch):
        return jnp.mean((params.slope * batch.inputs + params.offset - batch.targets) ** 2)

    learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=2)
    loop = mamlax.outer_loop(
        learner, optax.adam(1e-2), mamlax.Sinusoids(shots=3).sample, meta_batch_size=2
    )
    params, key = Line(jnp.ones(()), jnp.zeros(())), jax.random.key(5)
    result = mamlax.run(loop, params, key=key, num_outer_steps=7, log_interval=3)
    step, state = jax.jit(loop.step), loop.init(params)
    for index in range(7):
        state, _ = step(jax.random.fold_in(key, index), state)
    # XLA may fuse one step and a scan of seven differently, so the last bit may differ
    for ours, expected in zip(jax.tree.leaves(result.state), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    "log_interval, steps",
    [
        (25, 60),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((10, 60), (7, 20), (100, 9))),
    ],
)
def test_log_lines_are_means_over_their_own_steps(walk, by_hand, tmp_path, log_interval, steps):
    reported = []
    walk.run(
        tmp_path,
        num_outer_steps=steps,
        log_interval=log_interval,
        checkpoint_interval=log_interval,
        report=reported.append,
    )
    ends = [*range(log_interval, steps, log_interval), steps]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == reported
    assert [line["step"] for line in lines] == ends
    for begin, line in zip([0, *ends], lines, strict=False):
        for name in ("train/query_loss", "train/gradient_norm"):
            values = [float(one[name]) for one in by_hand[1][begin : line["step"]]]
            assert line[name] == pytest.approx(np.mean(values), rel=1e-6)


def test_keys_of_a_log_line(walk, whole):
    lines = [json.loads(line) for line in (whole[1] / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert set(line) == {
            "step",
            "train/query_loss",
            "train/gradient_norm",
            "time/outer_steps_per_second",
            "time/compile_seconds",
            "time/date",
        }
        assert line["time/outer_steps_per_second"] > 0 and line["time/compile_seconds"] > 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line["time/date"])


def test_nothing_is_written_without_a_directory(walk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    walk.run(num_outer_steps=10)
    assert not list(tmp_path.iterdir())


def test_the_last_two_checkpoints_are_kept_and_the_end_is_one_of_them(walk, whole, tmp_path):
    assert walk.steps(whole[1]) == [40, 60]
    walk.run(tmp_path, num_outer_steps=50)
    assert walk.steps(tmp_path) == [40, 50]


def test_about_twenty_checkpoints_by_default(walk, tmp_path, monkeypatch):
    from mamlax.training import _checkpoint

    saved = []
    monkeypatch.setattr(_checkpoint.Checkpoints, "save", lambda self, step, *_: saved.append(step))
    walk.run(tmp_path, num_outer_steps=85, log_interval=2, checkpoint_interval=None)
    assert saved[-1] == 85 and all(step % 4 == 0 for step in saved[:-1]) and 15 < len(saved) < 30


def test_seeds_side_by_side_equal_separate_runs(walk, tmp_path):
    keys = jnp.stack([jax.random.key(seed) for seed in (3, 8)])
    params = jax.tree.map(lambda x: jnp.stack([x, x + 1.0]), walk.PARAMS)
    together = walk.run(tmp_path, key=keys, params=params, num_outer_steps=20)
    lines = []
    for index, seed in enumerate((3, 8)):
        alone = walk.run(
            key=jax.random.key(seed),
            params=jax.tree.map(lambda x, i=index: x[i], params),
            num_outer_steps=20,
            report=lines.append,
        )
        for name in ("meta_params", "optimizer_state"):
            jax.tree.map(
                lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-6, atol=1e-6),
                getattr(together.state, name),
                getattr(alone.state, name),
            )
    for index, line in enumerate(walk.lines(tmp_path)):
        expected = (lines[index]["train/query_loss"] + lines[index + 2]["train/query_loss"]) / 2
        assert line["train/query_loss"] == pytest.approx(expected, rel=1e-6)
    assert not np.allclose(together.state.meta_params["w"][0], together.state.meta_params["w"][1])


SCORES = [3.0, 5.0, 1.0, 5.0, 0.5, 2.0]


@pytest.mark.parametrize("maximize, best_step", [(True, 20), (False, 50)])
def test_the_best_validation_is_returned_and_the_first_of_equals(
    walk, by_hand, tmp_path, maximize, best_step
):
    result = walk.run(tmp_path, validation=walk.validation(SCORES, maximize=maximize))
    assert result.best_step == best_step
    assert int(result.best_state.count) == best_step and int(result.state.count) == 60
    walk.assert_same_bits(result.best_state, by_hand[0][best_step])
    assert [line["validation/score"] for line in walk.lines(tmp_path)] == SCORES
    assert walk.steps(tmp_path, "best")[-1] == best_step


def test_validation_comes_at_its_interval_and_at_the_end(walk, tmp_path):
    validation = walk.validation([9.0, 8.0, 7.0], interval=20)
    walk.run(tmp_path, num_outer_steps=50, validation=validation._replace(interval=20))
    validated = [line["step"] for line in walk.lines(tmp_path) if "validation/score" in line]
    assert validated == [20, 40, 50]


@pytest.mark.parametrize("maximize", [True, False])
def test_a_validation_that_is_nan_is_never_the_best(walk, maximize):
    nan = float("nan")
    scores = [nan, 2.0, nan, 3.0, 1.0, nan]
    result = walk.run(validation=walk.validation(scores, maximize=maximize))
    assert result.best_step == (40 if maximize else 50)


def test_a_validation_may_return_arrays(walk, tmp_path):
    validation = mamlax.Validation(
        lambda state: {"validation/score": jnp.asarray(float(state.count))}, 10, "validation/score"
    )
    result = walk.run(tmp_path, num_outer_steps=20, validation=validation)
    assert result.best_step == 20
    assert [line["validation/score"] for line in walk.lines(tmp_path)] == [10.0, 20.0]


def test_a_validation_without_its_metric_is_explained(walk):
    validation = mamlax.Validation(
        lambda state: {"validation/loss": 1.0}, 10, "validation/accuracy"
    )
    with pytest.raises((ValueError, mamlax.MamlaxError)) as error:
        walk.run(validation=validation)
    assert "validation/accuracy" in str(error.value) and "validation/loss" in str(error.value)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(log_interval=0), ["log_interval", "0"]),
        (dict(log_interval=0, checkpoint_interval=None), ["log_interval", "0"]),
        (dict(log_interval=-5), ["log_interval", "-5"]),
        (dict(checkpoint_interval=15), ["checkpoint_interval=15", "multiple", "log_interval=10"]),
        (dict(checkpoint_interval=0), ["checkpoint_interval=0", "multiple"]),
        (dict(checkpoint_interval=-10), ["checkpoint_interval=-10"]),
        (dict(num_outer_steps=-1), ["num_outer_steps", "-1"]),
    ],
)
def test_intervals_that_do_not_fit_are_refused(walk, tmp_path, settings, words):
    with pytest.raises((ValueError, mamlax.MamlaxError)) as error:
        walk.run(tmp_path / "run", **settings)
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_fractional_number_of_steps_is_refused():
    """Called directly, without the type checks of the tests: 1e2 is a float."""
    with pytest.raises(ValueError, match=r"num_outer_steps must be a whole number.*100\.0"):
        _check_settings(1e2, 10, None, None)


def test_a_validation_that_is_an_array_is_explained(walk):
    validation = mamlax.Validation(
        lambda state: {"validation/score": jnp.ones(2)}, 10, "validation/score"
    )
    with pytest.raises(ValueError, match=r"shape \(2,\) for 'validation/score'.*mean"):
        walk.run(validation=validation)


@pytest.mark.parametrize("maximize", [True, False])
def test_a_validation_that_is_infinite_is_never_the_best(walk, maximize):
    inf = float("inf") if maximize else -float("inf")
    scores = [inf, 2.0, inf, 3.0, 1.0, inf]
    result = walk.run(validation=walk.validation(scores, maximize=maximize))
    assert result.best_step == (40 if maximize else 50)


def test_a_run_of_no_steps_can_be_restored_and_extended(walk, whole, by_hand, tmp_path):
    result = walk.run(tmp_path, num_outer_steps=0)
    assert result.best_step == 0
    for state in (result.state, mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path).state):
        walk.assert_same_bits(state, by_hand[0][0])
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_an_old_style_key_is_a_single_key(walk, whole):
    """`jax.random.PRNGKey` returns an array of two numbers, which are not two seeds."""
    key = jax.random.key_data(walk.KEY)
    assert key.shape == (2,)
    walk.assert_same_bits(walk.run(key=key).state, whole[0].state)


@pytest.mark.parametrize(
    "key, words",
    [
        (jax.random.split(jax.random.key(0), 2), ["[2]", "axis of seeds", "(3,)"]),
        (jax.random.split(jax.random.key(0), (3, 2)), ["[3, 2]", "axis of seeds"]),
        (0, ["jax.random.key", "got 0"]),
    ],
)
def test_keys_that_do_not_fit_are_explained(walk, tmp_path, key, words):
    with pytest.raises(ValueError) as error:
        walk.run(tmp_path / "run", key=key)
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_file_is_no_run_directory(walk, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(mamlax.MamlaxError, match=r"file cannot be a run directory.*another"):
        walk.run(tmp_path / "file")


def test_metrics_of_any_shape_are_averaged_and_checked(walk):
    loop, lines = walk.loop(), []

    def step(key, state):
        state, metrics = loop.step(key, state)
        values = jnp.stack([state.count, 3 * state.count]).astype(jnp.float32)
        bad = jnp.where(state.count == 13, jnp.array([0.0, jnp.nan]), 0.0)
        return state, {**metrics, "train/several": values + bad}

    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step 13\. train/several "):
        walk.run(loop=mamlax.OuterLoop(loop.init, step), report=lines.append)
    assert lines[0]["train/several"] == pytest.approx(11.0)


def test_a_loop_without_metrics_runs(walk, whole):
    loop = walk.loop()
    silent = mamlax.OuterLoop(loop.init, lambda key, state: (loop.step(key, state)[0], {}))
    walk.assert_same_bits(walk.run(loop=silent).state, whole[0].state)


@pytest.mark.parametrize("interval", [0, 15, -10])
def test_validation_intervals_that_do_not_fit_are_refused(walk, interval):
    with pytest.raises(ValueError, match=rf"validation.*{interval}.*log_interval=10"):
        walk.run(validation=walk.validation(SCORES)._replace(interval=interval))


def test_asking_for_fewer_steps_than_taken_is_refused(walk, tmp_path):
    walk.run(tmp_path, num_outer_steps=20)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(mamlax.MamlaxError, match=r"already taken 20 outer steps.*10"):
        walk.run(tmp_path, num_outer_steps=10)
    assert walk.steps(tmp_path) == [20] and (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_run_can_be_extended(walk, whole, tmp_path):
    walk.run(tmp_path, num_outer_steps=20)
    longer = walk.run(tmp_path)
    walk.assert_same_bits(longer.state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


NOT_FINITE = {"nan": float("nan"), "infinite": float("inf")}


@pytest.mark.parametrize(
    "bad_step, kept", [(1, 0), (10, 0), (11, 10), (17, 10), (20, 10), (35, 30), (60, 50)]
)
def test_divergence_names_the_step_and_the_last_good_checkpoint(
    walk, by_hand, tmp_path, bad_step, kept
):
    with pytest.raises(mamlax.TrainingDivergedError) as error:
        walk.run(tmp_path, walk.loop(bad_step))
    message = str(error.value)
    assert f"outer step {bad_step}." in message and f"of step {kept}," in message
    assert str(tmp_path / "checkpoint") in message
    advice = ("smaller", "learning rate", "inner steps", "clip the outer gradient")
    if bad_step == 1:
        advice = ("the outer learning rate is not the cause", "the data", "inner learning rate")
    assert all(words in message for words in advice), message
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)
    walk.assert_same_bits(restored.state, by_hand[0][kept])
    assert [line["step"] for line in walk.lines(tmp_path)] == list(range(10, kept + 1, 10))


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["train/query_loss", "train/gradient_norm"])
def test_an_infinite_metric_is_divergence(walk, value, where):
    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step 13\.") as error:
        walk.run(loop=walk.loop(13, value, where=where))
    assert "no directory" in str(error.value)


@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
@pytest.mark.parametrize("bad_step, kept", [(60, 50), pytest.param(20, 10, marks=pytest.mark.slow)])
def test_a_state_that_is_not_finite_is_not_kept_even_if_the_metrics_are(
    walk, by_hand, tmp_path, bad_step, kept, value
):
    """As after too large an update, which only the next step's loss would show."""
    loop = walk.loop(bad_step, value, where="state")
    with pytest.raises(mamlax.TrainingDivergedError) as error:
        walk.run(tmp_path, loop)
    for words in ("not finite", f"after outer step {bad_step}.", f"of step {kept},", "smaller"):
        assert words in str(error.value), error.value
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)
    walk.assert_same_bits(restored.state, by_hand[0][kept])


def test_a_state_that_diverged_for_one_seed_names_it(walk):
    keys = jnp.stack([jax.random.key(seed) for seed in (3, 8)])
    params = {"w": jnp.ones((2, 3)), "first": jnp.array([0.0, 1.0])}
    loop = walk.loop(60, bad_params=1.0, where="state")
    with pytest.raises(mamlax.TrainingDivergedError, match=r"step 60\. .* for 1 of the seeds 0 to"):
        walk.run(loop=loop, key=keys, params=params)


def test_a_state_may_begin_with_infinite_numbers(walk, whole):
    """For example, the smallest loss so far starts as infinity."""
    loop = walk.loop()

    def init(params):
        return loop.init(params)._replace(half=jnp.array([jnp.inf, jnp.nan], jnp.bfloat16))

    result = walk.run(loop=mamlax.OuterLoop(init, loop.step))
    walk.assert_same_bits(result.state.meta_params, whole[0].state.meta_params)


def test_a_full_disk_does_not_hide_a_divergence(walk, tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step 15\..*no checkpoint yet"):
        walk.run(tmp_path, walk.loop(15))


def test_one_seed_that_diverges_stops_all(walk):
    keys = jnp.stack([jax.random.key(seed) for seed in (3, 8)])
    params = {"w": jnp.ones((2, 3)), "first": jnp.array([0.0, 1.0])}
    loop = walk.loop(14, bad_params=1.0)
    named = r"outer step 14\. train/query_loss .* for 1 of the seeds 0 to 1\."
    with pytest.raises(mamlax.TrainingDivergedError, match=named):
        walk.run(loop=loop, key=keys, params=params)


def test_after_divergence_a_corrected_loop_resumes_from_the_checkpoint(walk, whole, tmp_path):
    with pytest.raises(mamlax.TrainingDivergedError):
        walk.run(tmp_path, walk.loop(35))
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_really_diverging_training_is_stopped(tmp_path):
    def loss_fn(params, batch):
        return jnp.mean((params * batch.inputs - batch.targets) ** 2)

    learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(5.0), num_inner_steps=5)
    loop = mamlax.outer_loop(
        learner, optax.sgd(10.0), mamlax.Sinusoids(shots=5).sample, meta_batch_size=2
    )
    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step [1-9]\."):
        mamlax.run(
            loop, jnp.zeros(()), key=jax.random.key(0), num_outer_steps=20, directory=tmp_path
        )
