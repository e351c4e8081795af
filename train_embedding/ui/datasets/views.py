"""What pages show of a dataset: the newest check of each, which is kept because a check of thousands of images takes a second."""

from __future__ import annotations

import itertools
import json
import logging
import math
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from train_embedding.errors import InvalidInput, TrainEmbeddingError
from train_embedding.messages import msg
from train_embedding.services import datasets
from train_embedding.ui import fields

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.datasets import CheckedImage, CheckOptions, DatasetCheck

SEEN = ("width", "height", "buckets", "resize_mode", "masks", "repeats", "template", "embedding")
"The options of a run that decide how it sees its images."

logger = logging.getLogger(__name__)

KEPT = 4
"Number of checks that are kept."
QUICK = 0.1
"A check that took at most this many seconds is repeated after each change."
SHARE = 5
"While images are examined, a check that takes one second is repeated after this many seconds."
PATIENCE = 0.5
"Seconds that a request waits for a check; after it, the page shows the progress."
_numbers, _server = itertools.count(1), secrets.token_hex(4)
_Key: TypeAlias = "tuple[Path, CheckOptions]"


@dataclass(frozen=True)
class View:
    """A check and what is known about how current it is."""

    check: DatasetCheck
    seconds: float
    "Time that the check took."
    at: float
    "Time of the check, in seconds of the monotonic clock."
    stale: bool = False
    "Whether images have changed since, of which the notes and duplicates do not know yet."
    examined: bool = False
    "Whether all images have been examined, or cannot be."


@dataclass
class Reading:
    """A check in progress, in a thread."""

    done: int = 0
    "Number of images whose files have been opened."
    total: int = 0
    error: Exception | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def progress(self, done: int, total: int) -> None:
        """Note how many images have been opened."""
        self.done, self.total = done, total


class Views:
    """Checks datasets for pages. Safe to use from any thread."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._views: OrderedDict[_Key, View] = OrderedDict()
        self._readings: dict[_Key, Reading] = {}
        self._changes: Counter[Path] = Counter()

    def due(self, folder: str, options: CheckOptions) -> View | Reading:
        """Return the newest check after starting another one where it is not current; it is waited for only a moment.

        Raises:
            TrainEmbeddingError: As `Datasets.look`.
        """
        key = (self._services.datasets.check_folder(folder), options)
        with self._lock:
            view = self._views.get(key)
            if view is not None and self._is_current(view):
                return view
            reading = self._readings.get(key)
            if reading is None:
                reading = self._readings[key] = Reading()
                threading.Thread(target=self._read, args=(key, reading), name="check a dataset", daemon=True).start()
        if not reading.ended.wait(PATIENCE):
            return reading if view is None else view
        if reading.error is not None:
            raise reading.error
        return self.kept(folder, options)

    def kept(self, folder: str, options: CheckOptions) -> View:
        """Return the newest check of a dataset, or check it if there is none. Raises as `Datasets.look`."""
        key = (self._services.datasets.check_folder(folder), options)
        with self._lock:
            found = self._views.get(key)
        return self._look(key) if found is None else found

    def fresh(self, folder: str, options: CheckOptions) -> View:
        """Check a dataset after many of its images were changed. Raises as `Datasets.look`."""
        path = self._services.datasets.check_folder(folder)
        with self._lock:
            self._changes[path] += 1
        return self._look((path, options))

    def changed(self, folder: str, options: CheckOptions, names: Collection[str]) -> None:
        """Note that images or their captions were changed or removed: read them again, or everything where that is quick."""
        view = self.kept(folder, options)
        if view.seconds <= QUICK:
            self.fresh(folder, options)
            return
        check = self._services.datasets.look_again(view.check, names)
        with self._lock:
            self._changes[check.folder] += 1
            self._views[(check.folder, options)] = replace(view, check=check, stale=True)

    def outdate(self, folder: str) -> None:
        """Note that any image of a dataset may have changed."""
        path = self._services.datasets.check_folder(folder)
        with self._lock:
            self._changes[path] += 1
            for key, view in self._views.items():
                if key[0] == path:
                    self._views[key] = replace(view, stale=True, at=-math.inf)

    def to_examine(self, view: View) -> int:
        """Return how many images of a check have not been examined yet."""
        missing = len(view.check.images) - view.check.measured
        return 0 if view.examined else max(1, min(missing, self._services.datasets.waiting()))

    def _is_current(self, view: View) -> bool:
        """Return whether a check need not be repeated, or not yet."""
        if view.examined and not view.stale:
            return True
        is_done = not view.examined and self._services.datasets.waiting() == 0
        return time.monotonic() - view.at < (min(1.0, SHARE * view.seconds) if is_done else SHARE * view.seconds)

    def _read(self, key: _Key, reading: Reading) -> None:
        try:
            self._look(key, reading.progress)
        except TrainEmbeddingError as error:  # raised where the result is waited for
            reading.error = error
        except Exception as error:
            logger.exception("Checking %s failed", key[0])
            reading.error = error
        with self._lock:
            del self._readings[key]
        reading.ended.set()

    def _look(self, key: _Key, progress: Callable[[int, int], object] = lambda _done, _total: None) -> View:
        folder, options = key
        with self._lock:
            changes = self._changes[folder]
        idle, start = self._services.datasets.waiting() == 0, time.monotonic()
        check = self._services.datasets.look(folder, options, progress)
        end = time.monotonic()
        with self._lock:
            before, stale = self._views.get(key), self._changes[folder] != changes
            # An image that cannot be examined is tried once more, and then left as it is.
            is_stuck = before is not None and not before.stale and idle and before.check.measured == check.measured
            view = View(check, end - start, -math.inf if stale else end, stale, check.complete or is_stuck)
            self._views[key] = view
            self._views.move_to_end(key)
            while len(self._views) > KEPT:
                self._views.popitem(last=False)
        return view


def options_of(values: Sequence[Any]) -> CheckOptions:
    """Return how training sees images, from the values of the widgets of SEEN. Raises InvalidInput."""
    options = fields.read_options(dict(zip(SEEN, values, strict=True)))
    return datasets.CheckOptions(**options)


def image_of(view: View, name: str) -> CheckedImage | None:
    """Return an image of a dataset by its name."""
    return next((image for image in view.check.images if image.name == name), None)


def needed(opened: str) -> str:
    """Return the open dataset. Raises InvalidInput if there is none."""
    if not opened:
        raise InvalidInput(msg("No dataset is open."), msg("Choose or create one first."))
    return opened


def next_version() -> str:
    """Return a version that no page has: after it, the script requests the images again."""
    return f"{_server}-{next(_numbers)}"


def read_view(request: str) -> tuple[str, int]:
    """Parse what the script shows: the filter and the number of the page. Anything else is the first page of all images."""
    try:
        values: Any = json.loads(request)
        return str(values["filter"]), int(values["page"])
    except (ValueError, TypeError, KeyError):
        return "", 0
