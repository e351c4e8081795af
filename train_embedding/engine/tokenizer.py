"""CLIP's tokenizer, from files that come with the package; one vocabulary serves every Stable Diffusion text encoder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

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
    """The token ids of a text, without start and end, however long."""
    return list(_token_ids(text))
