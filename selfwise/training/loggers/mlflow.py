"""MLflow: a run of the experiment, in `RUN/mlflow/` or at MLFLOW_TRACKING_URI."""

import logging
import os
from collections.abc import Mapping, Sequence
from time import time
from typing import Any

from selfwise.core.extras import import_extra
from selfwise.core.own_files import make_folder
from selfwise.training.loggers import Logger, RunFacts, ViewPicture

MAX_PARAMETERS = 100  # in one request
MAX_LENGTH = 500  # characters of a parameter that every server accepts


class MLflow:
    """Sends values with their steps to one run of the tracking server."""

    def __init__(self, run: RunFacts):
        mlflow = import_extra("mlflow")
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it reports each new table
        logging.getLogger("alembic").setLevel(logging.WARNING)
        folder = run.folder.resolve() / "mlflow"
        address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}/mlflow.db"
        if is_local := not os.environ.get("MLFLOW_TRACKING_URI"):
            make_folder(folder)
        self.client: Any = mlflow.MlflowClient(tracking_uri=address)
        artifacts = (folder / "artifacts").as_uri() if is_local else None
        known = run.read_id("mlflow")
        self.continues = known is not None
        self.id = known or self._create(run, artifacts)
        self.client.update_run(self.id, status="RUNNING")

    def _create(self, run: RunFacts, artifacts: str | None) -> str:
        from mlflow.entities import Param

        experiment = self.client.get_experiment_by_name(run.project)
        if experiment is None:
            place = self.client.create_experiment(run.project, artifact_location=artifacts)
        else:
            place = experiment.experiment_id
        made = self.client.create_run(place, run_name=run.name)
        name: str = made.info.run_id
        values = [Param(n, str(v)[:MAX_LENGTH]) for n, v in run.options.items()]
        for first in range(0, len(values), MAX_PARAMETERS):
            self.client.log_batch(name, params=values[first : first + MAX_PARAMETERS])
        run.save_id("mlflow", name)
        return name

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time())
        self.client.log_batch(self.id, metrics=[Metric(n, v, now, step) for n, v in values.items()])

    def log_pictures(self, pictures: Sequence[ViewPicture]) -> None:
        for picture in pictures:
            if picture.image is not None:
                self.client.log_image(self.id, picture.image, f"{picture.name}.png")
            text = f"{picture.caption}\n\n{picture.text}".strip()
            self.client.log_text(self.id, text, f"{picture.name}.txt")

    def finish(self, *, failed: bool) -> None:
        self.client.set_terminated(self.id, status="FAILED" if failed else "FINISHED")


def open_logger(run: RunFacts) -> Logger:
    """Open the run at the tracking server, or in the run folder."""
    return MLflow(run)
