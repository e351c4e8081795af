"""Centring the crops of many images: a job in a thread, with progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.messages import msg
from train_embedding.services.datasets.background_jobs import BackgroundJobs, ImageJob, Stopped
from train_embedding.services.datasets.checks import CheckOptions
from train_embedding.services.datasets.crops import Crops, CropsChanged


@dataclass(frozen=True)
class CropJob(ImageJob):
    """The state of a job."""

    changed: CropsChanged | None = None
    "The outcome, once it has finished."


class CropJobs(BackgroundJobs[CropJob]):
    """Centres crops, for one dataset at a time. A job that is stopped changes no crop. Safe to use from any thread.

    Args:
        crops: Change the crops.
    """

    def __init__(self, crops: Crops) -> None:
        super().__init__()
        self._crops = crops

    def start(self, folder: Path, names: Sequence[str], options: CheckOptions) -> CropJob:
        """Start `Crops.centre` in a thread.

        Args:
            folder: The dataset.
            names: The images; none for all that are not excluded.
            options: How they are trained.

        Raises:
            Conflict: Another job is active.
        """
        return self._begin(
            CropJob(folder),
            lambda: self._update(changed=self._crops.centre(folder, names, options, self._progress)),
            busy=lambda name: msg('Crops of "{folder}" are being centred.', folder=name),
            failed=lambda error: msg("Centring the crops failed: {reason}", reason=error),
        )

    def _progress(self, done: int, images: int) -> None:
        self._update(done=done, images=images)
        if self._stopping:
            raise Stopped
