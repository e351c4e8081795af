"""Embeddings made of others: what is saved, what is said, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.words import put, vocabulary_host
from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.errors import Conflict, HostFailed, InvalidExpression, InvalidInput, InvalidName, NotFound, UnreadableFile
from train_embedding.services.combining.combining import Combining
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost

A, B = torch.arange(24.0).reshape(2, 12) + 1, torch.ones(3, 12)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = vocabulary_host(tmp_path, {"clip_l": 12})
    put(host, "a", {"clip_l": A}, step=5, checkpoint_name="demo", checkpoint_hash="abc")
    put(host, "my cat", {"clip_l": B}, checkpoint_name="demo", checkpoint_hash="other")
    return host


@pytest.fixture
def library(host: FakeHost) -> Library:
    return Library(host)


@pytest.fixture
def combining(host: FakeHost, library: Library) -> Combining:
    return Combining(host, library)


def row(host: FakeHost, word: str) -> torch.Tensor:
    return host.vocabulary()["clip_l"][token_ids(word)]


def test_embeddings_and_words_are_combined(host: FakeHost, combining: Combining) -> None:
    combined = combining.evaluate('a  +\n0.5 * "red"', "mixed")
    expected = torch.cat([A[:1] + 0.5 * row(host, "red"), A[1:]])
    assert torch.equal(combined.embedding.vectors["clip_l"], expected)
    assert combined.how == 'a + 0.5 * "red"'
    assert combined.embedding.metadata == {"made_from": 'a + 0.5 * "red"'}
    assert (combined.embedding.checkpoint_name, combined.embedding.step) == ("demo", None)
    assert len(combined.notes) == 1


def test_words_alone(host: FakeHost, combining: Combining) -> None:
    analogy = combining.evaluate('"king" - "man" + "woman"').embedding
    assert torch.equal(analogy.vectors["clip_l"], row(host, "king") - row(host, "man") + row(host, "woman"))
    assert analogy.checkpoint_name is None


def test_facts_that_the_sources_share_are_kept(combining: Combining) -> None:
    both = combining.evaluate("a & 'my cat'").embedding
    assert (both.count, both.checkpoint_name, both.checkpoint_hash) == (5, "demo", None)


def test_the_usual_norm(host: FakeHost, combining: Combining) -> None:
    norms = combining.evaluate("norm(a)").embedding.vectors["clip_l"].norm(dim=1)
    mean = float(host.vocabulary()["clip_l"][:49406].norm(dim=1).mean())
    assert norms.tolist() == pytest.approx([mean, mean])


def test_a_result_is_saved_and_loaded(host: FakeHost, library: Library, combining: Combining) -> None:
    saved = combining.save("a[0] & 'my cat'", "zork")
    assert (saved.entry.name, saved.entry.vectors, saved.entry.loaded) == ("zork", 4, True)
    assert torch.equal(library.read("zork").vectors["clip_l"], torch.cat([A[:1], B]))
    with pytest.raises(Conflict, match='There is already an embedding "zork"'):
        combining.save("a", "zork")
    assert combining.save("a", "zork", overwrite=True).entry.vectors == 2


def test_an_embedding_may_be_replaced_by_what_is_made_of_it(library: Library, combining: Combining) -> None:
    combining.save("2 * a", "a", overwrite=True)
    assert torch.equal(library.read("a").vectors["clip_l"], 2 * A)
    assert len(list(library.trash_folder.iterdir())) == 1


def test_a_name_that_surprises_is_pointed_out(combining: Combining) -> None:
    assert any("is a common word" in note for note in combining.save("a", "cat").notes)


def test_what_is_wrong_is_pointed_at(host: FakeHost, combining: Combining) -> None:
    put(host, "wide", {"clip_l": torch.ones(1, 20)})
    for text, column, words, hint in (
        ("a + my-dog", 5, 'there is no embedding "my-dog"', "Put spaces around"),
        ("a + mycat", 5, 'there is no embedding "mycat"', 'Did you mean "my cat"'),
        ("a + zebra", 5, 'there is no embedding "zebra"', '"zebra"'),
        ("a + wide", 5, '"wide" is for a model of width 20', "convert"),
        ("a +", 4, "the formula is incomplete", ""),
        ("a[5]", 2, "out of range", ""),
    ):
        with pytest.raises(InvalidExpression, match=words) as caught:
            combining.evaluate(text)
        assert caught.value.column == column
        assert hint in caught.value.hint


def test_names_are_checked_first(combining: Combining) -> None:
    with pytest.raises(InvalidName):
        combining.save("a", "a/b")
    with pytest.raises(InvalidInput, match="must be text"):
        combining.evaluate(cast(Any, 3))


def test_an_unreadable_file_says_so(host: FakeHost, combining: Combining) -> None:
    (host.info().embeddings_folder / "bad.pt").write_bytes(b"garbage")
    with pytest.raises(UnreadableFile, match="bad"):
        combining.evaluate("a + bad")


def test_words_of_another_familys_checkpoint(host: FakeHost, combining: Combining) -> None:
    put(host, "wide", {"clip_l": torch.ones(1, 20)})
    with pytest.raises(Conflict, match=r'The words "red" cannot be looked up for a model of width 20: .* width 12'):
        combining.evaluate('wide + "red"')
    with pytest.raises(Conflict, match="The mean norm of the vocabulary"):
        combining.evaluate("norm(wide)")
    assert combining.evaluate("2 * wide").embedding.count == 1


def test_without_a_checkpoint(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {})
    put(host, "a", {"clip_l": A})
    combining = Combining(host, Library(host))
    assert combining.evaluate("2 * a").embedding.count == 2
    with pytest.raises(HostFailed):
        combining.evaluate('a + "red"')
    with pytest.raises(HostFailed, match="No checkpoint is loaded"):
        combining.evaluate('"red"')


def test_an_sdxl_checkpoint_has_the_words_of_sd1(tmp_path: Path) -> None:
    host = vocabulary_host(tmp_path, {"clip_l": 12, "clip_g": 20})
    put(host, "a", {"clip_l": A})
    combined = Combining(host, Library(host)).evaluate('a + "red castle"')
    assert torch.equal(combined.embedding.vectors["clip_l"], A + row(host, "red castle"))


def test_a_result_for_two_encoders_lies_where_there_is_room_for_its_formula(tmp_path: Path) -> None:
    host = vocabulary_host(tmp_path, {"clip_l": 12, "clip_g": 20})
    library = Library(host)
    combining = Combining(host, library)
    assert combining.save('"red castle"', "zork").entry.file.name == "zork.safetensors"
    library.save(Embedding("old", host.token_embeddings("red")), file=host.info().embeddings_folder / "sub" / "old.pt")
    replaced = combining.save('"castle"', "old", overwrite=True)
    assert replaced.entry.file == host.info().embeddings_folder / "sub" / "old.safetensors"
    assert [entry.name for entry in library.list()] == ["old", "zork"]


def test_a_preview_is_drawn_with_vectors_that_no_file_holds(host: FakeHost, combining: Combining) -> None:
    combined = combining.evaluate("2 * a", "zork")
    picture = combining.draw(combined.embedding, "a photo of [name]", seed=3)
    assert picture.size == (64, 64)
    (request,) = host.requests
    assert (request.prompt, request.seed, request.embeddings) == ("a photo of zork", 3, (combined.embedding,))
    assert host.jobs == ["Preview of zork"]
    combining.draw(combined.embedding, "a photo")
    assert host.requests[1].prompt == "zork, a photo"
    with pytest.raises(Conflict, match="is for a model of width 20; the loaded checkpoint is a model of width 12"):
        combining.draw(Embedding("wide", {"clip_l": torch.ones(1, 20)}))


def test_another_form(host: FakeHost, library: Library, combining: Combining) -> None:
    folder = host.info().embeddings_folder
    assert combining.convert("a", "pt").entry.file == folder / "a.pt"
    assert not (folder / "a.safetensors").exists()
    assert torch.equal(library.read("a").vectors["clip_l"], A)
    assert library.read("a").step == 5
    with pytest.raises(Conflict, match=r'"a\.pt" already has that format'):
        combining.convert("a", "pt")
    copy = combining.convert("a", "safetensors", "b")
    assert copy.entry.file == folder / "b.safetensors"
    assert (folder / "a.pt").exists()
    with pytest.raises(Conflict, match='There is already an embedding "b"'):
        combining.convert("my cat", "pt", "b")
    for to, form in (("png", "png"), ("webp", "image")):
        picture = combining.convert("a", to, f"a-{to}").entry
        assert (picture.file.suffix, picture.format) == (f".{to}", form)
        assert torch.equal(library.read(picture.name).vectors["clip_l"], A)
    host.file_suffixes = (".pt", ".safetensors")
    with pytest.raises(InvalidInput, match=r"does not load embeddings from \.png files"):
        combining.convert("a", "png", "no-picture")
    assert not (folder / "no-picture.png").exists()
    with pytest.raises(InvalidInput, match='cannot be converted to "gguf"'):
        combining.convert("a", "gguf")
    with pytest.raises(NotFound):
        combining.convert("none", "pt")
