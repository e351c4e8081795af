"""Nearest tokens against brute force."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.model import nearest_tokens
from train_embedding.engine.model.nearest_tokens import nearest, vocabulary_norms
from train_embedding.engine.prompts.tokenizer import START_OF_TEXT


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setattr(nearest_tokens, "ROWS", 16)
    return torch.randn(100, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nearest_as_brute_force_finds_it(table: torch.Tensor, dtype: torch.dtype) -> None:
    table = table.to(dtype)
    vectors = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    found = nearest(table, vocabulary_norms(table), vectors, 7)
    cosines = torch.nn.functional.cosine_similarity(vectors[:, None], table.float()[None], dim=-1)  # [5, 100]
    expected = cosines.topk(7)
    assert found.ids == expected.indices.tolist()
    torch.testing.assert_close(torch.tensor(found.cosines), expected.values)


def test_a_token_is_nearest_to_itself_whatever_its_length(table: torch.Tensor) -> None:
    found = nearest(table, vocabulary_norms(table), table[[3, 60]] * 9, 1)
    assert found.ids == [[3], [60]]
    torch.testing.assert_close(torch.tensor(found.cosines), torch.ones(2, 1))


def test_zeros_in_the_vector_and_in_the_table(table: torch.Tensor) -> None:
    table[5] = 0
    found = nearest(table, vocabulary_norms(table), torch.zeros(1, 8), 3)
    assert found.cosines == [[0, 0, 0]]
    assert torch.tensor(nearest(table, vocabulary_norms(table), table[:1], 100).cosines).isfinite().all()


def test_no_more_than_there_are(table: torch.Tensor) -> None:
    assert [len(ids) for ids in nearest(table, vocabulary_norms(table), table[:2], 500).ids] == [100, 100]
    assert nearest(table, vocabulary_norms(table), table[:2], 0).ids == [[], []]


def test_lengths(table: torch.Tensor) -> None:
    lengths = vocabulary_norms(table)
    norms = table.norm(dim=1)
    assert (lengths.mean, lengths.spread) == pytest.approx((float(norms.mean()), float(norms.std(correction=0))))


def test_marks_of_start_and_end_are_no_words() -> None:
    table = torch.zeros(START_OF_TEXT + 2, 2)
    table[:, 0] = 1
    table[START_OF_TEXT:] = torch.tensor([0.0, 5.0])
    lengths = vocabulary_norms(table)
    assert len(lengths.norms) == START_OF_TEXT
    assert nearest(table, lengths, torch.tensor([[0.0, 1.0]]), 1).cosines == [[0.0]]
