"""MLflow."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .._extras import optional
from ._tracker import Status, TrackedRun, Tracker, full_name

_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class MLflow(Tracker):
    """A run of MLflow, on the server at `MLFLOW_TRACKING_URI`, or in local MLflow files.

    The experiment is `MLFLOW_EXPERIMENT_NAME`, or mamlax. `mlflow-skinny` is enough for a server;
    local files also need sqlalchemy and alembic.

    Args:
        experiment: the name of the experiment, if not the one above.
        tracking_uri: the address of the server or files, if not the one above.
    """

    name = "mlflow"
    install = "pip install mlflow-skinny sqlalchemy alembic"

    def __init__(self, experiment: str | None = None, tracking_uri: str | None = None):
        self._library = optional("mlflow", install=self.install)
        self._experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "mamlax")
        self._uri = tracking_uri

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Start a run with the settings as parameters, or continue the run with the id."""
        self._client = self._library.MlflowClient(self._uri)
        with _few_retries():
            self._id = run.ids["id"] if run.ids else self._created(run)
            self._client.update_run(self._id, status="RUNNING")
        return {"id": self._id}

    def _created(self, run: TrackedRun) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = (
            self._client.create_experiment(self._experiment)
            if found is None
            else found.experiment_id
        )
        created = self._client.create_run(experiment, run_name=run.name).info.run_id
        param = self._library.entities.Param
        params = [param(name, str(value)) for name, value in run.settings.items()]
        for first in range(0, len(params), 100):  # as many as a request may have
            self._client.log_batch(created, params=params[first : first + 100])
        return created

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Send the values in one request."""
        now = int(time.time() * 1000)
        metric = self._library.entities.Metric
        metrics = [
            metric(full_name(series, name), value, now, step) for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def figure(self, name: str, path: Path) -> None:
        """Store the figure as an artifact."""
        self._client.log_artifact(self._id, str(path), "figures")

    def finish(self, status: Status) -> None:
        """Tell MLflow how the run ended."""
        self._client.set_terminated(self._id, _STATUS[status])


@contextmanager
def _few_retries() -> Iterator[None]:
    """Find out within seconds that there is no server. By default, MLflow tries for four minutes.

    Later it may do so, to wait for a server that restarts.
    """
    if _RETRIES in os.environ:
        yield
        return
    os.environ[_RETRIES] = "2"
    try:
        yield
    finally:
        del os.environ[_RETRIES]
