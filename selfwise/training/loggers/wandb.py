"""Weights & Biases: a run of the project, continued when the run is resumed.

WANDB_MODE decides where the run is sent. Without it, the run of a logged-in user goes to the
server; any other user gets an offline run in `RUN/wandb/`, for `wandb sync`.
"""

import os
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from uuid import uuid4

from selfwise.core.extras import import_extra
from selfwise.training.loggers import Logger, RunFacts, ViewPicture

SERVER = "https://api.wandb.ai"


class WeightsAndBiases:
    """Sends values with their steps; the service drops steps that it already has."""

    def __init__(self, run: RunFacts):
        wandb = import_extra("wandb")
        name = run.read_id("wandb")
        self.library: Any = wandb
        self.continues = name is not None
        name = name or uuid4().hex
        self.session: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=name,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.options),
            mode=os.environ.get("WANDB_MODE") or ("online" if is_logged_in() else "offline"),
            settings=wandb.Settings(silent=run.quiet, console="off"),
        )
        run.save_id("wandb", name)

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        self.session.log(dict(values), step=step)

    def log_pictures(self, pictures: Sequence[ViewPicture]) -> None:
        shown: dict[str, object] = {}
        for picture in pictures:
            if picture.image is not None:
                shown[picture.name] = self.library.Image(picture.image, caption=picture.caption)
            else:
                rows = [[line] for line in [picture.caption, *picture.text.splitlines()] if line]
                shown[picture.name] = self.library.Table(columns=["text"], data=rows)
        self.session.log(shown, step=0)

    def finish(self, *, failed: bool) -> None:
        self.session.finish(exit_code=int(failed))


def is_logged_in() -> bool:
    """Return whether the environment or the netrc file has a key for the server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or SERVER).hostname or ""
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            if path.is_file() and netrc(path).authenticators(host):
                return True
        except (NetrcParseError, OSError):
            continue  # wandb cannot read it either
    return False


def open_logger(run: RunFacts) -> Logger:
    """Open the run at the service, or offline."""
    return WeightsAndBiases(run)
