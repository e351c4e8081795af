"""Tokens of embeddings in SD.Next's tokenizers and tables: with those of transformers 5, which SD.Next needs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.prompts.tokenizer import clip_tokenizer
from train_embedding.hosts.sdnext.tokens import added_embeddings, added_tokens, remove_tokens, tokens_of

pytestmark = pytest.mark.skipif(int(transformers.__version__.split(".")[0]) < 5, reason="SD.Next needs transformers 5")
WIDTH = 4


@dataclass
class Encoder:
    """As `hosts.sdnext.model.Encoder`, which can be imported in SD.Next only."""

    key: str
    module: Any
    tokenizer: Any


@pytest.fixture
def tokenizer() -> Any:
    return copy.deepcopy(clip_tokenizer())


@pytest.fixture
def encoder(tokenizer: Any) -> Encoder:
    layer = torch.nn.Embedding(49408, WIDTH)
    return Encoder("clip_l", SimpleNamespace(get_input_embeddings=lambda: layer), tokenizer)


def load(tokenizer: Any, name: str, vectors: int) -> None:
    """What SD.Next does with a file."""
    from transformers import AddedToken

    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens_of(name, vectors)])


def ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def rows(encoder: Encoder, pipe: Any, text: str) -> torch.Tensor:
    numbers = ids(pipe.tokenizer, text)
    return encoder.module.get_input_embeddings()(torch.tensor(numbers)).detach()


def test_a_removed_token_is_text_again_and_the_others_keep_their_ids(tokenizer: Any) -> None:
    plain = ids(tokenizer, "a zork_1 b")
    load(tokenizer, "zork", 3)
    load(tokenizer, "blub", 1)
    assert ids(tokenizer, "zork zork_1 zork_2 blub") == [49408, 49409, 49410, 49411]
    remove_tokens(tokenizer, {"zork", "zork_1", "zork_2", "unknown"})
    assert ids(tokenizer, "a zork_1 b") == plain
    assert ids(tokenizer, "blub") == [49411]
    assert {"zork", "zork_1"}.isdisjoint(added_tokens(tokenizer))
    load(tokenizer, "zork", 1)
    assert ids(tokenizer, "zork") == [49412], "and it can be loaded again"


def test_vectors_are_used_for_the_time_of_an_image(encoder: Encoder) -> None:
    pipe = SimpleNamespace(tokenizer=encoder.tokenizer)
    layer = encoder.module.get_input_embeddings()
    table, before = layer.weight, layer.weight.detach().clone()
    vectors = torch.arange(2.0 * WIDTH).reshape(2, WIDTH)
    with added_embeddings([encoder], pipe, [Embedding("zork", {"clip_l": vectors})]):
        assert torch.equal(rows(encoder, pipe, "zork zork_1"), vectors)
        assert torch.equal(rows(encoder, pipe, "red"), before[ids(encoder.tokenizer, "red")])
    assert layer.weight is table
    assert pipe.tokenizer is encoder.tokenizer
    assert not added_tokens(encoder.tokenizer)
    assert torch.equal(table, before)


def test_they_take_precedence_over_a_file_of_that_name_with_more_vectors(encoder: Encoder) -> None:
    load(encoder.tokenizer, "zork", 3)
    load(encoder.tokenizer, "blub", 1)
    layer = torch.nn.Embedding(49412, WIDTH)
    encoder.module = SimpleNamespace(get_input_embeddings=lambda: layer)
    pipe = SimpleNamespace(tokenizer=encoder.tokenizer)
    with added_embeddings([encoder], pipe, [Embedding("zork", {"clip_l": torch.ones(1, WIDTH)})]):
        assert torch.equal(rows(encoder, pipe, "zork"), torch.ones(1, WIDTH))
        assert {"zork_1", "zork_2"}.isdisjoint(added_tokens(pipe.tokenizer)), "SD.Next would append these to the prompt"
        assert torch.equal(rows(encoder, pipe, "blub"), layer.weight[49411:].detach()[:1])
    assert added_tokens(encoder.tokenizer) == {"zork": 49408, "zork_1": 49409, "zork_2": 49410, "blub": 49411}


def test_the_tokens_are_restored_after_an_error(encoder: Encoder) -> None:
    pipe = SimpleNamespace(tokenizer=encoder.tokenizer)
    table = encoder.module.get_input_embeddings().weight
    with (
        pytest.raises(ZeroDivisionError),
        added_embeddings([encoder], pipe, [Embedding("zork", {"clip_l": torch.ones(1, WIDTH)})]),
    ):
        raise ZeroDivisionError
    assert pipe.tokenizer is encoder.tokenizer
    assert encoder.module.get_input_embeddings().weight is table
