"""Centring the crops of many images: a job in a thread, with progress."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from train_embedding.errors import Conflict, TrainEmbeddingError
from train_embedding.messages import NOTHING, Message, msg
from train_embedding.services.datasets.checks import CheckOptions
from train_embedding.services.datasets.crops import Crops, CropsChanged

Status = Literal["running", "stopping", "finished", "stopped", "failed"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropJob:
    """The state of a job."""

    folder: Path
    status: Status = "running"
    images: int = 0
    "Number of images to centre; 0 until they have been found."
    done: int = 0
    changed: CropsChanged | None = None
    "The outcome, once it has finished."
    problem: Message = NOTHING
    "Why it failed."
    hint: Message = NOTHING

    @property
    def active(self) -> bool:
        """Whether the job has not ended."""
        return self.status in ("running", "stopping")


class _Stopped(Exception):
    """The job was stopped between two images."""


class CropJobs:
    """Centres crops, for one dataset at a time. Safe to use from any thread.

    Args:
        crops: Change the crops.
    """

    def __init__(self, crops: Crops) -> None:
        self._crops = crops
        self._lock = threading.Lock()
        self._job: CropJob | None = None
        self._thread: threading.Thread | None = None

    @property
    def job(self) -> CropJob | None:
        """The present or the last job; None before the first."""
        with self._lock:
            return self._job

    def start(self, folder: Path, names: Sequence[str], options: CheckOptions) -> CropJob:
        """Start `Crops.centre` in a thread.

        Args:
            folder: The dataset.
            names: The images; none for all that are not excluded.
            options: How they are trained.

        Raises:
            Conflict: Another job is active.
        """
        with self._lock:
            if self._job is not None and self._job.active:
                raise Conflict(
                    msg('Crops of "{folder}" are being centred.', folder=self._job.folder.name),
                    msg("Wait until they are done, or stop the job."),
                )
            self._job = job = CropJob(folder)
            self._thread = threading.Thread(target=self._run, args=(folder, names, options), name="centre crops", daemon=True)
            self._thread.start()
        return job

    def stop(self) -> CropJob | None:
        """Let the job end after the present image. No crop is changed then."""
        with self._lock:
            if self._job is not None and self._job.active:
                self._job = replace(self._job, status="stopping")
            return self._job

    def wait(self, timeout: float | None = None) -> CropJob | None:
        """Wait until the job has ended, or for a number of seconds, and return its state."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self.job

    def _run(self, folder: Path, names: Sequence[str], options: CheckOptions) -> None:
        try:
            changed = self._crops.centre(folder, names, options, self._progress)
        except _Stopped:
            self._update(status="stopped")
        except TrainEmbeddingError as error:
            self._update(status="failed", problem=error.message, hint=error.hint)
        except Exception as error:
            logger.exception("Centring the crops of %s failed", folder)
            self._update(status="failed", problem=msg("Centring the crops failed: {reason}", reason=error))
        else:
            self._update(status="finished", changed=changed)

    def _progress(self, done: int, images: int) -> None:
        if self._update(done=done, images=images).status == "stopping":
            raise _Stopped

    def _update(self, **values: object) -> CropJob:
        with self._lock:
            assert self._job is not None
            self._job = job = replace(self._job, **values)  # type: ignore[arg-type]
        return job
