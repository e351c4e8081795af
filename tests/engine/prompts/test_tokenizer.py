"""CLIP's tokenizer from the package's own files."""

from __future__ import annotations

import random

import pytest

from train_embedding.engine.prompts import tokenizer
from train_embedding.engine.prompts.tokenizer import (
    END_OF_TEXT,
    START_OF_TEXT,
    clip_tokenizer,
    is_one_token,
    token_ids,
    token_text,
)
from train_embedding.errors import InvalidInput

SINGLE_TOKENS = ["tree", "Tree", " art ", "1", "'s", "--", "!!!", "😀", "…", "_", "é", "e\u0301", "\u200b", "🤷🏻\u200d♀️"]
OTHER_TEXTS = ["my-cat", "tree house", "sksword", "a1", "12", "it's", "a_b", "über", "أحمر", "x" * 100, "", " ", "\ud800"]


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
    with pytest.raises(InvalidInput, match="not characters"):
        token_ids("caf\udce9")


@pytest.mark.parametrize("text", SINGLE_TOKENS)
def test_one_token(text: str) -> None:
    assert is_one_token(text)


@pytest.mark.parametrize("text", OTHER_TEXTS)
def test_none_or_several(text: str) -> None:
    assert not is_one_token(text)


def test_words_of_the_vocabulary() -> None:
    """A sample; all 34,359 of them were compared once."""
    words = (token.removesuffix("</w>") for token in tokenizer._vocabulary() if token.endswith("</w>"))
    of_letters = sorted(word for word in words if word.isascii() and word.isalpha())
    assert all(len(token_ids(word)) == 1 and is_one_token(word) for word in random.Random(0).sample(of_letters, 500))


def test_texts_of_ascii_letters() -> None:
    texts = ["sks", "sksword", "mycat", "artstation", "greg", "rutkowski", "qzx", "Photo"]
    assert [is_one_token(text) for text in texts] == [len(token_ids(text)) == 1 for text in texts]
