"""What a person writes about an embedding, in the `name.json` beside it that the WebUI reads and writes too."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.regular_files import NotRegularFile, read_regular_file
from train_embedding.errors import InvalidInput, UnreadableFile

logger = logging.getLogger(__name__)

KEYS = {
    "description": "description",
    "notes": "notes",
    "activation_text": "activation text",
    "negative_text": "negative text",
    "preferred_weight": "preferred weight",
    "sd_version": "sd version",
}
"Field to the WebUI's key."
MAX_TEXT = 100_000
"Characters of one field."
MAX_SIZE = 2**20
"Bytes of a file of notes."


@dataclass(frozen=True)
class Notes:
    description: str = ""
    "Stands on the card."
    notes: str = ""
    activation_text: str = ""
    "What to write into the prompt besides the name."
    negative_text: str = ""
    preferred_weight: float = 0.0
    "0 for none."
    sd_version: str = ""
    'Such as "SD1", "SD2", "SDXL"; what the person says, whatever the file holds.'

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


NO_NOTES = Notes()


def contents(path: Path) -> bytes | None:
    """The bytes of a file of notes; None where there is none. Raises UnreadableFile: too large, or not to be read."""
    try:
        data = read_regular_file(path, MAX_SIZE)
    except FileNotFoundError:
        return None
    except NotRegularFile as error:
        raise UnreadableFile(f'"{path.name}" is not a regular file.') from error
    except OSError as error:
        raise UnreadableFile(f'"{path.name}" cannot be read: {error.strerror or error}.') from error
    if len(data) > MAX_SIZE:
        raise UnreadableFile(f'"{path.name}" is larger than {MAX_SIZE // 1024} KiB.')
    return data


def notes_in(data: bytes) -> Notes:
    """Reads a file of notes; a value of another kind than expected counts as none. Raises ValueError for what is none at all."""
    return notes_from(_object(data))


def notes_from(values: Mapping[str, Any]) -> Notes:
    """values: by the WebUI's keys."""
    found: dict[str, Any] = {}
    for field, key in KEYS.items():
        value = values.get(key)
        if field == "preferred_weight":
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_SIZE:
                found[field] = float(value)
        elif isinstance(value, str):
            found[field] = value
    return Notes(**found)


def checked_changes(changes: Mapping[str, object]) -> dict[str, Any]:
    """The changes by the WebUI's keys. Raises InvalidInput for a field that is none, or a value of the wrong kind."""
    checked: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in KEYS:
            raise InvalidInput(f'Notes have no field "{field}".', f"Fields are {', '.join(KEYS)}.")
        checked[KEYS[field]] = _weight(value) if field == "preferred_weight" else _text(field, value)
    return checked


def has_description(data: bytes) -> bool:
    """Whether a file of notes has a description, be it an empty one. Raises ValueError as `notes_in`."""
    return isinstance(_object(data).get(KEYS["description"]), str)


def described_in(path: Path) -> str:
    """The description in a text file, as the WebUI reads it; empty where there is none that can be read."""
    try:
        return (contents(path) or b"").decode("utf-8-sig", "replace")[:MAX_TEXT].strip()
    except UnreadableFile as error:
        logger.info("A description is not shown: %s", error)
        return ""


def changed_file(data: bytes | None, changes: Mapping[str, Any], file_name: str, shown: str = "") -> bytes | None:
    """The file of notes with some values changed and every other key as it is; None where there is nothing to write.

    data: what the file holds, None where there is none. changes: what `checked_changes` gave. shown: the description that is
    shown where the file has none; an empty one takes its place only when it is written. Raises UnreadableFile for one that
    is no file of notes, so that nothing in it is lost.
    """
    try:
        values = {} if data is None else _object(data)
    except ValueError as error:
        raise UnreadableFile(
            f'"{file_name}" holds no notes that can be read, so it is left as it is: {error}', "Move it away, and try again."
        ) from error
    description = KEYS["description"]
    new = {key: value for key, value in changes.items() if key in values or value or (key == description and shown)}
    if description not in values and shown and new.get(description) == shown:
        del new[description]
    if all(key in values and values[key] == value for key, value in new.items()):
        return None
    return json.dumps({**values, **new}, indent=4, ensure_ascii=False).encode("utf-8", "replace")


def _object(data: bytes) -> dict[str, Any]:
    try:
        values: object = json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply.") from error
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object.")
    return cast("dict[str, Any]", values)


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f'"{field}" must be text, not {type(value).__name__}.')
    if len(value) > MAX_TEXT:
        raise InvalidInput(f'"{field}" has {len(value)} characters; at most {MAX_TEXT} are allowed.')
    return value


def _weight(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= 100:  # NaN is no such number
        raise InvalidInput(f"The preferred weight is {value!r}; it must be a number from -100 to 100, 0 for none.")
    return float(value)
