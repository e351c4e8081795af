"""Measuring the images of a dataset, at once or in a thread while a page shows what is known already."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.services.datasets.measure_cache import MeasureCache, Stamp
from train_embedding.services.datasets.measures import Measures, measure

if TYPE_CHECKING:
    from train_embedding.engine.data.image import Header

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurable:
    """An image to measure."""

    file: Path
    stamp: Stamp
    header: Header
    mask: Path | None = None


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

    def start(self, images: Sequence[Measurable]) -> None:
        """Measure images in a thread, in their order, in place of those that are waiting."""
        missing = [image for image in images if self.cache.get(image.file, image.stamp) is None]
        with self._lock:
            self._waiting = deque(missing)
            if missing and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="measure images", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Wait until the thread has measured everything."""
        thread = self._thread
        if thread is not None:
            thread.join()

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
        measured = measure(image.file, image.header, image.mask)
        self.cache.put(image.file, image.stamp, measured)
        return measured
