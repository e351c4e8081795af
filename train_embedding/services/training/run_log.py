"""The log of a run: losses as CSV, events as JSON lines, and TensorBoard files if TensorBoard is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.storage import is_refused, storage_failed, write_atomically
from train_embedding.messages import Message, msg

if TYPE_CHECKING:
    from PIL import Image

LOSSES, EVENTS, TENSORBOARD = "loss.csv", "events.jsonl", "tensorboard"
logger = logging.getLogger(__name__)

_HEAD = ("step", "loss", "learning_rate")


class RunLog:
    """The log files in a run's folder. Methods raise StorageFailed if a file cannot be written.

    If another program, such as a spreadsheet, has a file open, the new lines are kept and written the next time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._waiting: dict[str, str] = {}
        "Text that is still to be written, by file name."

    def losses(self, rows: list[tuple[int, float, float]]) -> None:
        """Append rows of step, loss and learning rate to loss.csv."""
        text = io.StringIO()
        writer = csv.writer(text)
        if not ((self._folder / LOSSES).exists() or self._waiting.get(LOSSES)):
            writer.writerow(_HEAD)
        writer.writerows(rows)
        self._append(LOSSES, text.getvalue())
        for step, loss, rate in rows:
            self._scalar("loss", loss, step)
            self._scalar("learning rate", rate, step)

    def event(self, kind: str, step: int, **values: Any) -> None:
        """Append a line to events.jsonl, with the time in seconds since 1970."""
        line = {"event": kind, "step": step, "time": round(time.time(), 3), **values}
        self._append(EVENTS, json.dumps(line, ensure_ascii=False, default=str) + "\n")
        if kind == "evaluated":
            self._scalar("evaluation", values["score"], step)

    def image(self, name: str, image: Image.Image, step: int) -> None:
        """Add an image to TensorBoard's log."""
        if self._tensorboard():
            import numpy

            self._writer.add_image(name, numpy.asarray(image.convert("RGB")), step, dataformats="HWC")

    def go_back(self, step: int) -> list[tuple[int, float]]:
        """Remove what was logged after a step, because a resumed run logs it again.

        Returns:
            Step and loss of the remaining rows.
        """
        rows = [row for row in _csv_rows(self._folder / LOSSES) if row[0] <= step]
        if (self._folder / LOSSES).exists():
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerow(_HEAD)
            writer.writerows(rows)
            write_atomically(self._folder / LOSSES, text.getvalue().encode())
        events = self._folder / EVENTS
        if events.exists():
            kept = [line for line in events.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
            write_atomically(events, "".join(line + "\n" for line in kept).encode())
        return [(number, loss) for number, loss, _ in rows]

    @property
    def problems(self) -> tuple[Message, ...]:
        """Sentences about lines that are not written yet."""
        return tuple(
            msg('"{name}" is open in another program, so its newest lines are missing.', name=name) for name in self._waiting
        )

    def close(self) -> None:
        """Write the remaining lines and close the files."""
        for name in tuple(self._waiting):
            self._append(name, "")
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _append(self, name: str, text: str) -> None:
        file = self._folder / name
        text = self._waiting.pop(name, "") + text
        try:
            with file.open("a", encoding="utf-8", newline="") as opened:
                opened.write(text)
        except OSError as error:
            if not is_refused(error):
                raise storage_failed(file, error) from error
            logger.warning("The log %s cannot be written now: %s", file, error)
            self._waiting[name] = text

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._tensorboard():
            self._writer.add_scalar(name, value, step)

    def _tensorboard(self) -> bool:
        if self._writer is None and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder / TENSORBOARD))
        return self._writer is not None


def _csv_rows(file: Path) -> list[tuple[int, float, float]]:
    """Read the complete rows; the last one may be cut short if the process was killed."""
    rows: list[tuple[int, float, float]] = []
    if file.exists():
        with file.open(newline="", encoding="utf-8") as opened:
            for row in csv.reader(opened):
                try:
                    step, loss, rate = row
                    rows.append((int(step), float(loss), float(rate)))
                except ValueError:
                    continue
    return rows


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
