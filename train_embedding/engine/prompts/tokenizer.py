"""CLIP's tokenizer, loaded from files in the package. All text encoders of Stable Diffusion use the same vocabulary."""

from __future__ import annotations

import json
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

FOLDER = Path(__file__).parent / "tokenizer_files"
"Vocabulary, merges and config in the format of transformers."
START_OF_TEXT = 49406
END_OF_TEXT = 49407
_END_OF_WORD = "</w>"
_CONTRACTIONS = frozenset(("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"))


@lru_cache(maxsize=1)
def clip_tokenizer() -> CLIPTokenizer:
    """Load the tokenizer of transformers."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer(str(FOLDER / "vocab.json"), str(FOLDER / "merges.txt"), model_max_length=77)


@lru_cache(maxsize=4096)
def _token_ids(text: str) -> tuple[int, ...]:
    return tuple(clip_tokenizer()(text, add_special_tokens=False, verbose=False)["input_ids"])


def token_ids(text: str) -> list[int]:
    """Tokenize a text of any length, without the tokens for start and end of text.

    Raises:
        InvalidInput: The text has lone surrogates, which Python uses for bytes that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            msg("The text contains bytes that are not characters."), msg("Enter it again, in a terminal that uses UTF-8.")
        ) from error
    return list(_token_ids(text))


@lru_cache(maxsize=2**16)
def token_text(token: int) -> str:
    r"""Return the text of a token, with "…" if the word continues. Incomplete and invisible characters are written as \xNN."""
    if token in (START_OF_TEXT, END_OF_TEXT):
        return _tokens_by_id()[token]
    written = _tokens_by_id()[token]
    word = written.removesuffix("</w>")
    text = bytes(_byte_of_letter()[letter] for letter in word).decode("utf-8", "backslashreplace")
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    text = text.replace(" ", "\\x20")
    return text if word != written else text + "…"


@lru_cache(maxsize=2**16)
def is_one_token(text: str) -> bool:
    """Return whether a text is a single token of CLIP. Case is ignored.

    It does not need the tokenizer of transformers, and is fast enough for thousands of names.
    """
    word = unicodedata.normalize("NFC", text.strip().lower())
    letters = "".join(map(_letter_of_byte().__getitem__, word.encode("utf-8", "surrogatepass")))
    return _is_one_piece(word) and letters + _END_OF_WORD in _vocabulary()


def in_vocabulary(text: str) -> bool:
    """Return whether a text is an entry of CLIP's vocabulary: the start of a word, or a whole word followed by "</w>"."""
    return text in _vocabulary()


def _is_one_piece(word: str) -> bool:
    """Return whether CLIP's pattern does not split a word: it is letters, one digit, punctuation, or a contraction such as 's."""
    if word.isalpha() or word in _CONTRACTIONS:
        return True
    categories = {unicodedata.category(character)[0] for character in word}
    return (categories == {"N"} and len(word) == 1) or (bool(word) and not categories & {"L", "N", "Z"})


@cache
def _vocabulary() -> dict[str, int]:
    """Load the token ids by their text in the vocabulary file."""
    ids: dict[str, int] = json.loads((FOLDER / "vocab.json").read_text(encoding="utf-8"))
    return ids


@cache
def _tokens_by_id() -> tuple[str, ...]:
    ids = _vocabulary()
    return tuple(sorted(ids, key=ids.__getitem__))


@cache
def _letter_of_byte() -> dict[int, str]:
    """Map each byte to its character in the vocabulary, as in GPT-2: itself if printable, otherwise a character from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(0x100 + place) for place, byte in enumerate(others)}}


@cache
def _byte_of_letter() -> dict[str, int]:
    return {letter: byte for byte, letter in _letter_of_byte().items()}
