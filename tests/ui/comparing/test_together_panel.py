"""The comparison of embeddings and runs on the sub-tab Library."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("gradio")

from tests.run_folders import stored_run
from tests.ui.reading import Reader
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.services import Services
from train_embedding.services.training.kept_steps import KeptSteps

Handler = Callable[[str], Callable[..., Any]]
SETTINGS = ("", 5.0, 64.0, 0.0, 2.0, 7.5)
"Negative prompt, seed, width, height, sampling steps and CFG scale, as gradio passes them."


def embedding(name: str, value: float, step: int = 0) -> Embedding:
    return Embedding(name, {"clip_l": torch.full((2, 768), value)}, step, "fake", "0123456789")


@pytest.fixture
def run(services: Services) -> str:
    """The id of a run that has saved step 20."""
    for name, value in (("my-cat", 0.4), ("my dog", 0.6)):
        write_embedding(embedding(name, value), services.host.info().embeddings_folder / f"{name}.pt")
    services.host.reload_embeddings()
    state = stored_run(services.host, saved_step=20)
    for step in (20, 40):
        KeptSteps(state.folder).keep(step, embedding("my-cat", step / 100, step))
    return state.id


@pytest.fixture
def at(components: dict[str, Any]) -> Callable[[str], Any]:
    return lambda name: components[f"te_together_{name}"]


def labels(update: Any) -> list[str]:
    return [choice if isinstance(choice, str) else choice[0] for choice in update["choices"]]


def test_the_choices_are_embeddings_and_runs_with_kept_steps(services: Services, run: str, handler: Handler, at: Any) -> None:
    stored_run(services.host, "20261101-000000-000")
    updates = handler("update_together")("")
    assert labels(updates[at("embeddings")]) == ["my dog", "my-cat"]
    assert labels(updates[at("runs")]) == [f"my-cat · step 20 · {run}"]
    assert (updates[at("embeddings")]["value"], updates[at("grid")], updates[at("opened")]) == ([], "", "yes")
    assert at("embeddings") in handler("update_together")("yes")


def test_embeddings_and_a_run_are_drawn_stopped_and_shown_again(services: Services, run: str, handler: Handler, at: Any) -> None:
    (label,) = labels(handler("update_together")("")[at("runs")])
    handler("draw_together")(["my-cat", "my dog"], [label], "a [name]\n[name] <b>", *SETTINGS)
    services.comparing.wait("", 60)
    updates = handler("update_together")("")
    grid = updates[at("grid")]
    small = re.findall(r'<img loading="lazy" alt="([^"]*)" src="([^"]+)"', grid)
    assert [name for name, _ in small][::2] == ["my-cat, a [name]", "my dog, a [name]", "my-cat, a [name]"]
    assert all(re.fullmatch(r"train-embedding/images/embeddings/cells/[0-9a-f]{32}\.jpg", address) for _, address in small)
    assert 'href="train-embedding/images/embeddings/grid.png"' in grid
    assert 'data-update="te_together_update"' in grid
    assert "&lt;b&gt;" in grid
    assert "[name] <b>" not in grid
    assert f"Step 20 · {run}" in Reader(grid).text
    assert "Use this step" not in grid
    assert (updates[at("embeddings")]["value"], updates[at("runs")]["value"]) == (["my-cat", "my dog"], [label])
    assert (updates[at("prompts")], updates[at("seed")]) == ("a [name]\n[name] <b>", 5)
    assert handler("stop_together")()[at("stop")]["interactive"] is False


def test_what_cannot_be_drawn_is_said(run: str, handler: Handler, at: Any) -> None:
    for names, sentence in (([], "There is no embedding to compare."), (["nobody"], "nobody")):
        assert sentence in Reader(handler("draw_together")(names, None, "[name]", *SETTINGS)[at("status")]).text


def test_a_card_is_added_to_the_comparison(
    services: Services, run: str, handler: Handler, components: dict[str, Any], at: Any
) -> None:
    handler("draw_together")(["my-cat"], [], "[name]", *SETTINGS)
    services.comparing.wait("", 60)
    added = handler("add_to_comparison")("my dog.pt", "", [])
    assert added[at("embeddings")]["value"] == ["my-cat", "my dog"], "those of the last grid come first"
    assert added[components["te_together"]]["open"] is True
    assert handler("add_to_comparison")("my dog.pt", "yes", ["my dog"])[at("embeddings")]["value"] == ["my dog"]
    refused = handler("add_to_comparison")("", "yes", [])
    assert "No embedding is selected." in Reader(refused[components["te_library_status"]]).text
