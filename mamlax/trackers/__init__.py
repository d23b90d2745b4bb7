"""Trackers: where people watch runs. `metrics.jsonl` stays the truth, and a tracker is sent copies.

`mamlax.train(trackers=["tensorboard"])` and `mamlax train --track tensorboard` are enough for most.
A class with the four methods of `Tracker` is a tracker of your own. `tracking` is for loops that
`mamlax.run` takes.
"""

from ._mlflow import MLflow as MLflow
from ._tensorboard import TensorBoard as TensorBoard
from ._tracker import Status as Status
from ._tracker import TrackedRun as TrackedRun
from ._tracker import Tracker as Tracker
from ._tracking import Tracking as Tracking
from ._tracking import tracking as tracking
from ._trackio import Trackio as Trackio
from ._weights_and_biases import WeightsAndBiases as WeightsAndBiases
