"""Content of an embedding file, between its container (torch file, safetensors, image) and its layout (which keys)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from train_embedding.embeddings.format_names import FormatName
from train_embedding.errors import UnreadableFile
from train_embedding.messages import NOTHING, Message, map_values, msg, verbatim

MAX_FILE_SIZE = 32 * 2**20
"Bytes. 75 vectors for SDXL take 0.6 MB, and somewhat more in an image."
MAX_TENSORS = 1000
"An embedding has one or two. Files with very many take long to read."
MAX_DIMENSIONS = 8
"Of a tensor; those of embeddings have two."

_MAX_NAME, _MAX_REASON = 100, 160
"Characters of a name and of an error message of a library: a malicious file can make them as long as itself."
_JOINERS = "\u200c\u200d"
"Format characters that scripts and emoji need. They do not change the direction of text."


@dataclass(frozen=True)
class Content:
    """Values and metadata of a file."""

    values: Mapping[str, object]
    "Tensors by key; in the WebUI's layout, dictionaries of tensors."
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    "Metadata; for containers without a separate place for it, all values again."
    format: FormatName | None = None
    "The format, if the container alone determines it."


def unreadable(file: str, reason: Message, hint: Message = NOTHING) -> UnreadableFile:
    """Return the error for a file that cannot be read.

    Args:
        file: Name of the file.
        reason: The rest of a sentence that begins with the name, with its period. Texts from the file in it are shortened and
            made printable.
        hint: What to do.
    """
    return UnreadableFile(msg('"{file}" {reason}', file=shown(file), reason=map_values(reason, _shown_value)), hint)


def bounded(text: str, limit: int) -> str:
    """Shorten a text in the middle if it has more characters than the limit."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def shown(name: str) -> str:
    """Return a name as messages show it: shortened, and without characters that break or reverse a line."""
    return printable(bounded(name, _MAX_NAME))


def printable(text: str) -> str:
    """Escape control characters, direction marks and lone surrogates in a text."""
    return "".join(_escaped(character) if _is_odd(character) else character for character in text)


def reason_of(error: Exception) -> Message:
    """Return the reason of an error as the end of a sentence, without a period.

    Args:
        error: One of the errors of this package, or of a library, of which the first line is used.
    """
    reason = getattr(error, "reason", None)
    if isinstance(reason, Message):
        return reason
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return verbatim(line.rstrip(".") if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]}…")


def _shown_value(text: str) -> str:
    return printable(bounded(text, 2 * _MAX_REASON))


def _is_odd(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}"
