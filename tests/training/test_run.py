"""What `run` computes, logs, validates and refuses; nothing is interrupted here."""

import json
import re
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax


@pytest.fixture(scope="module")
def by_hand(walk):
    """The noisy loop, one jitted step after another: the state and the metrics of each step."""
    loop = walk.loop()
    step, state, metrics = eqx.filter_jit(loop.step), loop.init(walk.PARAMS), []
    for index in range(60):
        state, one = step(jax.random.fold_in(walk.KEY, index), state)
        metrics.append(one)
    return state, metrics


def test_a_run_is_the_loop_by_hand_bit_for_bit(walk, whole, by_hand):
    result, _ = whole
    walk.assert_same_bits(result.state, by_hand[0])
    walk.assert_same_bits(result.best_state, by_hand[0])
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
    # one step and seven in a scan may be fused differently: the last bit is not promised here
    for ours, expected in zip(jax.tree.leaves(result.state), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("log_interval, steps", [(10, 60), (25, 60), (7, 20), (100, 9)])
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
    walk, tmp_path, maximize, best_step
):
    result = walk.run(tmp_path, validation=walk.validation(SCORES, maximize=maximize))
    assert result.best_step == best_step
    assert int(result.best_state.count) == best_step and int(result.state.count) == 60
    expected = walk.run(num_outer_steps=best_step)
    walk.assert_same_bits(result.best_state, expected.state)
    assert [line["validation/score"] for line in walk.lines(tmp_path)] == SCORES
    assert walk.steps(tmp_path, "best") == [best_step]


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


@pytest.mark.parametrize("interval", [0, 15, -10])
def test_validation_intervals_that_do_not_fit_are_refused(walk, interval):
    with pytest.raises(ValueError, match=rf"validation.*{interval}.*log_interval=10"):
        walk.run(validation=walk.validation(SCORES)._replace(interval=interval))


def test_a_run_already_longer_than_asked_for_is_not_passed_off_as_shorter(walk, tmp_path):
    walk.run(tmp_path, num_outer_steps=20)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(mamlax.MamlaxError, match=r"20.*10"):
        walk.run(tmp_path, num_outer_steps=10)
    assert walk.steps(tmp_path) == [20] and (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_run_may_be_made_longer(walk, whole, tmp_path):
    walk.run(tmp_path, num_outer_steps=20)
    longer = walk.run(tmp_path)
    walk.assert_same_bits(longer.state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


NOT_FINITE = {"nan": float("nan"), "infinite": float("inf")}


@pytest.mark.parametrize(
    "bad_step, kept", [(1, 0), (10, 0), (11, 10), (17, 10), (20, 10), (35, 30), (60, 50)]
)
def test_divergence_names_the_step_and_the_last_good_checkpoint(walk, tmp_path, bad_step, kept):
    with pytest.raises(mamlax.TrainingDivergedError) as error:
        walk.run(tmp_path, walk.loop(bad_step))
    message = str(error.value)
    assert f"outer step {bad_step}." in message and f"of step {kept}," in message
    assert str(tmp_path / "checkpoint") in message
    for advice in ("smaller", "learning rate", "inner steps", "--gradient-clip"):
        assert advice in message
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)
    walk.assert_same_bits(restored.state, walk.run(num_outer_steps=kept).state)
    assert [line["step"] for line in walk.lines(tmp_path)] == list(range(10, kept + 1, 10))


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["train/query_loss", "train/gradient_norm"])
def test_divergence_is_whatever_is_not_finite(walk, value, where):
    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step 13\.") as error:
        walk.run(loop=walk.loop(13, value, where=where))
    assert "no directory" in str(error.value)


def test_one_seed_that_diverges_stops_all(walk):
    keys = jnp.stack([jax.random.key(seed) for seed in (3, 8)])
    params = {"w": jnp.ones((2, 3)), "first": jnp.array([0.0, 1.0])}
    loop = walk.loop(14, bad_params=1.0)
    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step 14\."):
        walk.run(loop=loop, key=keys, params=params)


def test_after_divergence_a_sound_loop_goes_on_from_the_checkpoint(walk, whole, tmp_path):
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
