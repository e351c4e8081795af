"""The last values of the tab's fields, so that nobody types them twice."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.storage import write_atomically
from train_embedding.errors import InvalidInput
from train_embedding.hosts.base import Host

logger = logging.getLogger(__name__)


class Settings:
    """A small JSON file in the host's runs folder. Safe to call from any thread."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()

    @property
    def file(self) -> Path:
        return self._host.info().runs_folder / "settings.json"

    def load(self) -> dict[str, Any]:
        """What was saved last; empty when nothing was, or when the file is damaged, which the log then says."""
        with self._lock:
            try:
                values: object = json.loads(self.file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return {}
            except (OSError, ValueError) as error:
                logger.warning("The settings in %s cannot be read and start afresh: %s", self.file, error)
                return {}
        if not isinstance(values, dict):
            logger.warning("The settings in %s are not a JSON object and start afresh.", self.file)
            return {}
        return cast("dict[str, Any]", values)

    def save(self, values: dict[str, Any]) -> None:
        """Replaces what was saved. Raises InvalidInput for values that JSON cannot hold, StorageFailed for a failed write."""
        try:
            text = json.dumps(values, ensure_ascii=False, indent=2)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"These settings cannot be saved: {error}.") from error
        with self._lock:
            write_atomically(self.file, text.encode())
