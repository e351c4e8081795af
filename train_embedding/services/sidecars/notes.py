"""Notes about an embedding, in the `name.json` next to it, which the WebUI reads and writes too."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import InvalidInput, UnreadableFile, cannot_read
from train_embedding.messages import Message, joined, msg

logger = logging.getLogger(__name__)

MAX_TEXT = 100_000
"Largest number of characters in one field."
MAX_SIZE = 2**20
"Largest size of a notes file in bytes."
MAX_WEIGHT = 100


@dataclass(frozen=True)
class NoteField:
    """One field of `Notes` as front ends offer it."""

    name: str
    "The name of the field in `Notes`."
    key: str
    "The key in the JSON file that the WebUI uses."
    label: Message
    help: Message
    lines: int
    "Number of lines of the text box."
    is_number: bool


def _note(default: str | float, key: str, label: Message, help: Message, lines: int = 1) -> Any:
    about = {"key": key, "label": label, "help": help, "lines": lines, "is_number": not isinstance(default, str)}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Notes:
    """Notes that people wrote about an embedding. Front ends read the fields with their labels from this declaration."""

    description: str = _note("", "description", msg("Description"), msg("Shown on the card of the embedding."), lines=2)
    activation_text: str = _note(
        "", "activation text", msg("Activation text"), msg("Added to the prompt together with the embedding.")
    )
    negative_text: str = _note("", "negative text", msg("Negative text"), msg("Added to the negative prompt at the same time."))
    preferred_weight: float = _note(
        0.0, "preferred weight", msg("Preferred weight"), msg("Weight in the prompt, as in (name:1.2). 0: none.")
    )
    sd_version: str = _note(
        "", "sd version", msg("Model family"), msg("The models that the embedding works with, such as SD1, SD2 or SDXL.")
    )
    notes: str = _note("", "notes", msg("Notes"), msg("Anything else worth noting."), lines=3)


NOTE_FIELDS: tuple[NoteField, ...] = tuple(NoteField(each.name, **each.metadata) for each in fields(Notes))
NO_NOTES = Notes()

_BY_NAME = {each.name: each for each in NOTE_FIELDS}
_DESCRIPTION = _BY_NAME["description"].key


class NotNotes(ValueError):
    """A file that is not a notes file.

    Attributes:
        reason: The end of a sentence, without a period.
    """

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


def read_notes_file(path: Path) -> bytes | None:
    """Read a notes file without parsing it.

    Returns:
        Its bytes; None if there is no such file.

    Raises:
        UnreadableFile: It is too large, or cannot be read.
    """
    try:
        data = read_regular_file(path, MAX_SIZE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFile(cannot_read(path.name, error)) from error
    if len(data) > MAX_SIZE:
        raise UnreadableFile(msg('"{name}" is larger than {limit} KB.', name=path.name, limit=MAX_SIZE // 1024))
    return data


def parse_notes(data: bytes) -> Notes:
    """Parse a notes file. Values of the wrong type are ignored.

    Raises:
        NotNotes: It is not a JSON object.
    """
    values = _parse_object(data)
    found: dict[str, Any] = {}
    for each in NOTE_FIELDS:
        value = values.get(each.key)
        if each.is_number:
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_SIZE:
                found[each.name] = float(value)
        elif isinstance(value, str):
            found[each.name] = value
    return Notes(**found)


def check_changes(changes: Mapping[str, object]) -> dict[str, Any]:
    """Check new values of fields.

    Args:
        changes: New values by the names of fields in `Notes`.

    Returns:
        The same values by the keys of the JSON file.

    Raises:
        InvalidInput: There is no such field, or a value has the wrong type or size.
    """
    checked: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in _BY_NAME:
            raise InvalidInput(
                msg('Notes have no field "{name}".', name=name), msg("Use one of {names}.", names=joined(_BY_NAME))
            )
        each = _BY_NAME[name]
        checked[each.key] = _check_weight(value) if each.is_number else _check_text(name, value)
    return checked


def has_description(data: bytes) -> bool:
    """Whether a notes file has a description, even an empty one. Raises NotNotes if it is not a JSON object."""
    return isinstance(_parse_object(data).get(_DESCRIPTION), str)


def read_description(path: Path) -> str:
    """Read the description from a text file, as the WebUI does; empty if there is none, or if it cannot be read."""
    try:
        return (read_notes_file(path) or b"").decode("utf-8-sig", "replace")[:MAX_TEXT].strip()
    except UnreadableFile as error:
        logger.info("A description is not shown: %s", error)
        return ""


def edit_notes_file(data: bytes | None, changes: Mapping[str, Any], file_name: str, shown: str = "") -> bytes | None:
    """Change values in a notes file, and keep all its other keys.

    Args:
        data: The bytes of the file; None if there is none.
        changes: New values by the keys of the file, as `check_changes` returns them.
        file_name: The name of the file, for messages.
        shown: The description from elsewhere that is shown if the file has none. If a change empties the description, the
            empty text is written, because otherwise this one would still be shown.

    Returns:
        The new bytes; None if nothing is to be written.

    Raises:
        UnreadableFile: The file holds something else, which is kept.
    """
    try:
        values = {} if data is None else _parse_object(data)
    except NotNotes as error:
        raise UnreadableFile(
            msg('"{name}" was not changed, because it is not a notes file: {reason}.', name=file_name, reason=error.reason),
            msg("Move it away, then try again."),
        ) from error
    new = {key: value for key, value in changes.items() if key in values or value or (key == _DESCRIPTION and shown)}
    if _DESCRIPTION not in values and shown and new.get(_DESCRIPTION) == shown:
        del new[_DESCRIPTION]
    if all(key in values and values[key] == value for key, value in new.items()):
        return None
    return json.dumps({**values, **new}, indent=4, ensure_ascii=False).encode("utf-8", "replace")


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        values: object = json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise NotNotes(msg("it is nested too deeply")) from error
    except ValueError as error:
        raise NotNotes(msg("it is not valid JSON ({details})", details=error)) from error
    if not isinstance(values, dict):
        raise NotNotes(msg("it is not a JSON object"))
    return cast("dict[str, Any]", values)


def _check_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(msg('"{name}" must be text, not {type}.', name=name, type=type(value).__name__))
    if len(value) > MAX_TEXT:
        raise InvalidInput(
            msg(
                '"{name}" has {length} characters; at most {limit} are allowed.',
                name=_BY_NAME[name].label,
                length=len(value),
                limit=MAX_TEXT,
            )
        )
    return value


def _check_weight(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MAX_WEIGHT:  # also NaN
        raise InvalidInput(
            msg(
                "The preferred weight is {value}; it must be a number from -{limit} to {limit}.",
                value=repr(value),
                limit=MAX_WEIGHT,
            )
        )
    return float(value)
