"""Looking inside, against brute force, and what is said where something is missing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.memory import MOST as MOST_MEMORY
from tests.memory import PATIENCE, taken_by
from tests.words import Vocabulary, put, vocabulary_host
from train_embedding.embeddings.embedding import MAX_COUNT, Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.model import nearest_tokens
from train_embedding.engine.prompts.tokenizer import START_OF_TEXT, token_ids
from train_embedding.errors import HostFailed, InvalidInput, NotFound, UnreadableFile
from train_embedding.services.inspection.inspection import MAX_COMPARED, Inspection
from train_embedding.services.library.library import Library
from train_embedding.services.run_records import RunState
from train_embedding.testing import FakeHost

WIDTHS = {"clip_l": 12, "clip_g": 20}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return vocabulary_host(tmp_path, WIDTHS)


@pytest.fixture
def inspection(host: FakeHost) -> Inspection:
    return Inspection(host, Library(host))


def random_vectors(count: int, seed: int = 0, widths: dict[str, int] = WIDTHS) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(count, width, generator=generator) for key, width in widths.items()}


def table_of(host: FakeHost, key: str) -> torch.Tensor:
    return host.vocabulary()[key][:START_OF_TEXT]


def test_figures_of_every_vector_and_encoder(host: FakeHost, inspection: Inspection) -> None:
    put(host, "sword", random_vectors(3), step=7, checkpoint_name="demo", checkpoint_hash="abc")
    report = inspection.inspect("sword", top=4)
    assert (report.name, report.count, report.step, report.checkpoint_name, report.warnings) == ("sword", 3, 7, "demo", ())
    assert [encoder.key for encoder in report.encoders] == ["clip_l", "clip_g"]
    for encoder in report.encoders:
        vectors, table = random_vectors(3)[encoder.key], table_of(host, encoder.key)
        assert [one.norm for one in encoder.vectors] == pytest.approx(vectors.norm(dim=1).tolist())
        assert [(one.smallest, one.largest) for one in encoder.vectors] == [(row.min(), row.max()) for row in vectors]
        norms = table.norm(dim=1)
        assert encoder.vocabulary_norm == pytest.approx(float(norms.mean()))
        assert encoder.vocabulary_spread == pytest.approx(float(norms.std(correction=0)))
        cosines = torch.nn.functional.cosine_similarity(vectors[:, None], table[None], dim=-1).topk(4)
        assert [[near.id for near in one.nearest] for one in encoder.vectors] == cosines.indices.tolist()
        assert [near.cosine for near in encoder.vectors[1].nearest] == pytest.approx(cosines.values[1].tolist(), abs=1e-6)
        similarity = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
        torch.testing.assert_close(torch.tensor(encoder.similarity), similarity)


def test_an_embedding_of_words_has_them_nearest(host: FakeHost, inspection: Inspection) -> None:
    put(host, "sword", cast(Any, host.the_model).token_embeddings("red castle"))
    nearest = [one.nearest[0] for one in inspection.inspect("sword", top=1).encoders[1].vectors]
    assert [near.text for near in nearest] == ["red", "castle"]
    assert [near.cosine for near in nearest] == pytest.approx([1, 1])


def test_zeros_point_nowhere(host: FakeHost, inspection: Inspection) -> None:
    put(host, "zero", {key: torch.zeros(2, width) for key, width in WIDTHS.items()})
    encoder = inspection.inspect("zero").encoders[0]
    assert encoder.vectors[0].nearest == ()
    assert encoder.similarity == ((0, 0), (0, 0))


def test_the_vocabulary_is_measured_once_per_checkpoint(
    host: FakeHost, inspection: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    lengths_of = nearest_tokens.vocabulary_norms
    monkeypatch.setattr(nearest_tokens, "vocabulary_norms", lambda table: measured.append(table.shape[1]) or lengths_of(table))
    put(host, "sword", random_vectors(1))
    first = inspection.inspect("sword").encoders[0].vocabulary_norm
    assert first is not None
    assert inspection.inspect("sword").encoders[0].vocabulary_norm == first
    assert measured == [12, 20]
    facts = host.info()
    monkeypatch.setattr(host, "info", lambda: replace(facts, checkpoint_name="another"))
    cast(Any, host.the_model).tables["clip_l"] = host.vocabulary()["clip_l"] * 2
    assert inspection.inspect("sword").encoders[0].vocabulary_norm == pytest.approx(2 * first)
    assert measured == [12, 20, 12, 20]


def test_without_a_checkpoint(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {})
    put(host, "sword", random_vectors(2))
    report = Inspection(host, Library(host)).inspect("sword", text="a cat")
    assert report.encoders[0].vectors[0].norm > 0
    assert report.encoders[0].vectors[0].nearest == ()
    assert report.encoders[0].vocabulary_norm is None
    assert report.warnings == (
        "There are no nearest tokens. No checkpoint is loaded. Load a checkpoint first.",
        "There are no vectors to compare with. No checkpoint is loaded.",
    )


def test_another_familys_checkpoint_serves_the_encoders_that_it_has(tmp_path: Path) -> None:
    host = vocabulary_host(tmp_path, {"clip_l": 12})
    put(host, "sword", random_vectors(2))
    report = Inspection(host, Library(host)).inspect("sword", top=1, text="red")
    assert [bool(encoder.vectors[0].nearest) for encoder in report.encoders] == [True, False]
    assert [encoder.reference_cosine is None for encoder in report.encoders] == [False, True]
    assert report.warnings == (
        "There are no nearest tokens for clip_g (20): the loaded checkpoint has clip_l (12). "
        "Load a checkpoint for a model of width 12 + 20.",
    )


def test_compared_with_a_text(host: FakeHost, inspection: Inspection) -> None:
    put(
        host,
        "sword",
        random_vectors(4),
    )
    report = inspection.inspect("sword", text="red castle")
    assert report.reference == 'the text "red castle"'
    rows = host.vocabulary()["clip_l"][token_ids("red castle")][[0, 0, 1, 1]]
    vectors = random_vectors(4)["clip_l"]
    expected = torch.nn.functional.cosine_similarity(vectors, rows)
    assert [one.reference_cosine for one in report.encoders[0].vectors] == pytest.approx(expected.tolist())
    flat = torch.nn.functional.cosine_similarity(vectors.reshape(-1), rows.reshape(-1), dim=0)
    assert report.encoders[0].reference_cosine == pytest.approx(float(flat))


def test_the_text_that_the_metadata_names(inspection: Inspection) -> None:
    embedding = Embedding("sword", random_vectors(1), metadata={"init_text": "castle"})
    assert inspection.report_of(embedding).reference == 'the text "castle"'
    assert inspection.report_of(embedding, text="red").reference == 'the text "red"'
    assert inspection.report_of(embedding).to_json()["metadata"] == {"init_text": "castle"}


def test_a_text_without_tokens_is_said(host: FakeHost, inspection: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {key: torch.zeros(0, width) for key, width in WIDTHS.items()}
    monkeypatch.setattr(host, "token_embeddings", lambda _text, _count: nothing)
    report = inspection.report_of(Embedding("sword", random_vectors(1)), text="\ufffd")
    assert (report.reference, report.warnings) == ("", ('"\ufffd" has no tokens to compare with.',))


def test_compared_with_what_the_last_run_began_with(host: FakeHost, inspection: Inspection) -> None:
    embedding = put(host, "sword", random_vectors(2))
    for number, vectors in (("1", random_vectors(2, 5)), ("2", {key: 3 * one for key, one in embedding.vectors.items()})):
        folder = host.info().runs_folder / number
        folder.mkdir()
        RunState(number, "sword", folder, TrainingSpec("sword", "/pictures")).save()
        write_embedding(Embedding("sword", vectors), folder / "start.pt")
    (host.info().runs_folder / "3").mkdir()
    (host.info().runs_folder / "3" / "state.json").write_text("broken")
    report = inspection.inspect("sword")
    assert report.reference == "the start of its last run"
    assert report.encoders[1].reference_cosine == pytest.approx(1)
    assert inspection.report_of(Embedding("other", random_vectors(2))).reference == ""


def test_neighbours_of_the_same_family(host: FakeHost, inspection: Inspection) -> None:
    embedding = put(host, "sword", random_vectors(3))
    put(host, "copy", {key: table.flip(0) * 2 for key, table in embedding.vectors.items()})
    put(host, "other", random_vectors(5, 9))
    put(host, "small", {"clip_l": torch.ones(1, 12)})
    (host.info().embeddings_folder / "bad.pt").write_bytes(b"garbage")
    assert inspection.inspect("sword").neighbours == ()
    found = inspection.inspect("sword", neighbours=5).neighbours
    assert [(one.name, one.vectors) for one in found] == [("copy", 3), ("other", 5)]
    assert found[0].similarity == pytest.approx(1)
    assert len(inspection.inspect("sword", neighbours=1).neighbours) == 1


def test_what_takes_long_is_left_out_for_many_vectors(host: FakeHost, inspection: Inspection) -> None:
    put(host, "many", random_vectors(MAX_COMPARED + 1))
    put(host, "few", random_vectors(MAX_COMPARED))
    report = inspection.inspect("many", text="red", neighbours=1)
    sentence = "The embedding has 257 vectors; nearest tokens and similarity are shown for at most 256."
    assert report.warnings == (sentence,)
    assert not report.compared
    for encoder in report.encoders:
        assert encoder.similarity == ()
        assert len(encoder.vectors) == 257
        assert not any(one.nearest for one in encoder.vectors)
        assert None not in (encoder.vocabulary_norm, encoder.vectors[-1].reference_cosine)
    assert [one.name for one in report.neighbours] == ["few"]
    with pytest.raises(NotFound, match=f'^There is no heat map of "many". {sentence}$'):
        inspection.heat_map(report)
    few = inspection.inspect("few", top=1)
    assert (few.compared, few.warnings, len(few.encoders[1].similarity)) == (True, (), 256)
    assert inspection.heat_map(few).size == (256 + 8 + 256, 256)


def look_inside(folder: str, count: str) -> str:
    host = vocabulary_host(Path(folder), {"clip_l": 64})
    report = Inspection(host, Library(host)).report_of(Embedding("many", {"clip_l": torch.ones(1).expand(int(count), 64)}))
    return str(len(json.dumps(report.to_json())))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("count", [pytest.param(MAX_COMPARED, marks=pytest.mark.slow), MAX_COUNT])
def test_a_report_stays_small(tmp_path: Path, count: int) -> None:
    taken = taken_by(look_inside, tmp_path, count)
    assert int(taken.answer) < 2_000_000
    assert taken.memory < MOST_MEMORY
    assert taken.seconds < PATIENCE


def test_json_and_picture(host: FakeHost, inspection: Inspection) -> None:
    put(host, "sword", random_vectors(3))
    report = inspection.inspect("sword", top=2)
    values = json.loads(json.dumps(report.to_json()))
    assert values["encoders"][0]["similarity"][1][1] == 1
    assert len(values["encoders"][0]["vectors"][0]["nearest"]) == 2
    image = inspection.heat_map(report)
    assert image.size == (300 + 8 + 300, 300)
    assert image.getpixel((50, 50)) == image.getpixel((150, 150)) == (190, 30, 45)
    assert image.getpixel((150, 50)) != (190, 30, 45)


@pytest.mark.parametrize("count", [-1, 101, 1.5, "3", True, None])
def test_wrong_numbers(host: FakeHost, inspection: Inspection, count: Any) -> None:
    put(host, "sword", random_vectors(1))
    with pytest.raises(InvalidInput, match=r'"top" is'):
        inspection.inspect("sword", top=count)
    with pytest.raises(InvalidInput, match=r'"neighbours" is'):
        inspection.inspect("sword", neighbours=count)


def test_files_that_are_not_there_or_not_readable(host: FakeHost, inspection: Inspection) -> None:
    (host.info().embeddings_folder / "bad.pt").write_bytes(b"garbage")
    with pytest.raises(NotFound):
        inspection.inspect("none")
    with pytest.raises(UnreadableFile, match="bad"):
        inspection.inspect("bad")


def test_a_vocabulary_is_no_copy(host: FakeHost) -> None:
    assert host.vocabulary()["clip_l"].data_ptr() == cast(Vocabulary, host.the_model).tables["clip_l"].data_ptr()
    with pytest.raises(HostFailed):
        FakeHost(host.info().embeddings_folder.parent, {}).vocabulary()
