"""Which texts are one token of CLIP's vocabulary: asked of thousands of names at once, without building the tokenizer."""

from __future__ import annotations

import json
import unicodedata
from functools import cache, lru_cache

from train_embedding.engine.prompts.tokenizer import FOLDER

_END_OF_WORD = "</w>"
_CONTRACTIONS = frozenset(("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"))


@lru_cache(maxsize=2**16)
def is_one_token(text: str) -> bool:
    """Whether CLIP reads a text as a single token, as it does ordinary words, whatever their case."""
    word = unicodedata.normalize("NFC", text.strip().lower())
    return _is_one_piece(word) and "".join(map(_byte_names().__getitem__, word.encode("utf-8", "surrogatepass"))) in _words()


def in_vocabulary(text: str) -> bool:
    """Whether a text is an entry of CLIP's vocabulary as it is written there: the beginning of a word, or one with its mark."""
    return text in _vocabulary()


def _is_one_piece(word: str) -> bool:
    """Whether CLIP's pattern leaves it whole: letters alone, one digit, signs alone, or 's and the like."""
    if word.isalpha() or word in _CONTRACTIONS:
        return True
    kinds = {unicodedata.category(character)[0] for character in word}
    return (kinds == {"N"} and len(word) == 1) or (bool(word) and not kinds & {"L", "N", "Z"})


@cache
def _vocabulary() -> frozenset[str]:
    vocabulary: dict[str, int] = json.loads((FOLDER / "vocab.json").read_text(encoding="utf-8"))
    return frozenset(vocabulary)


@cache
def _words() -> frozenset[str]:
    return frozenset(token.removesuffix(_END_OF_WORD) for token in _vocabulary() if token.endswith(_END_OF_WORD))


@cache
def _byte_names() -> dict[int, str]:
    """The character that the vocabulary writes for each byte: itself where it can be printed, else one from U+0100 on (GPT-2)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printed]
    return {**{byte: chr(byte) for byte in printed}, **{byte: chr(0x100 + number) for number, byte in enumerate(others)}}
