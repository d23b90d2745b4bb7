"""Models that were never trained, and a client of the service."""

import threading
import time
from contextlib import contextmanager

import httpx
import jax
import numpy as np
import pytest
import uvicorn

import mamlax
from mamlax.config._serving import Serving
from mamlax.estimators._architecture import architecture
from mamlax.estimators._calibration import Calibration, Scores
from mamlax.estimators._columns import Column, Columns
from mamlax.estimators._images import FewShotImageClassifier, Reading
from mamlax.estimators._learner import ArrayLearner, LearnerSettings
from mamlax.estimators._targets import Classes, Values
from mamlax.serve._app import app_of
from mamlax.serve._server import config_of

COLUMNS = Columns(
    (Column("speed", mean=10.0, scale=2.0), Column("kind", categories=("dry", "wet"))), True
)


@contextmanager
def running(app, **settings):
    """A client of the application, which a server in a thread answers as it would in use."""
    with answered(config_of(app, Serving(**settings), host="127.0.0.1", port=0)) as client:
        yield client


@contextmanager
def answered(config):
    """A client of a server in a thread."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def learner_of(
    loss, *, inner_learning_rate=0.1, num_inner_steps=2, algorithm=mamlax.config.Fomaml, **network
):
    """Of a network that is still random."""
    algorithm = algorithm(inner_learning_rate=inner_learning_rate, num_inner_steps=num_inner_steps)
    settings = LearnerSettings(architecture(**network), algorithm, loss, 0.0, num_inner_steps)
    return ArrayLearner(settings, settings.learner().init(settings.initial(jax.random.key(0))))


def untrained(model, columns, targets, loss):
    """The estimator as `fit` would leave it."""
    model.columns_, model.targets_ = columns, targets
    model.learner_ = learner_of(
        loss,
        name="mlp",
        num_inputs=columns.width,
        num_outputs=targets.num_outputs,
        hidden_sizes=(4,),
        norm="none",
        context_size=0,
    )
    model.report_, model.calibration_, model.validation_curve_ = None, None, ()
    model.num_groups_, model.outer_step_, model.weight_scale_ = {}, 0, 1.0
    model.n_features_in_ = len(columns.columns)
    if columns.named:
        model.feature_names_in_ = np.array([one.name for one in columns.columns], dtype=object)
    model._adapted, model.num_support_ = model._unadapted(), 0
    return model


@pytest.fixture(scope="session")
def regressor():
    model = untrained(
        mamlax.FewShotRegressor(), COLUMNS, Values((5.0,), (2.0,), True), "squared-error"
    )
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(size=(90, 1)), np.full(90, 0.1), np.repeat(np.arange(30), 3))
    model.calibration_ = Calibration.of([(0, scores), (5, scores)])
    model.target_names_ = ["wear"]
    return model


@pytest.fixture(scope="session")
def classifier():
    targets = Classes(np.array(["good", "worn"]))
    return untrained(mamlax.FewShotClassifier(), COLUMNS, targets, "cross-entropy")


@pytest.fixture(scope="session")
def curve():
    columns = Columns((Column("0"),), False)
    targets = Values((0.0,), (1.0,), True)
    return untrained(mamlax.FewShotRegressor(), columns, targets, "squared-error")


def classifier_of_images(side, *, channels, num_inner_steps, **options):
    """Of three classes."""
    learner = learner_of(
        "cross-entropy",
        **options,
        inner_learning_rate=0.5,
        num_inner_steps=num_inner_steps,
        name="conv4",
        image_shape=(side, side, 1),
        num_outputs=3,
        channels=channels,
        downsample="stride",
        norm="batch",
        context_size=0,
    )
    summary = {"recipe": "images", "outer_step": 0, "num_classes": 3}
    return FewShotImageClassifier(learner, Reading(resize=True, invert=True), summary)


@pytest.fixture(scope="session")
def characters():
    return classifier_of_images(6, channels=4, num_inner_steps=2)


@pytest.fixture(scope="session")
def models(regressor, classifier, curve, characters):
    return {"wear": regressor, "state": classifier, "wave": curve, "characters": characters}


@pytest.fixture(scope="session")
def client(models):
    """Of a service that takes little at a time."""
    settings = Serving(most_bytes=100_000, most_rows=50, most_pixels=1_000_000)
    with running(app_of(models, settings, cards={"wear": "A card."})) as client:
        yield client
