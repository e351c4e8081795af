"""CLIP's tokenizer, from files that come with the package; one vocabulary serves every Stable Diffusion text encoder."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.errors import InvalidInput

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

FOLDER = Path(__file__).parent / "tokenizer_files"
START_OF_TEXT = 49406
END_OF_TEXT = 49407


@lru_cache(maxsize=1)
def clip_tokenizer() -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(str(FOLDER / "vocab.json"), str(FOLDER / "merges.txt"), model_max_length=77)


@lru_cache(maxsize=4096)
def _token_ids(text: str) -> tuple[int, ...]:
    return tuple(clip_tokenizer()(text, add_special_tokens=False, verbose=False)["input_ids"])


def token_ids(text: str) -> list[int]:
    """The token ids of a text, without start and end, however long. Raises InvalidInput for halves of characters.

    Python makes such halves of bytes that are not UTF-8, from a terminal or in a file's name.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        hint = "Type it anew, in a terminal that uses UTF-8."
        raise InvalidInput("The text holds something that is no character.", hint) from error
    return list(_token_ids(text))


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[str, ...]:
    ids: dict[str, int] = json.loads((FOLDER / "vocab.json").read_text(encoding="utf-8"))
    return tuple(sorted(ids, key=ids.__getitem__))


@lru_cache(maxsize=1)
def _byte_of() -> dict[str, int]:
    """The byte that each letter of the vocabulary stands for: printable ones for themselves, the others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


@lru_cache(maxsize=2**16)
def token_text(token: int) -> str:
    r"""What a token stands for; one that a word goes on after ends with "…". Bytes that are no whole letter stand as \xNN, and
    letters that cannot be seen likewise."""
    if token in (START_OF_TEXT, END_OF_TEXT):
        return _vocabulary()[token]
    written = _vocabulary()[token]
    word = written.removesuffix("</w>")
    text = bytes(_byte_of()[letter] for letter in word).decode("utf-8", "backslashreplace")
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text).replace(" ", "\\x20")
    return text if word != written else text + "…"
