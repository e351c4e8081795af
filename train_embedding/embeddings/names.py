"""Names of embeddings: the stem of the file, which is also the trigger word in prompts."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from train_embedding.errors import InvalidName
from train_embedding.messages import NOTHING, Message, msg, verbatim

MAX_CHARACTERS = 100
MAX_BYTES = 220
"In UTF-8. File systems allow 255, which must also hold the suffix and, in the trash, the time of deletion."
FORBIDDEN = '/\\()[]{}<>:|,"*?'
"Characters that have a meaning in prompts or in paths."

_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"] + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
_BIDIRECTIONAL = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


def check_name(name: object) -> None:
    """Check that a name can be a file name on every system and a word in a prompt.

    Raises:
        InvalidName: It cannot; names are never changed.
    """
    if not isinstance(name, str):
        raise InvalidName(msg("The name must be text, not {type}.", type=type(name).__name__))
    if not name.strip():
        raise InvalidName(msg("The name is empty."), msg("Enter the word that will trigger the embedding in prompts."))
    if len(name) > MAX_CHARACTERS:
        raise InvalidName(
            msg("The name has {length} characters; at most {limit} are allowed.", length=len(name), limit=MAX_CHARACTERS)
        )
    for character in name:
        _check_character(name, character)
    size = len(name.encode())
    if size > MAX_BYTES:
        raise InvalidName(
            msg('The name "{name}" takes {size} bytes in UTF-8; at most {limit} fit in a file name.',
                name=name, size=size, limit=MAX_BYTES)
        )  # fmt: skip
    _check_ends(name)
    if name.split(".")[0].rstrip().casefold() in _RESERVED:
        raise InvalidName(msg('The name "{name}" is reserved by Windows.', name=name), msg("Choose another name."))


def path_for(folder: Path, name: str, suffix: str) -> Path:
    """Return the path of the embedding file with a name.

    Raises:
        InvalidName: The name is not valid, or the path is a link that leads outside the folder.
    """
    check_name(name)
    path = folder / f"{name}{suffix}"
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a link to itself
        raise InvalidName(link_cannot_be_followed(path, error)) from error
    if not inside:
        raise InvalidName(link_leads_outside(path), msg("Choose another name."))
    return path


def link_cannot_be_followed(path: Path, error: Exception) -> Message:
    """Say that a link has no target that can be found, such as a link to itself."""
    return msg('"{file}" is a link that cannot be followed: {error}.', file=path.name, error=verbatim(str(error)))


def link_leads_outside(path: Path) -> Message:
    """Say that a link leads outside the embeddings folder."""
    return msg('"{file}" is a link that leads outside the embeddings folder.', file=path.name)


def composed(name: str) -> str:
    """Return the name in NFC, as CLIP's tokenizer reads it: "é" is one character, not "e" and an accent."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return the form that two names share if they are the same word in a prompt: NFC and case-folded."""
    return composed(composed(name).casefold())


def is_spelled_like(name: str, other: str) -> bool:
    """Return whether two different names look the same because they differ in Unicode normalization only."""
    return name != other and composed(name) == composed(other)


def did_you_mean(name: str, names: Iterable[str]) -> Message:
    """Suggest the known name closest to an unknown one: the same in another case, or a similar one.

    Args:
        name: The name that was not found.
        names: The names that exist.

    Returns:
        A question such as 'Did you mean "my-cat"?', or nothing if no name is similar.
    """
    known = sorted(set(names))
    key = folded(name)
    similar = [other for other in known if folded(other) == key] or difflib.get_close_matches(name, known, 1)
    return msg('Did you mean "{name}"?', name=similar[0]) if similar else NOTHING


def _check_character(name: str, character: str) -> None:
    if character in FORBIDDEN:
        raise InvalidName(
            msg("The name \"{name}\" contains '{character}', which has a meaning in prompts or in paths.",
                name=name, character=character)
        )  # fmt: skip
    # Format characters stay allowed: the zero-width joiner is part of many emoji.
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDIRECTIONAL:
        raise InvalidName(msg("The name contains the control character {code}.", code=f"U+{ord(character):04X}"))


def _check_ends(name: str) -> None:
    if name != name.strip():
        raise InvalidName(msg('The name "{name}" begins or ends with a space.', name=name))
    if name[0] in ".-":
        raise InvalidName(msg("The name \"{name}\" begins with '{character}'.", name=name, character=name[0]))
    if name.endswith("."):
        raise InvalidName(msg('The name "{name}" ends with a period.', name=name))
    if name.casefold().endswith(".preview"):
        raise InvalidName(msg('The name "{name}" ends with ".preview", which is reserved for preview images.', name=name))
