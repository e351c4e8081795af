"""Grids that compare the steps of a run, and the step that is then used."""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.checkpoints import pictures
from tests.run_folders import stored_run
from tests.training import NAME, PATIENCE, Trainee, trainee
from train_embedding.embeddings.formats import read_embedding
from train_embedding.errors import Conflict, HostFailed, InvalidInput, NotFound
from train_embedding.services import Services
from train_embedding.services.comparing import Comparing, Comparison, GridOptions, parse_steps
from train_embedding.services.comparing.grid import Grid, spread_steps
from train_embedding.services.comparing.sheet import make_sheet
from train_embedding.services.run_records import RunState
from train_embedding.services.training.kept_steps import read_step

__all__ = ["pictures", "trainee"]

OPTIONS = GridOptions(prompts=("a [name]", "[name] on a table"), seed=7, sampling_steps=2, width=64, height=64)


@pytest.fixture
def run(trainee: Trainee) -> RunState:
    """It has kept the steps 0, 2, 4 and 6, and saved the last."""
    state = trainee.run(steps=6, eval_every=2, keep="last", preview_prompt="[name], cat\n[name]", preview_seed=5)
    trainee.host.requests.clear()
    return state


@pytest.fixture
def comparing(trainee: Trainee) -> Comparing:
    return trainee.services.comparing


def drawn(comparing: Comparing, run: RunState, options: GridOptions | None = OPTIONS, steps: tuple[int, ...] = ()) -> Comparison:
    return comparing.wait(comparing.start(run.id, options, steps).id, PATIENCE)


def test_a_grid_has_an_image_of_each_step_and_prompt(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    grid = drawn(comparing, run)
    assert (grid.status, grid.done, grid.total) == ("finished", 8, 8)
    assert [row.step for row in grid.rows] == [0, 2, 4, 6]
    asked = [(request.prompt, request.embeddings[0].step) for request in trainee.host.requests]
    assert asked == [(f"{a}{NAME}{b}", 10 + step) for step in (0, 2, 4, 6) for a, b in (("a ", ""), ("", " on a table"))]
    for request in trainee.host.requests:
        assert (request.seed, request.steps, request.width, request.height) == (7, 2, 64, 64)
        expected = read_step(run, (request.embeddings[0].step or 0) - 10)
        assert all(torch.equal(expected.vectors[key], request.embeddings[0].vectors[key]) for key in expected.vectors)
    assert trainee.host.jobs[-1] == f"Comparing {NAME}"
    assert [report.step for report in trainee.host.reports[-8:]] == list(range(1, 9))


def test_the_prompts_and_settings_are_by_default_those_of_the_previews(comparing: Comparing, run: RunState) -> None:
    options = drawn(comparing, run, None).options
    assert options.prompts == ("[name], cat", "[name]")
    assert (options.seed, options.width, options.height) == (5, 64, 64)
    assert comparing.default_options(run.id) == options
    drawn(comparing, run)
    assert comparing.default_options(run.id) == OPTIONS  # those of the last grid


def test_chosen_steps_are_compared(comparing: Comparing, run: RunState) -> None:
    assert [row.step for row in drawn(comparing, run, steps=(6, 0)).rows] == [0, 6]
    with pytest.raises(InvalidInput, match="were not kept: 3") as refused:
        comparing.start(run.id, OPTIONS, (0, 3))
    assert refused.value.hint == "The kept steps are 0, 2, 4, 6."


def test_images_that_exist_are_not_drawn_again(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    drawn(comparing, run, steps=(0, 6))
    before = len(trainee.host.requests)
    jobs = len(trainee.host.jobs)
    assert drawn(comparing, run, steps=(0, 6)).done == 4
    assert (len(trainee.host.requests), len(trainee.host.jobs)) == (before, jobs)
    drawn(comparing, run)
    assert len(trainee.host.requests) == before + 4
    drawn(Services(trainee.host).comparing, run)  # another process
    assert len(trainee.host.requests) == before + 4
    drawn(comparing, run, replace(OPTIONS, seed=8))
    assert len(trainee.host.requests) == before + 4 + 8


def test_a_stopped_grid_keeps_its_images_and_goes_on(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.host.on_txt2img = lambda _request: comparing.stop(run.id) if len(trainee.host.requests) == 3 else None
    stopped = drawn(comparing, run)
    assert (stopped.status, stopped.done, stopped.total) == ("stopped", 3, 8)
    seen_by_another = Services(trainee.host).comparing
    assert seen_by_another.get(run.id).done == 3
    trainee.host.on_txt2img = lambda _request: None
    finished = seen_by_another.wait(seen_by_another.resume(run.id).id, PATIENCE)
    assert (finished.status, finished.done) == ("finished", 8)
    assert len(trainee.host.requests) == 8


def test_interrupt_discards_the_unfinished_image(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.host.on_txt2img = lambda _request: trainee.host.press_interrupt() if len(trainee.host.requests) == 3 else None
    stopped = drawn(comparing, run)
    assert (stopped.status, stopped.done) == ("stopped", 2)


def test_a_killed_process_leaves_a_grid_that_can_be_continued(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    drawn(comparing, run, steps=(0,))
    record = run.folder / "comparison" / "grid.json"
    record.write_text(record.read_text().replace('"finished"', '"drawing"'))
    next(iter(record.parent.glob("*.png"))).unlink()
    found = Services(trainee.host).comparing.get(run.id)
    assert (found.status, found.active, found.done, found.total) == ("stopped", False, 1, 2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 1}'])
def test_a_damaged_record_counts_as_none(comparing: Comparing, run: RunState, text: str) -> None:
    (run.folder / "comparison").mkdir()
    (run.folder / "comparison" / "grid.json").write_text(text)
    assert comparing.find(run.id) is None
    assert drawn(comparing, run).status == "finished"


def test_nothing_is_drawn_while_a_training_runs(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    refused: list[str] = []

    def compare(_progress: object) -> None:
        with pytest.raises(Conflict) as error:
            comparing.start(run.id, OPTIONS)
        refused.append(error.value.message)

    trainee.host.on_report = compare
    trainee.run(steps=1)
    assert refused[0] == f'"{NAME}" is being trained, so no comparison images can be generated.'


def test_a_training_that_waits_in_the_queue_comes_first(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    queue = trainee.services.queue
    queue.add(trainee.spec(steps=1))
    assert drawn(comparing, run, steps=(0,)).status == "finished"  # nobody works on the queue
    with queue.work():
        with pytest.raises(Conflict, match="is waiting in the queue"):
            comparing.start(run.id, OPTIONS)
        queue.pause()
        assert drawn(comparing, run, steps=(2,)).status == "finished"


def test_a_training_that_begins_stops_the_grid(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    started = threading.Event()

    def train(_request: object) -> None:
        if not started.is_set():
            started.set()
            trainee.start(steps=1)

    trainee.host.on_txt2img = train
    stopped = drawn(comparing, run)
    assert (stopped.status, stopped.done) == ("stopped", 1)
    assert stopped.notes == ("Stopped because a training run has started. Continue when it has ended.",)
    trainee.wait(trainee.services.runs.list()[0])
    assert comparing.wait(comparing.resume(run.id).id, PATIENCE).status == "finished"


def test_one_grid_is_drawn_at_a_time(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    refused: list[Exception] = []

    def again(_request: object) -> None:
        with pytest.raises(Conflict, match="already being generated") as error:
            comparing.start(run.id, OPTIONS)
        refused.append(error.value)

    trainee.host.on_txt2img = again
    drawn(comparing, run, steps=(0,))
    assert len(refused) == 2


def test_the_next_grid_begins_after_the_end_of_the_last_is_written(
    comparing: Comparing, run: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, begun = Grid.save, list[bool]()

    def save_slowly(grid: Grid, folder: Path) -> None:
        if grid.status == "finished" and not begun:
            with suppress(Conflict):
                comparing.start(run.id, OPTIONS, (2,))
            begun.append(comparing.get(run.id).rows[0].step == 2)
        save(grid, folder)

    monkeypatch.setattr(Grid, "save", save_slowly)
    drawn(comparing, run, steps=(0,))
    assert begun == [False]
    assert [row.step for row in drawn(comparing, run, steps=(2,)).rows] == [2]
    assert [row.step for row in Services(comparing._host).comparing.get(run.id).rows] == [2]


def test_the_oldest_images_of_earlier_grids_are_removed(
    comparing: Comparing, run: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train_embedding.services.comparing.comparing.KEPT_IMAGES", 3)
    first = drawn(comparing, run, steps=(0,)).keys[0]
    for time, key in enumerate(first):
        os.utime(run.folder / "comparison" / f"{key}.png", (time, time))
    second = drawn(comparing, run, steps=(2,)).keys[0]
    last = drawn(comparing, run, steps=(4, 6))
    kept = {file.stem for file in (run.folder / "comparison").glob("*.png")}
    assert kept == {first[1], *second, *(key for keys in last.keys for key in keys)}
    assert last.done == last.total


def test_a_failure_of_the_host_is_said(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    def fail(_request: object) -> None:
        raise RuntimeError("the sampler exploded")

    trainee.host.on_txt2img = fail
    failed = drawn(comparing, run)
    assert (failed.status, failed.error) == ("failed", "The image could not be generated: the sampler exploded")
    trainee.host.on_txt2img = lambda _request: None
    assert comparing.wait(comparing.resume(run.id).id, PATIENCE).status == "finished"


def test_another_model_family_is_refused(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.host.widths = {"clip_h": 1024}
    with pytest.raises(Conflict):
        comparing.start(run.id, OPTIONS)
    trainee.host.widths = {}
    trainee.host.the_model = None
    with pytest.raises(HostFailed, match="No checkpoint is loaded"):
        comparing.start(run.id, OPTIONS)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (replace(OPTIONS, prompts=(" ",)), "There are no prompts."),
        (replace(OPTIONS, prompts=("x",) * 17), "There are 17 prompts; a grid has at most 16."),
        (replace(OPTIONS, seed=-1), "Seed is -1"),
        (replace(OPTIONS, sampling_steps=0), "Sampling steps is 0"),
        (replace(OPTIONS, width=65), "Width is 65"),
        (replace(OPTIONS, prompts=("(" * 3000 + "x",)), "cannot be read"),
        (replace(OPTIONS, prompts=("x" * 10_001,)), "The prompt has 10001 characters"),
    ],
)
def test_options_that_cannot_be_used(comparing: Comparing, run: RunState, options: GridOptions, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        comparing.start(run.id, options)
    assert sentence in refused.value.message
    assert comparing.find(run.id) is None


def test_prompts_without_the_trigger_and_another_checkpoint_are_pointed_out(trainee: Trainee, run: RunState) -> None:
    replace(run, checkpoint="other").save()
    fresh = Services(trainee.host).comparing
    grid = drawn(fresh, run, replace(OPTIONS, prompts=("a table", f"a {NAME}", "[name]")), (0,))
    assert grid.notes == (
        "Generated with fake; the run was trained on other.",
        "All rows look the same for prompts without the trigger word: a table.",
    )


def test_a_run_without_vectors_says_so(trainee: Trainee, comparing: Comparing) -> None:
    state = stored_run(trainee.host, spec={"embedding": NAME})
    with pytest.raises(NotFound, match="were kept, so its steps cannot be compared"):
        comparing.start(state.id)
    assert comparing.steps(state.id) == []
    with pytest.raises(NotFound, match="No comparison images"):
        comparing.get(state.id)


def test_the_sheet_is_one_image_with_everything(comparing: Comparing, run: RunState) -> None:
    drawn(comparing, run, steps=(0, 6))
    sheet = Image.open(io.BytesIO(comparing.sheet(run.id)))
    assert sheet.format == "PNG"
    colour = tuple(7 * factor % 256 for factor in (37, 101, 167))  # as the fake host draws
    counts = {value: count for count, value in sheet.getcolors(2**20) or []}
    assert counts[colour] == 4 * 192 * 192
    text = sheet.text["parameters"]  # pyright: ignore[reportAttributeAccessIssue]
    assert text.startswith(f"a {NAME}\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 7, Size: 64x64, Model hash: 0123456789")
    assert 'Y Values: "Start, Step 6"' in text


def test_the_sheet_is_made_again_only_when_it_changes(
    comparing: Comparing, run: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = make_sheet
    monkeypatch.setattr(
        "train_embedding.services.comparing.comparing.make_sheet", lambda *values: made.append(values[1]) or real(*values)
    )
    drawn(comparing, run, steps=(0, 6))
    first = comparing.sheet(run.id)
    assert comparing.sheet(run.id) is first
    drawn(comparing, run, steps=(0, 2, 6))
    assert comparing.sheet(run.id) != first
    assert len(made) == 2


def test_the_labels_of_the_sheet_are_translated_where_a_font_has_them(
    comparing: Comparing, run: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn(comparing, run, steps=(0, 6))
    for drawable, labels in ((True, "开始, 开始"), (False, "Start, Step 6")):
        monkeypatch.setattr("train_embedding.services.comparing.comparing.can_draw", lambda _text, drawable=drawable: drawable)
        with Image.open(io.BytesIO(comparing.sheet(run.id, lambda _text: "开始"))) as sheet:
            assert f'Y Values: "{labels}"' in sheet.info["parameters"]


def test_the_sheet_of_a_stopped_grid_has_blanks(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.host.on_txt2img = lambda _request: comparing.stop(run.id)
    drawn(comparing, run, steps=(0, 6))
    sheet = Image.open(io.BytesIO(comparing.sheet(run.id)))
    counts = {value: count for count, value in sheet.getcolors(2**20) or []}
    assert counts[(0xDD, 0xDD, 0xDD)] >= 3 * 192 * 192  # and a few pixels of the letters


def test_a_cell_says_how_it_was_made(comparing: Comparing, run: RunState) -> None:
    options = replace(OPTIONS, negative_prompt="blurry [name]")
    grid = drawn(comparing, run, options, (6,))
    data = comparing.cell(run.id, grid.keys[0][1])
    image = Image.open(io.BytesIO(data))
    assert image.size == (64, 64)
    expected = f"{NAME} on a table\nNegative prompt: blurry {NAME}\nSteps: 2, Sampler: Euler"
    assert image.text["parameters"].startswith(expected)  # pyright: ignore[reportAttributeAccessIssue]
    small = Image.open(io.BytesIO(comparing.thumbnail(run.id, grid.keys[0][1], 32)))
    assert (small.format, small.size) == ("JPEG", (32, 32))


@pytest.mark.parametrize("key", ["", "..", "../state", "0" * 32, "grid"])
def test_only_images_of_the_grid_are_given_out(comparing: Comparing, run: RunState, key: str) -> None:
    drawn(comparing, run, steps=(0,))
    with pytest.raises(NotFound):
        comparing.cell(run.id, key)


def test_images_of_the_dataset_are_shown_beside(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    count = comparing.dataset_images(run.id)
    assert count == min(6, len(list(trainee.pictures.glob("*.png"))))
    image = Image.open(io.BytesIO(comparing.dataset_image(run.id, 0, 16)))
    assert max(image.size) == 16
    with pytest.raises(NotFound):
        comparing.dataset_image(run.id, count, 16)


def test_images_of_the_dataset_are_upright(trainee: Trainee, comparing: Comparing, tmp_path: Path) -> None:
    folder, turned = tmp_path / "turned", Image.Exif()
    folder.mkdir()
    turned[0x0112] = 6  # orientation: by 90 degrees
    Image.new("RGB", (40, 20)).save(folder / "a.jpg", exif=turned)
    state = stored_run(trainee.host, spec={"embedding": NAME, "dataset": str(folder)})
    report = {"used": [{"file": "a.jpg", "caption_from": "text file"}], "skipped": []}
    (state.folder / "images.json").write_text(json.dumps(report))
    assert Image.open(io.BytesIO(comparing.dataset_image(state.id, 0, 16))).size == (8, 16)


def test_images_of_the_dataset_are_cropped_as_the_run_used_them(trainee: Trainee, comparing: Comparing, tmp_path: Path) -> None:
    folder = tmp_path / "cropped"
    folder.mkdir()
    whole = Image.new("RGB", (400, 200), "red")
    whole.paste("blue", (300, 0, 400, 100))
    whole.save(folder / "a.png")
    state = stored_run(trainee.host, spec={"embedding": NAME, "dataset": str(folder)})
    used = {"file": "a.png", "size": [400, 200], "crop": [300, 0, 100, 100], "caption_from": "text file"}
    (state.folder / "images.json").write_text(json.dumps({"used": [used], "skipped": []}))
    image = Image.open(io.BytesIO(comparing.dataset_image(state.id, 0, 16))).convert("RGB")
    assert image.size == (16, 16)
    assert image.getpixel((8, 8))[2] > 200  # type: ignore[index]


def test_a_step_is_used_and_the_old_file_brought_back(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    before = trainee.file.read_bytes()
    assert [step.step for step in comparing.steps(run.id) if step.in_use] == [6]
    reloads = trainee.host.reloads
    used = comparing.use_step(run.id, 2)
    assert trainee.host.reloads == reloads + 1
    now, expected = trainee.embedding(), read_step(run, 2)
    assert all(torch.equal(now.vectors[key], expected.vectors[key]) for key in expected.vectors)
    assert (now.step, now.checkpoint_name, now.checkpoint_hash) == (12, "fake", "0123456789")
    assert [step.step for step in comparing.steps(run.id) if step.in_use] == [2]
    assert Services(trainee.host).runs.get(run.id).saved_step == 2
    assert used.trash_id in {item.id for item in trainee.services.library.trashed()}
    comparing.undo_use(run.id, used.trash_id)
    assert trainee.file.read_bytes() == before
    assert [step.step for step in comparing.steps(run.id) if step.in_use] == [6]


def test_using_the_saved_step_again_writes_what_the_training_wrote(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    before = trainee.embedding()
    comparing.use_step(run.id, 0)
    assert trainee.embedding().step == 10
    comparing.use_step(run.id, 6)
    after = trainee.embedding()
    facts = ("name", "step", "checkpoint_name", "checkpoint_hash", "format", "metadata")
    assert [getattr(after, fact) for fact in facts] == [getattr(before, fact) for fact in facts]
    assert all(torch.equal(after.vectors[key], before.vectors[key]) for key in before.vectors)


def test_a_deleted_embedding_comes_into_being_again(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.services.library.delete(NAME)
    assert not any(step.in_use for step in comparing.steps(run.id))
    assert comparing.use_step(run.id, 4).trash_id == ""
    assert read_embedding(trainee.file).step == 14


def test_a_step_is_not_used_while_the_embedding_is_trained(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    before = trainee.file.read_bytes()
    with trainee.services.library.lock_for_training(NAME), pytest.raises(Conflict, match="is being trained"):
        comparing.use_step(run.id, 2)
    assert trainee.file.read_bytes() == before


def test_a_file_of_another_embedding_is_not_brought_back(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.services.library.copy(NAME, "other")
    trainee.services.library.delete("other")
    (item,) = [item.id for item in trainee.services.library.trashed() if item.name == "other"]
    with pytest.raises(Conflict, match="is not the embedding"):
        comparing.undo_use(run.id, item)


def test_embeddings_are_compared(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.services.library.copy(NAME, "shield")
    started = comparing.start_embeddings([NAME, "shield"], OPTIONS)
    grid = comparing.wait(started.id, PATIENCE)
    assert (grid.status, grid.done) == ("finished", 4)
    assert [row.embedding for row in grid.rows] == [NAME, "shield"]
    assert [request.prompt for request in trainee.host.requests] == [
        f"a {NAME}", f"{NAME} on a table", "a shield", "shield on a table"
    ]  # fmt: skip
    assert comparing.sheet(grid.id)
    with pytest.raises(InvalidInput):
        comparing.start_embeddings([])


def test_embeddings_and_runs_are_compared(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    trainee.services.library.copy(NAME, "shield")
    started = comparing.start_embeddings(["shield"], replace(OPTIONS, prompts=("[name]",)), [run.id, run.id])
    grid = comparing.wait(started.id, PATIENCE)
    assert [(row.embedding, row.step, row.run) for row in grid.rows] == [("shield", 16, ""), (NAME, 6, run.id)]
    (shield, saved) = trainee.host.requests
    assert (shield.prompt, saved.prompt) == ("shield", NAME)
    expected = read_step(run, 6)
    assert all(torch.equal(expected.vectors[key], saved.embeddings[0].vectors[key]) for key in expected.vectors)
    with Image.open(io.BytesIO(comparing.sheet(grid.id))) as sheet:
        assert f"{NAME} · step 6 · {run.id}" in sheet.info["parameters"]
    trainee.host.requests.clear()
    later = Services(trainee.host).comparing
    resumed = later.wait(later.resume("").id, PATIENCE)
    assert (resumed.rows, resumed.done, trainee.host.requests) == (grid.rows, 2, [])
    assert later.default_options("") == resumed.options
    with pytest.raises(InvalidInput, match="61 embeddings; a grid has at most 60"):
        comparing.start_embeddings([str(number) for number in range(60)], OPTIONS, [run.id])
    nothing = stored_run(trainee.host, "20261101-000000-000")
    with pytest.raises(NotFound, match="No vectors of the run"):
        comparing.start_embeddings([], OPTIONS, [nothing.id])


def test_a_deleted_run_takes_its_images_along(trainee: Trainee, comparing: Comparing, run: RunState) -> None:
    drawn(comparing, run)
    trainee.services.runs.delete(run.id)
    assert not run.folder.exists()
    with pytest.raises(NotFound):
        comparing.find(run.id)


def test_a_run_that_is_deleted_while_its_grid_is_drawn_stays_deleted(
    trainee: Trainee, comparing: Comparing, run: RunState
) -> None:
    trainee.host.on_txt2img = lambda _request: trainee.services.runs.delete(run.id) if len(trainee.host.requests) == 1 else None
    comparing.start(run.id, OPTIONS)
    with pytest.raises(NotFound):
        comparing.wait(run.id, PATIENCE)
    assert len(trainee.host.requests) == 1
    assert not (run.folder / "state.json").exists()


@pytest.mark.parametrize(
    ("text", "steps"), [("", ()), ("0, 60，120 、 7", (0, 7, 60, 120)), ("5 5", (5,))], ids=["none", "marks", "twice"]
)
def test_steps_are_typed(text: str, steps: tuple[int, ...]) -> None:
    assert parse_steps(text) == steps


def test_what_is_no_step_is_named() -> None:
    with pytest.raises(InvalidInput, match='"ten" is not a step'):
        parse_steps("0, ten")


def test_steps_are_spread_evenly_with_the_first_the_last_and_the_used_one() -> None:
    steps = list(range(0, 1001, 10))
    chosen = spread_steps(steps, [370, None, 5], 8)
    assert len(chosen) == 8
    assert {0, 370, 1000} <= set(chosen)
    assert max(b - a for a, b in itertools.pairwise(chosen)) <= 250
    assert spread_steps([0, 5], [None], 8) == [0, 5]
    assert spread_steps([], [3]) == []
