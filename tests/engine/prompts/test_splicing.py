"""Prompts as chunks of tokens with slots, and the splice that puts vectors into them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.engine.prompts.splicing import (
    PLACEHOLDER_ID,
    PromptBatch,
    VectorRows,
    batch_prompts,
    splice_vectors,
    tokenize_pieces,
)
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, START_OF_TEXT, clip_tokenizer


def batch_of(*prompts: Sequence[str | VectorRows]) -> PromptBatch:
    return batch_prompts([tokenize_pieces(pieces) for pieces in prompts])


@pytest.mark.parametrize("text", ["", "a big red star on a navy background", "Ünïcode, (weird:1.2) tokens!!", "the " * 75])
def test_ids_are_those_of_the_tokenizer(text: str) -> None:
    expected = clip_tokenizer()(text, padding="max_length", max_length=77)["input_ids"]
    batch = batch_of([text])
    assert batch.ids.tolist() == [[expected]]
    assert batch.slots.eq(-1).all()


def test_ends_of_a_chunk() -> None:
    ids = batch_of(["the " * 75]).ids[0, 0]
    assert (int(ids[0]), int(ids[76]), int((ids == END_OF_TEXT).sum())) == (START_OF_TEXT, END_OF_TEXT, 1)


@pytest.mark.parametrize(("words", "chunks"), [(0, 1), (75, 1), (76, 2), (150, 2), (151, 3)])
def test_chunks_of_75_tokens(words: int, chunks: int) -> None:
    assert batch_of(["the " * words]).ids.shape == (1, chunks, 77)


def test_nothing_is_lost_between_chunks() -> None:
    words = [f"word{number}" for number in range(60)]
    whole = [token for chunk in tokenize_pieces([" ".join(words)]) for token, _slot in chunk]
    assert whole == clip_tokenizer()(" ".join(words), add_special_tokens=False, verbose=False)["input_ids"]


def test_shorter_prompts_are_filled_with_empty_chunks() -> None:
    batch = batch_of(["the " * 80], ["a star"])
    assert batch.ids.shape == (2, 2, 77)
    assert batch.ids[1, 1].tolist() == [START_OF_TEXT] + [END_OF_TEXT] * 76


def test_slots_of_an_embedding() -> None:
    batch = batch_of(["a", VectorRows(2, 3), "star"])
    ids, slots = batch.ids[0, 0].tolist(), batch.slots[0, 0].tolist()
    assert slots[:7] == [-1, -1, 2, 3, 4, -1, -1]
    assert ids[2:5] == [PLACEHOLDER_ID] * 3
    assert [ids[1], ids[5]] == clip_tokenizer()("a star", add_special_tokens=False)["input_ids"]
    assert PLACEHOLDER_ID < END_OF_TEXT


@pytest.mark.parametrize(("before", "where"), [(72, (0, 72)), (73, (1, 0)), (75, (1, 0))])
def test_an_embedding_is_never_split(before: int, where: tuple[int, int]) -> None:
    batch = batch_of(["the " * before, VectorRows(0, 3), "star"])
    chunk, first = where
    assert batch.ids.shape == (1, 2, 77)
    assert batch.slots[0, chunk, 1 + first : 4 + first].tolist() == [0, 1, 2]
    assert int((batch.slots >= 0).sum()) == 3
    if chunk:
        assert batch.ids[0, 0, 1 + before :].eq(END_OF_TEXT).all()


def test_the_largest_embedding_fills_a_chunk() -> None:
    batch = batch_of(["a", VectorRows(0, CHUNK), "star"])
    assert batch.ids.shape == (1, 3, 77)
    assert batch.slots[0, 1].tolist() == [-1, *range(CHUNK), -1]


def embedding_and_slots() -> tuple[nn.Embedding, torch.Tensor, torch.Tensor]:
    embedding = nn.Embedding(10, 4)
    ids = torch.tensor([[1, 0, 0, 2], [3, 3, 0, 3]])
    slots = torch.tensor([[-1, 0, 1, -1], [-1, -1, 1, -1]])
    return embedding, ids, slots


def test_the_splice_changes_slots_and_nothing_else() -> None:
    embedding, ids, slots = embedding_and_slots()
    table = torch.randn(2, 4)
    plain = embedding(ids)
    with splice_vectors(embedding, slots, table):
        output = embedding(ids)
    assert torch.equal(output[0, 1], table[0])
    assert torch.equal(output[0, 2], table[1])
    assert torch.equal(output[1, 2], table[1])
    assert torch.equal(output[slots < 0], plain[slots < 0])
    assert torch.equal(embedding(ids), plain)


def test_gradients_reach_the_table_and_nothing_else() -> None:
    embedding, ids, slots = embedding_and_slots()
    embedding.requires_grad_(False)
    table = torch.randn(3, 4, requires_grad=True)
    with splice_vectors(embedding, slots, table):
        embedding(ids).sum().backward()
    assert table.grad is not None
    assert table.grad[:, 0].tolist() == [1, 2, 0]  # row 1 stands in two places, row 2 in none
    assert embedding.weight.grad is None


def test_the_table_takes_the_type_of_the_output() -> None:
    embedding, ids, slots = embedding_and_slots()
    with splice_vectors(embedding.half(), slots, torch.randn(2, 4)):
        assert embedding(ids).dtype == torch.float16


def test_the_hook_goes_whatever_happens() -> None:
    embedding, ids, slots = embedding_and_slots()
    plain = embedding(ids)
    with pytest.raises(RuntimeError, match="boom"), splice_vectors(embedding, slots, torch.zeros(2, 4)):
        raise RuntimeError("boom")
    assert torch.equal(embedding(ids), plain)
    assert not embedding._forward_hooks
