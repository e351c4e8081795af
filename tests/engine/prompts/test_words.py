"""Words of CLIP's vocabulary are told as the tokenizer tells them."""

from __future__ import annotations

import random

import pytest

from train_embedding.engine.prompts import words
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.engine.prompts.words import is_one_token

ONE = ["tree", "Tree", " art ", "1", "'s", "--", "!!!", "😀", "…", "_", "é", "e\u0301", "\u200b", "🤷🏻\u200d♀️"]
MORE = ["my-cat", "tree house", "sksword", "a1", "12", "it's", "a_b", "über", "أحمر", "x" * 100, "", " ", "\ud800"]


@pytest.mark.parametrize("text", ONE)
def test_one_token(text: str) -> None:
    assert is_one_token(text)


@pytest.mark.parametrize("text", MORE)
def test_none_or_several(text: str) -> None:
    assert not is_one_token(text)


def test_words_of_the_vocabulary() -> None:
    """A sample; all 34,359 of them were compared once."""
    of_letters = sorted(word for word in words._words() if word.isascii() and word.isalpha())
    assert all(len(token_ids(word)) == 1 and is_one_token(word) for word in random.Random(0).sample(of_letters, 500))


def test_texts_of_ascii_letters() -> None:
    texts = ["sks", "sksword", "mycat", "artstation", "greg", "rutkowski", "qzx", "Photo"]
    assert [is_one_token(text) for text in texts] == [len(token_ids(text)) == 1 for text in texts]
