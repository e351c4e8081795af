"""Measuring the images of a dataset, at once or in a thread while a page shows what is known already."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.services.datasets.measure_cache import MeasureCache, Stamp
from train_embedding.services.datasets.measures import Measures, measure

if TYPE_CHECKING:
    from train_embedding.engine.data.crops import Crop
    from train_embedding.engine.data.image import Header

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurable:
    """An image to measure."""

    file: Path
    stamp: Stamp
    header: Header
    mask: Path | None = None
    crop: Crop | None = None


class Measuring:
    """Measures images that are not in the cache. Safe to use from any thread.

    Args:
        cache: Where measures are kept.
    """

    def __init__(self, cache: MeasureCache) -> None:
        self.cache = cache
        self._lock = threading.Lock()
        self._waiting: deque[Measurable] = deque()
        self._thread: threading.Thread | None = None

    def measure_all(
        self,
        images: Sequence[Measurable],
        progress: Callable[[int, int], object] = lambda _done, _total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Measure the images that are not in the cache.

        Args:
            images: The images.
            progress: Called after each image with the number that are done, and of all.
            stopped: Returns whether to stop early.
        """
        for done, image in enumerate(images, 1):
            if stopped():
                return
            self._measure(image)
            progress(done, len(images))
        self.cache.trim()

    @property
    def waiting(self) -> int:
        """Number of images that the thread has not begun to measure yet."""
        return len(self._waiting)

    def start(self, images: Sequence[Measurable]) -> None:
        """Measure images in a thread, in their order, in place of those that are waiting."""
        missing = self._missing(images)
        with self._lock:
            self._waiting = deque(missing)
            self._start_thread()

    def add(self, images: Sequence[Measurable]) -> None:
        """Measure images in a thread before those that are waiting."""
        missing = self._missing(images)
        with self._lock:
            files = {image.file for image in missing}
            self._waiting = deque([*missing, *(image for image in self._waiting if image.file not in files)])
            self._start_thread()

    def hurry(self, files: Collection[Path]) -> None:
        """Measure those of some files that are waiting before the others."""
        with self._lock:
            hurried = [image for image in self._waiting if image.file in files]
            if hurried:
                self._waiting = deque([*hurried, *(image for image in self._waiting if image.file not in files)])

    def wait(self) -> None:
        """Wait until the thread has measured everything."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _missing(self, images: Sequence[Measurable]) -> list[Measurable]:
        return [image for image in images if self.cache.get(image.file, image.stamp) is None]

    def _start_thread(self) -> None:
        """Start the thread if it has something to do, under the lock."""
        if self._waiting and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="measure images", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                image = self._waiting.popleft()
            try:
                self._measure(image)
            except Exception:
                logger.exception("Measuring %s failed", image.file)

    def _measure(self, image: Measurable) -> Measures:
        known = self.cache.get(image.file, image.stamp)
        if known is not None:
            return known
        measured = measure(image.file, image.header, image.mask, image.crop)
        self.cache.put(image.file, image.stamp, measured)
        return measured
