"""A prompt as the WebUI reads it, over the library of embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.words import put, vocabulary_host
from train_embedding.errors import InvalidInput
from train_embedding.services.inspection.inspection import Inspection
from train_embedding.services.inspection.prompt_view import MAX_PROMPT
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = vocabulary_host(tmp_path, {"clip_l": 12})
    put(host, "my-cat", {"clip_l": torch.ones(4, 12)})
    put(host, "sixteen", {"clip_l": torch.ones(16, 12)})
    put(host, "wide", {"clip_l": torch.ones(1, 30)})
    put(host, "endless", {"clip_l": torch.ones(76, 12)})
    return host


@pytest.fixture
def inspection(host: FakeHost) -> Inspection:
    return Inspection(host, Library(host))


def test_the_tokens_of_a_prompt(inspection: Inspection) -> None:
    read = inspection.tokenize("a (photo:1.2) of my-cat <lora:x:1> # a note")
    assert (read.count, read.limit, read.remaining) == (7, 75, 68)
    assert (read.embeddings, read.networks, read.notes) == (("my-cat",), ("<lora:x:1>",), ())
    (part,) = read.parts
    tokens = part.chunks[0].tokens
    assert [(token.text, token.weight) for token in tokens[:3]] == [("a", 1.0), ("photo", 1.2), ("of", 1.0)]
    assert [(token.embedding, token.vector) for token in tokens[3:]] == [("my-cat", vector) for vector in range(4)]


def test_and_makes_parts_except_in_the_negative_prompt(inspection: Inspection) -> None:
    read = inspection.tokenize("a cat AND sixteen :0.5")
    assert [(part.text, part.weight, part.count) for part in read.parts] == [("a cat", 1.0, 2), (" sixteen", 0.5, 16)]
    assert read.count == 16
    assert len(inspection.tokenize("a cat AND sixteen :0.5", negative=True).parts) == 1


def test_schedules_stand_at_a_step(inspection: Inspection) -> None:
    prompt = "[a cat:sixteen:10] x"
    first, last = inspection.tokenize(prompt), inspection.tokenize(prompt, step=11)
    assert (first.count, last.count) == (3, 17)
    assert first.notes == ("The prompt changes during sampling; shown is step 1 of 20.",)
    assert any("do not match" in note for note in inspection.tokenize(prompt + "]").notes)


def test_longer_than_a_chunk(inspection: Inspection) -> None:
    read = inspection.tokenize("red " * 80)
    assert (read.count, read.limit, read.remaining) == (80, 150, 70)
    assert [chunk.free for chunk in read.parts[0].chunks] == [0, 70]
    assert inspection.tokenize("a BREAK").remaining == 0
    assert (inspection.tokenize("").count, inspection.tokenize("").remaining) == (0, 75)


def test_why_an_embedding_is_not_found(inspection: Inspection) -> None:
    read = inspection.tokenize("Wide, a cat")
    assert read.embeddings == ()
    assert read.notes == ('"wide" is not loaded. Its vectors are for custom.',)
    assert inspection.tokenize("widespread").notes == ()
    assert inspection.tokenize("endless").embeddings == ()


def test_new_embeddings_are_found(host: FakeHost, inspection: Inspection) -> None:
    assert inspection.tokenize("zork").embeddings == ()
    put(host, "zork", {"clip_l": torch.ones(2, 12)})
    assert inspection.tokenize("zork").embeddings == ("zork",)


def test_json(inspection: Inspection) -> None:
    values = json.loads(json.dumps(inspection.tokenize("a my-cat").to_json()))
    assert values["parts"][0]["chunks"][0]["free"] == 70
    assert values["parts"][0]["chunks"][0]["tokens"][0] == {
        "text": "a", "weight": 1.0, "id": 320, "embedding": "", "vector": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"prompt": 3}, {"prompt": "x" * (MAX_PROMPT + 1)}, {"prompt": "(" * 100}, {"prompt": "(a:1..2)"}]
    + [{"prompt": "a", name: value} for name in ("step", "steps") for value in (0, -1, 1.5, "3", True, None, 10**9)],
)
def test_wrong_values_get_a_sentence(inspection: Inspection, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        inspection.tokenize(**wrong)
