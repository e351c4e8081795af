"""What an embedding file holds, between its container (torch file, safetensors, picture) and its layout (which keys)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from train_embedding.embeddings.format_names import FormatName
from train_embedding.errors import UnreadableFile

MAX_FILE_SIZE = 32 * 2**20
"Bytes; 75 vectors for SDXL take 0.6 MB, and a picture that carries them some more."
MAX_TENSORS = 1000
"An embedding has one or two; with more, even naming them all takes time."
MAX_DIMENSIONS = 8
"Of a tensor; an embedding's has two."

_SHOWN, _TOLD, _LONGEST_REASON = 100, 160, 300
"Characters of a name, of what a library says, and of a reason: a file can make any of them as long as itself."
_JOINERS = "\u200c\u200d"
"Format characters that scripts and emoji need, and that do not turn a line."


@dataclass(frozen=True)
class Content:
    """The values of a file under their keys, and what stands beside them."""

    values: Mapping[str, object]
    "Tensors, and in the WebUI's layout a dictionary of them."
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    "What the file says about itself; where a container has no place apart for that, its values once more."
    format: FormatName | None = None
    "The name of the format where the container alone decides it."


def unreadable(file: str, reason: str, hint: str = "") -> UnreadableFile:
    """A refusal: one sentence, on one line, that begins with the file's name. reason: what follows it, with its full stop."""
    return UnreadableFile(f'"{shown(file)}" {printable(bounded(reason, _LONGEST_REASON))}', hint)


def bounded(text: str, limit: int) -> str:
    """The text, shortened in its middle to so many characters where it is longer."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def shown(file: str) -> str:
    """A file's name as a sentence can hold it: shortened in its middle, and without what would break or turn the line."""
    return printable(bounded(file, _SHOWN))


def printable(text: str) -> str:
    """The text with control characters, marks of direction and lone surrogates written as their numbers."""
    return "".join(_escaped(character) if _is_odd(character) else character for character in text)


def first_line(error: Exception) -> str:
    """What an error of a library says, for the end of a sentence."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{line.rstrip('.') if len(line) <= _TOLD else line[:_TOLD] + '…'}."


def _is_odd(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}"
