"""CLIP's tokenizer from the package's own files."""

from __future__ import annotations

import pytest

from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, START_OF_TEXT, clip_tokenizer, token_ids, token_text
from train_embedding.errors import InvalidInput


def test_known_ids() -> None:
    """As OpenAI's own tokenizer gives them."""
    assert token_ids("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert token_ids("Hello, World!") == [3306, 267, 1002, 256]
    assert token_ids("") == []


def test_no_limit_and_no_ends() -> None:
    ids = token_ids("cat " * 100)
    assert ids == [2368] * 100


def test_answers_are_copies() -> None:
    token_ids("a star").clear()
    assert len(token_ids("a star")) == 2


def test_special_tokens() -> None:
    tokenizer = clip_tokenizer()
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, len(tokenizer)) == (START_OF_TEXT, END_OF_TEXT, 49408)


def test_a_tokens_text() -> None:
    assert [token_text(token) for token in token_ids("artstation cat 😀")] == ["art…", "station", "cat", "😀"]
    assert [token_text(token) for token in token_ids("猫")] == ["\\xe7…", "\\x8c…", "\\xab"]
    assert token_text(END_OF_TEXT) == "<|endoftext|>"
    assert token_text(0) == "!…"
    assert all(text.isprintable() and text and " " not in text for text in map(token_text, range(49408)))


def test_halves_of_characters_are_refused() -> None:
    """Python makes them of a terminal's bytes that are not UTF-8."""
    with pytest.raises(InvalidInput, match="no character"):
        token_ids("caf\udce9")
