"""Candidate words: ranked by the loss on fixed pictures, and what a run makes of it."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from tests.checkpoints import pictures
from tests.training import NAME, Trainee, trainee
from train_embedding.embeddings.create import fill
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding
from train_embedding.errors import InvalidSpec
from train_embedding.services.training.trainer import choose_start

__all__ = ["pictures", "trainee"]


class Words:
    """A model of one dimension, in which a word is its length."""

    device = torch.device("cpu")

    def token_embeddings(self, text: str, count: int) -> dict[str, torch.Tensor]:
        return {"clip_l": torch.tensor([[float(len(word))] for word in text.split()][:count])}


def near(target: float) -> Any:
    return lambda vectors: (vectors["clip_l"] - target).square().mean().reshape(1)


def test_the_lowest_loss_wins() -> None:
    start = Embedding(NAME, {"clip_l": torch.tensor([[7.0], [7.0]])}, step=30)
    chosen, said = choose_start(cast(Any, Words()), start, ["a", "four", "a four"], near(4.0))
    assert chosen.vectors["clip_l"].tolist() == [[4.0], [4.0]]
    assert (chosen.name, chosen.step) == (NAME, 0)
    assert said == (
        'Training starts from "four". '
        'Loss of each candidate: "four" 0.0000, "a four" 4.5000, the embedding as it is 9.0000, "a" 9.0000.'
    )


def test_the_embedding_itself_takes_part() -> None:
    start = Embedding(NAME, {"clip_l": torch.tensor([[4.0]])}, step=30)
    chosen, said = choose_start(cast(Any, Words()), start, ["a", "four"], near(4.0))
    assert chosen is start
    assert said.startswith("Training starts from the embedding as it is.")


def test_a_run_starts_from_the_best_and_goes_on_from_it(trainee: Trainee) -> None:
    model = trainee.host.the_model
    assert model is not None
    trainee.host.on_report = lambda progress: trainee.host.press_interrupt() if progress.step == 2 else None
    options: dict[str, Any] = {"steps": 4, "candidates": "blue circle, tree , a moon", "learning_rate": "1e-9"}
    stopped = trainee.run(**options)
    (said,) = [note for note in stopped.notes if note.startswith("Training starts from")]
    started = read_embedding(stopped.folder / "start.pt").vectors["clip_l"]
    contenders = {f'"{word}"': model.token_embeddings(word, 2)["clip_l"] for word in ("blue circle", "tree", "a moon")}
    chosen = [name for name, table in contenders.items() if torch.equal(fill(table, 2), started)]
    assert said.split(".")[0] == f"Training starts from {chosen[0] if chosen else 'the embedding as it is'}"
    losses = [float(part.rsplit(" ", 1)[1]) for part in said.rstrip(".").split(": ", 1)[1].split(", ")]
    assert losses == sorted(losses)
    assert len(losses) == 4
    trainee.host.on_report = lambda _progress: None
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert ended.status == "finished"
    assert [note for note in ended.notes if note.startswith("Training starts from")] == [said]
    assert torch.equal(read_embedding(ended.folder / "start.pt").vectors["clip_l"], started)


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
