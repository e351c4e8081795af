"""Start words of a run: which are tried, what is chosen, and what the person who started the run is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.checkpoints import pictures
from tests.training import NAME, Trainee, trainee
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.embeddings.metadata import INIT_TEXT, VECTORS
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import InvalidSpec
from train_embedding.services.training.start_words import (
    COMMON_WORDS,
    MAX_WORDS,
    WordsToTry,
    describe_start,
    words_to_try,
)

__all__ = ["pictures", "trainee"]


def spec(**values: Any) -> TrainingSpec:
    return TrainingSpec.from_json({"embedding": NAME, "dataset": "x", **values})


def embedding(text: str = "", *, step: int | None = 0, value: float = 0.0) -> Embedding:
    metadata = {INIT_TEXT: text} if text else {}
    return Embedding(NAME, {"clip_l": torch.full((2, 4), value)}, step=step, metadata=metadata)


def test_words_come_from_the_candidates_the_captions_and_a_common_list() -> None:
    captions = ["a tabby on a sofa", "the tabby with a ball", "IMG_0042"]
    tried = words_to_try(spec(candidates="kitten, striped cat"), embedding("my old cat", value=1.0), captions)
    assert tried.text == "my old cat"
    assert tried.words[:3] == ("kitten", "striped cat", "tabby")  # then the most frequent word of the captions
    assert {"sofa", "ball"} <= set(tried.words)
    assert not {"the", "with", "img", "old", "cat"} & set(tried.words)
    assert set(tried.words[5:]) <= set(COMMON_WORDS)
    assert len(tried.words) == len(set(tried.words)) == MAX_WORDS


def test_an_embedding_without_a_text_starts_from_any_word() -> None:
    assert words_to_try(spec(), embedding(), []) == WordsToTry(COMMON_WORDS[:MAX_WORDS])
    assert words_to_try(spec(choose_start_words=False), embedding(), []) == WordsToTry(COMMON_WORDS[:MAX_WORDS])


@pytest.mark.parametrize(
    ("kept", "options"),
    [
        (embedding("cat", step=30, value=1.0), {}),  # it was trained
        (embedding(value=1.0), {}),  # it was made from another embedding
        (embedding("cat", value=1.0), {"choose_start_words": False}),
        (embedding("cat", value=1.0), {"dataset": "", "teacher_prompt": "a long prompt"}),
    ],
)
def test_other_embeddings_keep_their_vectors_unless_candidates_are_given(kept: Embedding, options: dict[str, Any]) -> None:
    assert words_to_try(spec(**options), kept, ["a sofa"]) == WordsToTry()
    assert words_to_try(spec(**options, candidates="tabby"), kept, ["a sofa"]) == WordsToTry(("tabby",))


def test_the_choice_in_a_sentence() -> None:
    ranking = (("cat, dog", 0.1, 16), ("", 0.25, 4), ("tree", 0.5, 4))
    assert describe_start(ranking) == ('Training starts from "cat, dog": the lowest loss of 3 starts, 0.1000 instead of 0.2500.')
    assert describe_start((("cat", 0.1, 16), ("tree", 0.5, 4))) == (
        'Training starts from "cat": the lowest loss of 2 starts, 0.1000.'
    )
    assert describe_start((("", 0.1, 16), ("tree", 0.5, 4))) == (
        "Training starts from the embedding as it is: the lowest loss of 2 starts."
    )
    assert describe_start((("", 0.1, 4),)) == "Training starts from the embedding as it is."


def test_an_embedding_of_zeros_starts_from_words(trainee: Trainee) -> None:
    model = trainee.host.the_model
    assert model is not None
    zeros = {key: torch.zeros(2, width) for key, width in model.widths.items()}
    write_embedding(Embedding(NAME, zeros, step=0), trainee.file)
    trainee.host.reload_embeddings()
    ended = trainee.run(steps=2, optimizer="direction")
    assert ended.status == "finished"
    assert any(note == describe_start(ended.start_words) for note in ended.notes)
    assert trainee.embedding().vectors["clip_l"].any()


def test_direction_cannot_turn_a_single_vector_of_zeros(trainee: Trainee) -> None:
    vectors = trainee.embedding().vectors
    vectors["clip_l"][1] = 0
    write_embedding(Embedding(NAME, vectors, step=0), trainee.file)
    trainee.host.reload_embeddings()
    refused = trainee.run(steps=2, optimizer="direction")
    assert (refused.status, refused.error) == (
        "failed", "The embedding has vectors of zeros, which the optimizer Direction cannot turn."
    )  # fmt: skip


def make(trainee: Trainee, text: str, count: int | str) -> None:
    trainee.services.library.delete(NAME)
    trainee.services.library.create(NAME, text, count)


def test_a_run_completes_the_text_and_goes_on_from_that(trainee: Trainee) -> None:
    make(trainee, "moon", 2)
    trainee.host.on_report = lambda progress: trainee.host.press_interrupt() if progress.step == 2 else None
    stopped = trainee.run(steps=4, candidates="blue circle", learning_rate="1e-9")
    (said,) = [note for note in stopped.notes if note.startswith("Training starts from")]
    assert said == describe_start(stopped.start_words)
    tried = {words for words, _loss, _items in stopped.start_words}
    assert {"", "moon, blue circle", *(f"moon, {word}" for word in COMMON_WORDS[:20])} <= tried
    best = stopped.start_words[0]
    assert best[1] == min(loss for _words, loss, items in stopped.start_words if items == best[2])
    model = trainee.host.the_model
    assert model is not None
    moon, word = (model.token_embeddings(text, 1)["clip_l"] for text in ("moon", best[0].partition(", ")[2] or "moon"))
    started = read_embedding(stopped.folder / "start.pt").vectors["clip_l"]
    assert torch.allclose(started, torch.cat([moon, word]), atol=1e-6)
    trainee.host.on_report = lambda _progress: None
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert ended.status == "finished"
    assert [note for note in ended.notes if note.startswith("Training starts from")] == [said]
    assert ended.start_words == stopped.start_words
    assert trainee.fresh_runs().get(ended.id).start_words == stopped.start_words
    assert torch.equal(read_embedding(ended.folder / "start.pt").vectors["clip_l"], started)


@pytest.mark.parametrize("text", ["moon", "tree moon"])
def test_an_automatic_number_of_vectors_is_decided_by_the_first_run(trainee: Trainee, text: str) -> None:
    make(trainee, text, "auto")
    length = len(text.split())
    assert trainee.embedding().count == 2
    ended = trainee.run(steps=2)
    counts = {words: 1 + words.count(",") + (length - 1) for words, _loss, _items in ended.start_words if words}
    # With two tokens, the text alone is the embedding as it was.
    assert set(counts.values()) == ({1, 2} if length == 1 else {3})
    assert (text in counts) == (length == 1)
    trained = trainee.embedding()
    assert trained.count == counts.get(ended.start_words[0][0], 2)
    assert VECTORS not in trained.metadata
    again = trainee.run(steps=2)
    assert again.start_words == ()
    assert trainee.embedding().count == trained.count


def test_switched_off_a_run_starts_from_the_text(trainee: Trainee) -> None:
    make(trainee, "moon", "auto")
    before = trainee.embedding().vectors["clip_l"]
    ended = trainee.run(steps=2, choose_start_words=False)
    assert ended.start_words == ()
    assert torch.equal(read_embedding(ended.folder / "start.pt").vectors["clip_l"], before)


def test_vectors_that_are_not_those_of_the_text_stay(trainee: Trainee) -> None:
    make(trainee, "moon", 2)
    changed = {key: table + 1 for key, table in trainee.embedding().vectors.items()}
    write_embedding(Embedding(NAME, changed, step=0, metadata={INIT_TEXT: "moon"}), trainee.file)
    trainee.host.reload_embeddings()
    ended = trainee.run(steps=2)
    assert (ended.status, ended.start_words) == ("finished", ())


def test_a_trained_embedding_starts_from_its_own_vectors(trainee: Trainee) -> None:
    before = trainee.embedding().vectors["clip_l"]
    ended = trainee.run(steps=2)
    assert ended.start_words == ()
    assert torch.equal(read_embedding(ended.folder / "start.pt").vectors["clip_l"], before)


def test_an_encoder_that_the_checkpoint_has_not(trainee: Trainee) -> None:
    with pytest.raises(InvalidSpec) as caught:
        trainee.start(encoders="clip_g")
    assert caught.value.message == "The checkpoint does not have the text encoder OpenCLIP-bigG."
    assert trainee.services.runs.list() == []


def test_the_context_term_is_trained_against_the_runs_start(trainee: Trainee) -> None:
    plain = trainee.run(steps=3)
    vectors = trainee.embedding().vectors["clip_l"]
    trainee.reset()
    weighed = trainee.run(steps=3, core_loss_weight=50.0)
    assert (plain.status, weighed.status) == ("finished", "finished")
    assert not torch.equal(trainee.embedding().vectors["clip_l"], vectors)
