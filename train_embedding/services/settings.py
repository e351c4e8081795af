"""The last values of the fields in the tab, which are restored when the page is opened again."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.storage import write_atomically
from train_embedding.errors import InvalidInput
from train_embedding.hosts.base import Host
from train_embedding.messages import msg

logger = logging.getLogger(__name__)


class Settings:
    """A small JSON file in the host's runs folder. Safe to call from any thread."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()

    @property
    def file(self) -> Path:
        """The path of the file."""
        return self._host.info().runs_folder / "settings.json"

    def load(self) -> dict[str, Any]:
        """Return the saved values; empty if there are none, or if the file is damaged, which is logged."""
        with self._lock:
            try:
                values: object = json.loads(self.file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return {}
            except (OSError, ValueError) as error:
                logger.warning("The settings in %s cannot be read and are reset: %s", self.file, error)
                return {}
        if not isinstance(values, dict):
            logger.warning("The settings in %s are not a JSON object and are reset.", self.file)
            return {}
        return cast("dict[str, Any]", values)

    def save(self, values: dict[str, Any]) -> None:
        """Replace the saved values.

        Raises:
            InvalidInput: A value cannot be represented in JSON.
            StorageFailed: The file cannot be written.
        """
        try:
            text = json.dumps(values, ensure_ascii=False, indent=2)
        except (TypeError, ValueError) as error:
            raise InvalidInput(msg("These settings cannot be saved: {reason}.", reason=error)) from error
        with self._lock:
            write_atomically(self.file, text.encode())
