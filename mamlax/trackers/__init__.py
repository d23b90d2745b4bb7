"""Experiment trackers, to follow runs. `metrics.jsonl` has all data; a tracker gets copies.

`mamlax.train(trackers=["tensorboard"])` and `mamlax train --track tensorboard` are enough for most
uses. To write your own tracker, write a class with the four methods of `Tracker`. To track an outer
loop that you run with `mamlax.run`, use `tracking`.
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
