"""Jobs over the images of a dataset, in a thread: the part that captions and crops have in common."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from train_embedding.errors import Conflict, TrainEmbeddingError
from train_embedding.messages import NOTHING, Message, msg

Status = Literal["waiting", "loading", "running", "stopping", "finished", "stopped", "failed"]
ACTIVE: tuple[Status, ...] = ("waiting", "loading", "running", "stopping")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageJob:
    """The state of a job."""

    folder: Path
    "The dataset."
    status: Status = "running"
    images: int = 0
    "Number of images that the job works on; 0 until they have been found."
    done: int = 0
    problem: Message = NOTHING
    "Why the job failed, or what stopped it."
    hint: Message = NOTHING

    @property
    def active(self) -> bool:
        """Whether the job has not ended."""
        return self.status in ACTIVE


AnyJob = TypeVar("AnyJob", bound=ImageJob)


class Stopped(Exception):
    """Raised by the work of a job that ends because it is being stopped."""


class BackgroundJobs(Generic[AnyJob]):
    """Runs one job at a time in a thread. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: AnyJob | None = None
        self._thread: threading.Thread | None = None

    @property
    def job(self) -> AnyJob | None:
        """The present or the last job; None before the first."""
        with self._lock:
            return self._job

    def stop(self) -> AnyJob | None:
        """Let the job end after the present image."""
        with self._lock:
            if self._job is not None and self._job.active:
                self._job = replace(self._job, status="stopping")
            return self._job

    def wait(self, timeout: float | None = None) -> AnyJob | None:
        """Wait until the job has ended, or for a number of seconds, and return its state."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self.job

    def _begin(
        self, job: AnyJob, work: Callable[[], None], busy: Callable[[str], Message], failed: Callable[[Exception], Message]
    ) -> AnyJob:
        """Do the work in a thread, which follows and changes the job's state by `_update`.

        Args:
            job: The state at first.
            work: Raises `Stopped` soon after `_stopping` has become true, if it is not done yet.
            busy: Says that the job of another dataset, whose name it gets, is active.
            failed: Says that the work failed in a way that was not foreseen.

        Raises:
            Conflict: Another job is active.
        """
        with self._lock:
            if self._job is not None and self._job.active:
                raise Conflict(busy(self._job.folder.name), msg("Wait until they are done, or stop the job."))
            self._job = job
            self._thread = threading.Thread(target=self._run, args=(work, failed), name=type(self).__name__, daemon=True)
            self._thread.start()
        return job

    @property
    def _stopping(self) -> bool:
        return self._job is not None and self._job.status == "stopping"

    def _update(self, **changes: Any) -> None:
        """Change fields of the state; a job that is being stopped remains so until it has ended."""
        self._change(lambda job: replace(job, **changes))

    def _change(self, change: Callable[[AnyJob], AnyJob]) -> None:
        with self._lock:
            assert self._job is not None
            changed = change(self._job)
            self._job = replace(changed, status="stopping") if self._stopping and changed.active else changed

    def _run(self, work: Callable[[], None], failed: Callable[[Exception], Message]) -> None:
        try:
            work()
        except Stopped:
            self._update(status="stopped")
        except TrainEmbeddingError as error:
            self._update(status="failed", problem=error.message, hint=error.hint)
        except Exception as error:
            logger.exception("%s failed", type(self).__name__)
            self._update(status="failed", problem=failed(error))
        else:
            self._update(status="finished")
