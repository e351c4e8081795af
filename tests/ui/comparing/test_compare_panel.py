"""The comparison in the sub-tab Runs, over a run of an earlier process."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

pytest.importorskip("gradio")

from tests.run_folders import FIRST, stored_run
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.services import Services
from train_embedding.services.training.kept_steps import KeptSteps
from train_embedding.testing import FakeHost
from train_embedding.ui.comparing.html import shortened

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]
SECOND = "20261102-100000-000"
NUMBERS = (5.0, 64.0, 0.0, 2.0, 7.5)
"Seed, width, height, sampling steps and CFG scale, as gradio passes them."
IDS = (
    "prompts", "steps", "negative_prompt", "seed", "width", "height", "sampling_steps", "guidance", "draw", "stop", "status",
    "undo", "grid", "run", "step", "use", "update", "replaced",
)  # fmt: skip


def embedding(value: float, step: int) -> Embedding:
    return Embedding("my-cat", {"clip_l": torch.full((2, 768), value)}, step, "fake", "0123456789")


@pytest.fixture
def run(services: Services) -> str:
    """The id of a run that has kept the start and two steps, the last of which is the embedding."""
    spec = {"preview_prompt": "a [name]\n[name] <b>", "preview_seed": 3, "preview_steps": 2}
    state = stored_run(services.host, spec=spec, evaluations=((0, 1.0, 0.5), (20, 0.9, 0.45)), saved_step=40)
    write_embedding(embedding(0.0, 0), state.folder / "start.pt")
    for step in (20, 40):
        KeptSteps(state.folder).keep(step, embedding(step / 100, step))
    write_embedding(embedding(0.4, 40), services.host.info().embeddings_folder / "my-cat.pt")
    services.host.reload_embeddings()
    return state.id


@pytest.fixture
def at(components: Components) -> Callable[[str], Any]:
    return lambda name: components[f"te_compare_{name}"]


def drawn(services: Services, handler: Handler, run: str, steps: str = "", prompts: str = "a [name]\n[name]") -> str:
    updates = handler("draw_comparison")(run, prompts, steps, "", *NUMBERS)
    services.comparing.wait(run, 60)
    assert len(updates) > 1, updates
    return next(str(value) for value in handler("update_comparison")(run).values() if "te-comparison" in str(value))


def test_element_ids(components: Components) -> None:
    assert [name for name in IDS if f"te_compare_{name}" not in components] == []
    assert {"te_compare", "te_runs_compare", "te_train_compare"} <= set(components)


def test_it_opens_with_the_prompts_of_the_previews_and_the_kept_steps(run: str, handler: Handler, at: Any) -> None:
    updates = handler("open_comparison")(run)
    assert updates[at("prompts")] == "a [name]\n[name] <b>"
    assert (updates[at("seed")], updates[at("sampling_steps")], updates[at("run")]) == (3, 2, run)
    assert "Kept steps: 0, 20, 40." in updates[at("grid")]
    assert "A run keeps the start, every evaluated step" in updates[at("grid")]
    assert "<img" not in updates[at("grid")]


@pytest.mark.parametrize(
    ("steps", "texts"),
    [
        ([], ""),
        ([7], "7"),
        ([0, 5, 10, 15], "0, 5, 10, 15"),
        ([0, 5, 10, 15, 20], "0, 5, …, 20"),
        ([0, 1, *range(5, 401, 5)], "0, 1, 5, 10, …, 400"),
        ([*range(6), *range(10, 60, 10), 63], "0, 1, …, 5, 10, 20, …, 50, 63"),
    ],
)
def test_steps_at_equal_distances_are_shortened(steps: list[int], texts: str) -> None:
    assert ", ".join(shortened(steps)) == texts


def test_a_run_of_an_earlier_version_gets_a_clear_sentence(services: Services, handler: Handler, at: Any) -> None:
    stored_run(services.host)
    assert "No vectors of this run were kept" in handler("open_comparison")(FIRST)[at("grid")]
    refused = handler("draw_comparison")(FIRST, "[name]", "", "", *NUMBERS)
    assert "so its steps cannot be compared" in refused[at("status")]


def test_the_grid_has_lazy_images_by_address_and_a_button_for_each_step(services: Services, run: str, handler: Handler) -> None:
    grid = drawn(services, handler, run)
    assert "data:" not in grid
    small = re.findall(r'<img loading="lazy" alt="[^"]*" src="([^"]+)"', grid)
    assert len(small) == 6
    assert all(address.startswith(f"train-embedding/images/runs/{run}/cells/") for address in small)
    assert [int(step) for step in re.findall(r'class="te-use-step" data-step="(\d+)"', grid)] == [0, 20]
    assert grid.count("In use") == 1
    assert "loss 0.4500" in grid
    assert "6 of 6 images" in grid
    assert f'href="train-embedding/images/runs/{run}/grid.png"' in grid


def test_text_of_people_is_escaped(services: Services, run: str, handler: Handler) -> None:
    grid = drawn(services, handler, run, prompts="<b>[name]</b>")
    assert "&lt;b&gt;[name]&lt;/b&gt;" in grid
    assert "<b>[name]" not in grid


def test_chosen_steps_are_drawn(services: Services, run: str, handler: Handler) -> None:
    assert re.findall(r'<tr data-step="(\d+)"', drawn(services, handler, run, "0, 20")) == ["0", "20"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({1: ""}, "There are no prompts."),
        ({2: "ten"}, "is not a step"),
        ({2: "7"}, "were not kept: 7"),
        ({4: None}, "is empty"),
        ({4: 1.5}, "Seed is 1.5"),
        ({5: 65.0}, "Width is 65"),
        ({0: ""}, "No run is selected."),
    ],
)
def test_what_cannot_be_drawn_is_said(run: str, handler: Handler, at: Any, changes: dict[int, Any], sentence: str) -> None:
    values: list[Any] = [run, "[name]", "", "", *NUMBERS]
    for place, value in changes.items():
        values[place] = value
    updates = handler("draw_comparison")(*values)
    assert list(updates) == [at("status")]
    assert sentence in updates[at("status")]


def test_a_step_is_used_and_undone(services: Services, run: str, handler: Handler, at: Any) -> None:
    file = services.host.info().embeddings_folder / "my-cat.pt"
    before = file.read_bytes()
    drawn(services, handler, run)
    used = handler("use_run_step")(run, "20")
    assert "my-cat now has the vectors of step 20." in used[at("status")]
    assert "te-used" in used[at("status")]
    assert re.findall(r'class="te-use-step" data-step="(\d+)"', used[at("grid")]) == ["0", "40"]
    assert read_embedding(file).step == 20
    undone = handler("undo_use")(run, used[at("replaced")])
    assert "The previous file of my-cat is back." in undone[at("status")]
    assert file.read_bytes() == before
    assert "vectors of the start" in handler("use_run_step")(run, "0")[at("status")]


def test_another_run_is_followed_only_while_a_comparison_is_open(services: Services, run: str, handler: Handler, at: Any) -> None:
    stored_run(services.host, SECOND)
    assert list(handler("follow_selection")(SECOND, "")) == [at("status")]
    assert handler("follow_selection")(SECOND, run)[at("run")] == SECOND
    assert list(handler("follow_selection")(run, run)) == [at("status")]


def test_a_grid_can_be_stopped_and_says_how_to_go_on(
    services: Services, run: str, handler: Handler, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = cast("FakeHost", services.host)
    draw = host.txt2img

    def draw_and_stop(request: Txt2ImgRequest) -> Any:
        handler("stop_comparison")(run)
        return draw(request)

    monkeypatch.setattr(host, "txt2img", draw_and_stop)
    grid = drawn(services, handler, run)
    assert "1 of 6 images. Stopped; &#34;Generate images&#34; generates the rest." in grid
    assert grid.count("te-missing") == 5
    monkeypatch.undo()
    assert "6 of 6 images" in drawn(services, handler, run)
