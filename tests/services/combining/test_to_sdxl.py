"""SD1 embeddings for SDXL: which words stand in for the second encoder's vectors, and that it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.words import put, vocabulary_host
from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.errors import Conflict, HostFailed
from train_embedding.services.combining.combining import Combining
from train_embedding.services.combining.to_sdxl import to_sdxl
from train_embedding.services.inspection.vocabularies import Vocabularies
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return vocabulary_host(tmp_path, {"clip_l": 12, "clip_g": 20})


def test_words_stay_words(host: FakeHost) -> None:
    words = host.token_embeddings("red castle")
    embedding = Embedding("sword", {"clip_l": 2 * words["clip_l"]}, step=7, metadata={"init_text": "red castle"})
    converted, notes = to_sdxl(embedding, Vocabularies(host))
    assert torch.equal(converted.vectors["clip_l"], embedding.vectors["clip_l"])
    assert torch.equal(converted.vectors["clip_g"], words["clip_g"])
    assert (converted.name, converted.step) == ("sword", None)
    assert len(notes) == 1
    assert notes[0].startswith("The result is approximate")
    assert converted.metadata == {
        "init_text": "red castle",
        "made_from": "sword from SD1 to SDXL by the nearest token of each vector",
        "approximate": "vectors for clip_g are those of tokens, with their cosines: 0: red 1.00, 1: castle 1.00",
    }


def test_a_vector_far_from_every_word_is_marked(host: FakeHost) -> None:
    table = host.vocabulary()["clip_l"]
    word = table[token_ids("red")[0]]
    far = torch.full((12,), -1.0)
    table[:, 0] = table[:, 0].abs()  # so that no word points this way
    far[1:] = 0
    converted, notes = to_sdxl(Embedding("sword", {"clip_l": torch.stack([word, far])}), Vocabularies(host))
    cosines = torch.nn.functional.cosine_similarity(far[None], table[:49406])
    assert torch.equal(converted.vectors["clip_g"][1], host.vocabulary()["clip_g"][int(cosines.argmax())])
    assert float(cosines.max()) < 0.707
    assert notes[1].startswith("1 of 2 vectors has no near token")
    assert ': 1 ("' in notes[1]


def test_zeros_stay_zeros(host: FakeHost) -> None:
    converted, notes = to_sdxl(Embedding("sword", {"clip_l": torch.zeros(2, 12)}), Vocabularies(host))
    assert not converted.vectors["clip_g"].any()
    assert len(notes) == 1


def test_what_it_needs(host: FakeHost, tmp_path: Path) -> None:
    sdxl = Embedding("sword", host.token_embeddings("red"))
    with pytest.raises(Conflict, match="only SD1 embeddings"):
        to_sdxl(sdxl, Vocabularies(host))
    sd1 = Embedding("sword", {"clip_l": torch.ones(1, 12)})
    with pytest.raises(Conflict, match="while an SDXL checkpoint is loaded"):
        to_sdxl(sd1, Vocabularies(vocabulary_host(tmp_path, {"clip_l": 12})))
    with pytest.raises(Conflict, match="while an SDXL checkpoint is loaded"):
        to_sdxl(Embedding("sword", {"clip_l": torch.ones(1, 13)}), Vocabularies(host))
    with pytest.raises(HostFailed):
        to_sdxl(sd1, Vocabularies(FakeHost(tmp_path, {})))


def test_it_is_saved_beside_the_one_for_sd1(host: FakeHost) -> None:
    put(host, "sword", {"clip_l": host.token_embeddings("red castle")["clip_l"]})
    library = Library(host)
    saved = Combining(host, library).convert("sword", "sdxl")
    assert (saved.entry.name, saved.entry.file.suffix, saved.entry.loaded) == ("sword-sdxl", ".safetensors", True)
    assert saved.notes[0].startswith("The result is approximate")
    assert torch.equal(library.read("sword-sdxl").vectors["clip_g"], host.token_embeddings("red castle")["clip_g"])
    assert library.read("sword").count == 2
