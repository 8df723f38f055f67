"""Trackio: a run of the project in trackio's local database, which `trackio show` displays.

TRACKIO_DIR sets the location of the database; trackio's own variables name a Space or a server.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from selfwise.core.extras import import_extra
from selfwise.training.loggers import Logger, RunFacts, ViewPicture


class Trackio:
    """Sends values with their steps."""

    def __init__(self, run: RunFacts):
        trackio = import_extra("trackio")
        self.library: Any = trackio
        self.quiet = run.quiet
        name = run.read_id("trackio")
        self.continues = name is not None
        with _without_stdout(self.quiet):
            self.session: Any = trackio.init(
                project=run.project,
                name=name or run.name,
                config={n: v if _is_plain(v) else str(v) for n, v in run.options.items()},
                resume="allow" if self.continues else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        run.save_id("trackio", str(self.session.name))

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        self.session.log(dict(values), step=step)

    def log_pictures(self, pictures: Sequence[ViewPicture]) -> None:
        shown: dict[str, object] = {}
        for picture in pictures:
            if picture.image is not None:
                shown[picture.name] = self.library.Image(picture.image, caption=picture.caption)
            else:
                lines = [line for line in [picture.caption, *picture.text.splitlines()] if line]
                shown[picture.name] = self.library.Markdown("\n\n".join(lines))
        self.session.log(shown, step=0)

    def finish(self, *, failed: bool) -> None:
        with _without_stdout(self.quiet):
            self.library.finish()


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


@contextmanager
def _without_stdout(quiet: bool) -> Iterator[None]:
    """Redirect trackio's output on stdout to stderr, or discard it."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if quiet else sys.stderr):
        yield


def open_logger(run: RunFacts) -> Logger:
    """Open the run in trackio's database."""
    return Trackio(run)
