"""Names of embeddings: the file's stem, which is also the word that calls the embedding in a prompt."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from train_embedding.errors import InvalidName

MAX_CHARACTERS = 100
MAX_BYTES = 220
"UTF-8 bytes; file systems allow 255, which also has to hold the suffix and, in the trash folder, the time."
FORBIDDEN = '/\\()[]{}<>:|,"*?'
"What the prompt syntax or a file system would eat."

_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"] + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
_BIDIRECTIONAL = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


def check_name(name: object) -> None:
    """Refuses what cannot be a file name on every system and a word in a prompt. Raises InvalidName, never rewrites."""
    if not isinstance(name, str):
        raise InvalidName(f"An embedding's name must be text, not {type(name).__name__}.")
    if not name.strip():
        raise InvalidName("The name is empty.", "Type the word that shall call the embedding in a prompt.")
    if len(name) > MAX_CHARACTERS:
        raise InvalidName(f"The name has {len(name)} characters; at most {MAX_CHARACTERS} are allowed.")
    for character in name:
        _check_character(name, character)
    size = len(name.encode())
    if size > MAX_BYTES:
        raise InvalidName(f'The name "{name}" takes {size} bytes in UTF-8; at most {MAX_BYTES} fit into a file name.')
    _check_ends(name)
    if name.split(".")[0].rstrip().casefold() in _RESERVED:
        raise InvalidName(f'The name "{name}" is reserved by Windows.', "Choose another.")


def path_for(folder: Path, name: str, suffix: str) -> Path:
    """The file of that name in `folder`. Raises InvalidName for a bad name, and where links would lead outside."""
    check_name(name)
    path = folder / f"{name}{suffix}"
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a link to itself
        raise InvalidName(f'The file "{path.name}" is a link that cannot be followed: {error}.') from error
    if not inside:
        raise InvalidName(f'The file "{path.name}" is a link that leads outside the embeddings folder.', "Choose another name.")
    return path


def composed(name: str) -> str:
    """The name with accents composed, as CLIP's tokenizer reads it: "é" as one character, not as "e" and an accent (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """The same for names that are the same word in a prompt: CLIP reads composed letters, in lower case."""
    return composed(composed(name).casefold())


def is_spelled_like(name: str, other: str) -> bool:
    """Whether two different names look the same, since they differ in their Unicode form alone."""
    return name != other and composed(name) == composed(other)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A sentence with the name that comes closest to one that there is not: the same in another case, or a similar one."""
    known = sorted(set(names))
    here = folded(name)
    near = [other for other in known if folded(other) == here] or difflib.get_close_matches(name, known, 1)
    return f'Did you mean "{near[0]}"?' if near else ""


def _check_character(name: str, character: str) -> None:
    if character in FORBIDDEN:
        raise InvalidName(f"The name \"{name}\" contains '{character}', which prompts or file systems use for themselves.")
    # Format characters stay allowed: the zero-width joiner is part of many emoji.
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDIRECTIONAL:
        raise InvalidName(f"The name contains the control character U+{ord(character):04X}.")


def _check_ends(name: str) -> None:
    if name != name.strip():
        raise InvalidName(f'The name "{name}" begins or ends with a space.')
    if name[0] in ".-":
        raise InvalidName(f"The name \"{name}\" begins with '{name[0]}'.")
    if name.endswith("."):
        raise InvalidName(f"The name \"{name}\" ends with '.'.")
    if name.casefold().endswith(".preview"):
        raise InvalidName(f'The name "{name}" ends with ".preview", which marks an embedding\'s preview picture.')
