"""Chunks of 75, beside what WebUI 1.10.1's own code made of the same prompts (webui_prompts.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.engine.prompts.chunking import ChunkedPrompt, EmbeddingNames, chunk_prompt
from train_embedding.engine.prompts.encoding import PromptTokenizer
from train_embedding.engine.prompts.splicing import VectorRows

MADE = json.loads((Path(__file__).parent / "webui_prompts.json").read_text(encoding="utf-8"))
CASES = MADE["laid_out"]


@pytest.fixture(scope="module")
def names() -> EmbeddingNames:
    return EmbeddingNames(MADE["embeddings"])


def as_webui(layout: ChunkedPrompt) -> list[dict[str, Any]]:
    """The chunks as the file of expectations has them: a vector's place holds id 0."""
    chunks: list[dict[str, Any]] = []
    for chunk in layout.chunks:
        weights: list[list[float]] = []
        for token in chunk.tokens:
            weight = round(token.weight, 6)
            if weights and weights[-1][0] == weight:
                weights[-1][1] += 1
            else:
                weights.append([weight, 1])
        found = [[place, token.embedding] for place, token in enumerate(chunk.tokens) if token.vector == 0]
        chunks.append({"ids": [token.id or 0 for token in chunk.tokens], "weights": weights, "embeddings": found})
    return chunks


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_a_prompt_is_laid_out_as_in_the_webui(case: dict[str, Any], names: EmbeddingNames) -> None:
    layout = chunk_prompt(case["prompt"], names, case["backtrack"])
    assert layout.count == case["count"]
    if any("loses" in note for note in layout.notes):  # there its list still names the embedding, where its place was
        for chunk in case["chunks"]:
            chunk["embeddings"] = [one for one in chunk["embeddings"] if one[0] < len(chunk["ids"])]
    assert as_webui(layout) == case["chunks"]


def test_an_embedding_that_the_webui_loses_is_pointed_out(names: EmbeddingNames) -> None:
    layout = chunk_prompt("word " * 60 + ", my-cat " + "red " * 15, names)
    assert [note for note in layout.notes if '"my-cat"' in note]
    assert not any(token.embedding for chunk in layout.chunks for token in chunk.tokens)


def test_words_vectors_and_what_is_free(names: EmbeddingNames) -> None:
    (chunk,) = chunk_prompt("a my-cat", names).chunks
    assert [(token.text, token.id, token.vector) for token in chunk.tokens[:2]] == [("a", 320, None), ("my-cat", None, 0)]
    assert (len(chunk.tokens), chunk.free) == (5, CHUNK - 5)


def test_a_break_inside_brackets_is_a_word(names: EmbeddingNames) -> None:
    layout = chunk_prompt("(a BREAK b:1.2)", names)
    assert len(layout.chunks) == 1
    assert layout.notes[0].startswith("BREAK inside weighted brackets")


def test_a_name_without_tokens_is_never_found() -> None:
    assert chunk_prompt("a b", EmbeddingNames([("", 3), (" ", 2)])).count == 2


@pytest.mark.parametrize("prompt", ["a photo of a house", "a red my-cat on sixteen chairs", "word " * 80, "sixteen " * 5])
def test_a_plain_prompt_is_laid_out_as_the_engine_draws_it(prompt: str) -> None:
    vectors = {"my-cat": 4, "sixteen": 16}
    drawn = PromptTokenizer([(name, VectorRows(0, count)) for name, count in vectors.items()]).tokenize(prompt).tokens
    chunks = chunk_prompt(prompt, EmbeddingNames(vectors.items())).chunks
    assert [[token.id or 0 for token in chunk.tokens] for chunk in chunks] == [
        [token for token, _slot in chunk] for chunk in drawn
    ]
