"""TensorBoard: event files in `RUN/tensorboard/`, which `tensorboard --logdir RUN` reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfwise.core.extras import import_extra
from selfwise.training.loggers import Logger, RunFacts, ViewPicture


class TensorBoard:
    """Writes curves, the options as hyperparameters and as text, and the pictures."""

    continues = False  # `purge_step` hides values written after the checkpoint

    def __init__(self, run: RunFacts):
        import_extra("tensorboard")  # torch would not name the extra
        from torch.utils.tensorboard import SummaryWriter

        folder = str(run.folder / "tensorboard")
        self.writer: Any = SummaryWriter(folder, purge_step=run.step or None)
        self.options = {} if run.step else dict(run.options)
        if self.options:
            rows = [f"| {name} | {value} |" for name, value in self.options.items()]
            self.writer.add_text("options", "\n".join(["| option | value |", "|---|---|", *rows]))

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        if self.options:
            self._write_hyperparameters(values)
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def _write_hyperparameters(self, values: Mapping[str, float]) -> None:
        """Write the options once the names of the metrics are available, by which they are
        compared.

        `SummaryWriter.add_hparams` would create a second run in a separate folder.
        """
        from torch.utils.tensorboard.summary import hparams

        plain = {n: v if isinstance(v, int | float) else str(v) for n, v in self.options.items()}
        for summary in hparams(plain, dict.fromkeys(values, 0.0)):
            self.writer.file_writer.add_summary(summary)
        self.options = {}

    def log_pictures(self, pictures: Sequence[ViewPicture]) -> None:
        for picture in pictures:
            if picture.image is not None:
                self.writer.add_image(picture.name, picture.image, 0, dataformats="HWC")
            text = picture.text.replace("\n", "  \n")  # Markdown: a line break
            self.writer.add_text(f"{picture.name}/about", f"{picture.caption}\n\n{text}".strip())
        self.writer.flush()

    def finish(self, *, failed: bool) -> None:
        self.writer.close()


def open_logger(run: RunFacts) -> Logger:
    """Open the event files of a run."""
    return TensorBoard(run)
