"""TensorBoard, MLflow and Weights & Biases behind one face, over accelerate's trackers of them."""

from __future__ import annotations

import logging
import os
import re
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from PIL import Image

PROJECT = "sats"
"""What MLflow calls the experiment, and Weights & Biases the project, that runs are in."""
PICTURE = "predictions"
MLFLOW_PLACE = "MLFLOW_TRACKING_URI"
NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"
CREDENTIALS = re.compile(r"//[^/@]*@")


@dataclass(frozen=True)
class Subject:
    """The run that is followed: its folder ``path``, where it and others lie, its name, its flat settings."""

    path: Path
    parent: Path
    name: str
    settings: Mapping[str, Any]


class Tracker(ABC):
    """Follows one run. Whatever goes wrong is raised, as whatever the tracker raises."""

    reached: int = 0
    """The last iteration that is noted already, where noting it again would make two of it."""

    @abstractmethod
    def start(self, subject: Subject, known: str, after: int) -> tuple[str, str]:
        """Begin, or go on ``after`` so many iterations with the run that the tracker calls ``known``.

        Returns what it is called, and where it is to be seen.
        """

    @abstractmethod
    def log(self, values: Mapping[str, float], at: int) -> None:
        """Note values by name ``at`` an iteration of all."""

    @abstractmethod
    def show(self, picture: Image.Image, at: int) -> None:
        """Keep a picture of predictions."""

    @abstractmethod
    def finish(self, *, is_complete: bool) -> None:
        """Let go of the run, which has come to its end or was interrupted."""


class TensorBoard(Tracker):
    """Event files in the run's folder; what was logged after the point from which a run goes on is hidden."""

    def start(self, subject: Subject, known: str, after: int) -> tuple[str, str]:
        """Open an event file."""
        self._tracker = TensorBoardTracker("tensorboard", subject.path, purge_step=after + 1 if known else None)
        self._tracker.start()
        if not known:
            lines = [f"    {name}: {value}" for name, value in subject.settings.items()]
            self._tracker.log({"settings": "\n".join(lines)}, step=0)
        return "tensorboard", f"tensorboard --logdir {subject.parent}"

    def log(self, values: Mapping[str, float], at: int) -> None:
        """Write scalars."""
        self._tracker.log(dict(values), step=at)

    def show(self, picture: Image.Image, at: int) -> None:
        """Write an image."""
        self._tracker.log_images({PICTURE: np.asarray(picture)[None]}, step=at, dataformats="NHWC")

    def finish(self, *, is_complete: bool) -> None:  # noqa: ARG002 (an event file knows no end)
        """Close the file."""
        self._tracker.finish()


class MLflow(Tracker):
    """A run in the database beside the runs' folders, mlflow.db, or where MLFLOW_TRACKING_URI says."""

    def start(self, subject: Subject, known: str, after: int) -> tuple[str, str]:  # noqa: ARG002 (`reached` says more)
        """Make or find the run, in the database beside the runs unless the environment names another place."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is away costs minutes else
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        asked = os.environ.get(MLFLOW_PLACE)
        place = asked or f"sqlite:///{subject.parent / 'mlflow.db'}"
        artifacts = None if asked else (subject.parent / "mlflow-artifacts").as_uri()
        with FileLock(subject.parent / ".mlflow.lock"):  # runs side by side would all make the database
            mlflow.set_tracking_uri(place)
            if not asked:  # mlflow has put it there, where the next run would take it for the user's word
                os.environ.pop(MLFLOW_PLACE, None)
            run_id = known if known and self._is_there(known) else None
            self._tracker = MLflowTracker(PROJECT, logging_dir=artifacts, run_id=run_id, run_name=subject.name)
            self._tracker.start()
        if run_id is None:
            self._tracker.store_init_configuration(dict(subject.settings))
        else:
            self.reached = self._last(run_id)
        return self._tracker.tracker.info.run_id, CREDENTIALS.sub("//", place)

    @staticmethod
    def _is_there(run_id: str) -> bool:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return str(MlflowClient().get_run(run_id).info.lifecycle_stage) == "active"
        except MlflowException as error:
            if error.error_code == NOT_FOUND:
                return False
            raise

    @staticmethod
    def _last(run_id: str) -> int:
        from mlflow import MlflowClient

        return max((metric.step for metric in MlflowClient().get_metric_history(run_id, "loss/total")), default=0)

    def log(self, values: Mapping[str, float], at: int) -> None:
        """Note metrics."""
        self._tracker.log(dict(values), step=at)

    def show(self, picture: Image.Image, at: int) -> None:
        """Keep the picture among the run's artifacts."""
        import mlflow

        mlflow.log_image(picture, artifact_file=f"{PICTURE}/{at:06}.png")

    def finish(self, *, is_complete: bool) -> None:
        """End the run as finished, or as killed, which it is until it goes on."""
        import mlflow

        mlflow.end_run("FINISHED" if is_complete else "KILLED")


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases: offline in the run's folder, unless somebody has logged in there."""

    def start(self, subject: Subject, known: str, after: int) -> tuple[str, str]:  # noqa: ARG002 (it knows itself)
        """Begin the run, or go on with it."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else its own faults are told to its makers
        import wandb

        run_id = known or uuid.uuid4().hex[:8]
        is_known = "WANDB_MODE" in os.environ or wandb.login(prompt=False, verify=False)
        self._tracker = WandBTracker(
            PROJECT,
            dir=str(subject.path),
            name=subject.name,
            id=run_id,
            resume="allow",
            mode=None if is_known else "offline",
            settings=wandb.Settings(console="off", silent=True),
        )
        self._tracker.start()
        self._tracker.store_init_configuration(dict(subject.settings))
        run = self._tracker.tracker
        offline = f"wandb sync {subject.path / 'wandb' / 'offline-run-*'}"
        return run_id, offline if run.offline else str(run.url)

    def log(self, values: Mapping[str, float], at: int) -> None:
        """Log values; those of iterations that were logged before an interruption it leaves out by itself."""
        self._tracker.log(dict(values), step=at)

    def show(self, picture: Image.Image, at: int) -> None:
        """Log the picture."""
        self._tracker.log_images({PICTURE: [picture]}, step=at)

    def finish(self, *, is_complete: bool) -> None:
        """End the run; one that was interrupted counts as failed until it goes on."""
        self._tracker.tracker.finish(exit_code=0 if is_complete else 1)


KINDS: dict[str, Callable[[], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WeightsAndBiases}
"""Every tracker by its name."""
