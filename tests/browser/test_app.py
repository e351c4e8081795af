"""The standalone app in Chromium, on the demo checkpoint: the main job, and what people get wrong."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("gradio")

from benchmarks.hostile_cases import vectors_and_call
from tests.dragging import drag_in, drop
from tests.pages import settle
from tests.standalone_app import (
    PICTURES,
    App,
    card,
    choose,
    choose_card,
    choose_dataset,
    create,
    fill,
    library_card,
    open_creation,
    open_page,
    progress,
    serve_app,
    start_training,
    sub_tab,
    tab,
    text,
    train,
    unfold,
    value,
    wait,
)
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]


def generate(ui: Any, prompt: str, negative: str = "", seed: int = 1) -> bytes:
    """The picture's pixels."""
    tab(ui, "txt2img")
    fill(ui, "txt2img_prompt", prompt)
    fill(ui, "txt2img_neg_prompt", negative)
    return click_generate(ui, seed)


def click_generate(ui: Any, seed: int = 1) -> bytes:
    fill(ui, "txt2img_seed", str(seed))
    fill(ui, "txt2img_steps", "5")
    before = text(ui, "html_info_txt2img")
    ui.click("#txt2img_generate")
    wait(ui, lambda: text(ui, "html_info_txt2img") not in ("", before), "a picture")
    settle(ui)
    return shown_picture(ui)


def wait_for_picture(ui: Any, wanted: Callable[[bytes], bool], what: str) -> None:
    """For a gallery that follows its caption later still."""
    wait(ui, lambda: wanted(shown_picture(ui)), what, 20)


def shown_picture(ui: Any) -> bytes:
    address = ui.locator("#txt2img_gallery img").first.evaluate("image => image.src")
    return Image.open(BytesIO(ui.request.get(address).body())).convert("RGB").tobytes()


def test_the_main_job(ui: Any, app: App) -> None:
    """Create, card, double click, generate, train, generate."""
    word = generate(ui, "a big red star")
    assert "Created my-word with 1 vector." in create(ui, "my-word", "red", "1")
    wait(ui, lambda: value(ui, "te_train_embedding") == "my-word", "the new name in its field", 30)
    tab(ui, "txt2img")
    wait(ui, lambda: card(ui, "my-word").count() == 1, "the new card", 20)
    fill(ui, "txt2img_prompt", "a big")
    ui.click("#txt2img_prompt textarea")
    card(ui, "my-word").dblclick()
    wait(ui, lambda: value(ui, "txt2img_prompt") == "a big my-word", "the trigger in the prompt", 10)
    # an untrained embedding of a word is that word
    generate(ui, "a small blue ring on a gold background")
    wait_for_picture(ui, lambda picture: picture != word, "another picture, so that the next one is seen to come")
    generate(ui, "a big my-word star")
    wait_for_picture(ui, lambda picture: picture == word, "the picture of the word")
    tab(ui, "Train Embedding")
    assert train(ui, "my-word") | {"status": "finished", "step": "12"} == progress(ui)
    wait(ui, lambda: str(app.data / "embeddings" / "my-word.pt") in text(ui, "te_train_status"), "the file's name", 30)
    sub_tab(ui, "Library")
    wait(ui, lambda: "12 steps" in library_card(ui, "my-word").inner_text(), "the steps on the card", 30)
    sub_tab(ui, "Train")
    wait(ui, lambda: ui.locator("#te_train_gallery img").count() >= 1, "a preview", 30)
    # used at once, in either box
    generate(ui, "a big my-word star")
    wait_for_picture(ui, lambda picture: picture != word, "another picture")
    generate(ui, "a big red star")
    wait_for_picture(ui, lambda picture: picture == word, "the word's picture, as before")
    generate(ui, "a big red star", "my-word")
    wait_for_picture(ui, lambda picture: picture != word, "the negative prompt's picture")
    negative = shown_picture(ui)
    generate(ui, "a big red star", "nothing")
    wait_for_picture(ui, lambda picture: picture != negative, "another negative prompt's picture")


def test_auto_vectors_are_the_text_itself(ui: Any) -> None:
    assert "with 3 vectors" in create(ui, "packed", "big red star", "auto")
    words = generate(ui, "a big red star on a navy background")
    generate(ui, "a small blue ring on a gold background")
    wait_for_picture(ui, lambda picture: picture != words, "another picture")
    generate(ui, "a packed on a navy background")
    wait_for_picture(ui, lambda picture: picture == words, "the picture of the words")


def test_double_click_in_the_negative_box(ui: Any) -> None:
    create(ui, "my.neg+1", "blue", "1")
    tab(ui, "txt2img")
    wait(ui, lambda: card(ui, "my.neg+1").count() == 1, "the new card", 20)
    fill(ui, "txt2img_prompt", "a red star")
    fill(ui, "txt2img_neg_prompt", "myXneg+1")
    ui.click("#txt2img_neg_prompt textarea")
    for _ in range(2):
        card(ui, "my.neg+1").dblclick()
        wait(ui, lambda: value(ui, "txt2img_neg_prompt") == "myXneg+1 my.neg+1", "the trigger, once", 10)
        settle(ui)
        assert value(ui, "txt2img_neg_prompt") == "myXneg+1 my.neg+1"
    assert value(ui, "txt2img_prompt") == "a red star"


def test_a_single_click_inserts_and_a_second_removes(ui: Any) -> None:
    create(ui, "toggle", "blue", "1")
    tab(ui, "txt2img")
    wait(ui, lambda: card(ui, "toggle").count() == 1, "the new card", 20)
    fill(ui, "txt2img_prompt", "a star")
    ui.click("#txt2img_prompt textarea")
    for after in ("a star toggle", "a star"):
        card(ui, "toggle").click()
        wait(ui, lambda after=after: value(ui, "txt2img_prompt") == after, after, 10)
        settle(ui)
        assert value(ui, "txt2img_prompt") == after


def test_a_page_opened_during_training_shows_it(ui: Any, app: App) -> None:
    create(ui, "long-run", "red", "2")
    start_training(ui, "long-run", steps=100_000)
    wait(ui, lambda: progress(ui)["status"] == "running" and int(progress(ui)["step"]) > 1, "training")
    run = progress(ui)
    open_page(app, ui)
    ui.wait_for_selector('#te_train_progress .te-progress[data-active="true"]', state="attached")
    assert progress(ui)["run"] == run["run"]
    assert int(progress(ui)["step"]) >= int(run["step"])
    step = int(progress(ui)["step"])
    wait(ui, lambda: int(progress(ui)["step"]) > step, "progress on the new page")
    wait(ui, lambda: "left" in text(ui, "te_train_progress") and "loss" in text(ui, "te_train_progress"), "ETA and loss")
    # the fields as they were used last
    wait(ui, lambda: value(ui, "te_train_embedding") == "long-run", "the name used last", 30)
    assert value(ui, "te_train_steps") == "100000"
    # a second run has to wait
    ui.click("#te_train_button")
    wait(ui, lambda: '"long-run" is being trained.' in text(ui, "te_train_status"), "the refusal", 30)
    ui.click("#te_train_stop")
    wait(ui, lambda: progress(ui)["status"] == "stopped", "the stop")
    wait(ui, lambda: "long-run.pt" in text(ui, "te_train_status"), "the name of the kept file", 30)
    sub_tab(ui, "Library")
    wait(ui, lambda: "untrained" not in library_card(ui, "long-run").inner_text(), "the steps on the card", 30)


def test_stop_before_the_first_step_loses_nothing(ui: Any, app: App) -> None:
    create(ui, "too-soon", "red", "2")
    file = app.data / "embeddings" / "too-soon.pt"
    content = file.read_bytes()
    before = progress(ui)["run"]
    start_training(ui, "too-soon", steps=100_000)
    ui.click("#te_train_stop")
    wait(ui, lambda: progress(ui)["run"] != before and progress(ui)["active"] == "false", "the stop")
    assert progress(ui)["status"] == "stopped"
    wait(ui, lambda: "too-soon" in text(ui, "te_train_status"), "the name of the kept file", 30)
    assert progress(ui)["step"] != "0" or file.read_bytes() == content


def test_files_dropped_in_by_hand_appear_after_refresh(ui: Any, app: App) -> None:
    create(ui, "original", "red", "2")
    folder = app.data / "embeddings" / "by hand"
    folder.mkdir(exist_ok=True)
    (folder / "dropped.pt").write_bytes((app.data / "embeddings" / "original.pt").read_bytes())
    (folder / "broken.pt").write_bytes(b"no embedding")
    sub_tab(ui, "Library")
    ui.click("#te_library_refresh")
    wait(ui, lambda: ui.locator('#te_library_cards .te-card[data-name="dropped"]').count() == 1, "the card", 30)
    assert ui.locator('#te_library_cards .te-left-out[data-name="broken"]').count() == 1
    ui.click('#te_library_cards .te-card[data-name="dropped"]')
    wait(ui, lambda: "dropped.pt" in text(ui, "te_library_details"), "the details", 30)
    tab(ui, "txt2img")
    wait(ui, lambda: card(ui, "dropped").count() == 1, "the card of the txt2img page", 30)
    assert card(ui, "broken").count() == 0


@pytest.mark.parametrize(
    ("name", "vectors", "sentence"),
    [
        ("", "1", "The name is empty."),
        ("a/b", "1", "contains '/'"),
        ("(a)", "1", "contains '('"),
        ("con", "1", "is reserved by Windows"),
        ("fine", "0", "from 1 to 75"),
        ("fine", "76", "from 1 to 75"),
    ],
)
def test_create_says_what_is_wrong(ui: Any, app: App, name: str, vectors: str, sentence: str) -> None:
    files = sorted((app.data / "embeddings").rglob("*"))
    assert sentence in create(ui, name, "red", vectors)
    assert sorted((app.data / "embeddings").rglob("*")) == files
    assert (value(ui, "te_create_name"), value(ui, "te_create_vectors")) == (name, vectors)


def test_an_existing_name_needs_the_tick(ui: Any, app: App) -> None:
    create(ui, "again", "red", "1")
    assert 'There is already an embedding "again".' in create(ui, "again", "big red star", "auto")
    assert "with 3 vectors" in create(ui, "again", "big red star", "auto", overwrite=True)
    assert not ui.locator("#te_create_overwrite input").is_checked()
    assert list((app.data / "trash").glob("again.*/again.pt"))


def test_train_says_what_is_wrong(ui: Any, app: App, tmp_path: Path) -> None:
    create(ui, "ready", "red", "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "<i>.png").write_bytes(b"no picture")
    for values, sentence in (
        ({"folder": tmp_path / "none"}, "does not exist"),
        ({"folder": tmp_path / "empty"}, "There are no images"),
        ({"folder": tmp_path / "bad"}, "<i>.png"),
        ({"learning_rate": "5e-3:10:20"}, '"5e-3:10:20" is not a learning rate.'),
        ({"steps": "0"}, '"Steps" is 0'),
        ({"steps": ""}, '"Steps" is empty.'),
    ):
        start_training(ui, "ready", **values)
        wait(ui, lambda sentence=sentence: sentence in text(ui, "te_train_status"), sentence, 30)
    assert ui.locator("#te_panels i").count() == 0


def test_the_poll_works_whichever_sub_tab_is_open(ui: Any, app: App) -> None:
    create(ui, "watched", "red", "1")
    before = progress(ui)["run"]
    start_training(ui, "watched")
    sub_tab(ui, "Library")
    wait(ui, lambda: progress(ui)["run"] != before, "the start of training")
    wait(ui, lambda: progress(ui)["active"] == "false", "the end of training")
    wait(ui, lambda: "12 steps" in library_card(ui, "watched").inner_text(), "the steps on the card", 30)


def test_text_from_people_is_escaped(ui: Any) -> None:
    evil = "<img src=x onerror='window.evil=1'>"
    assert evil in create(ui, evil, evil, "1")
    open_creation(ui)
    fill(ui, "te_create_vectors", evil)
    wait(ui, lambda: "<img" in text(ui, "te_create_budget"), "the answer to the number", 30)
    choose_dataset(ui, evil)
    wait(ui, lambda: "<img" in text(ui, "te_train_dataset_check"), "the answer to the folder", 30)
    name = "it's &amp; mine"
    assert "Created" in create(ui, name, "red", "1")
    tab(ui, "txt2img")
    wait(ui, lambda: card(ui, name).count() == 1, "the card", 30)
    assert card(ui, name).inner_text() == name
    fill(ui, "txt2img_prompt", "a")
    ui.click("#txt2img_prompt textarea")
    card(ui, name).dblclick()
    wait(ui, lambda: value(ui, "txt2img_prompt") == f"a {name}", "the trigger", 10)
    assert ui.evaluate("window.evil") is None
    assert ui.locator("img[src=x]").count() == 0


def test_the_budget_follows_the_text(ui: Any) -> None:
    tab(ui, "Train Embedding")
    open_creation(ui)
    fill(ui, "te_create_init_text", "a red star")
    whole = "3 tokens. The embedding uses 3 of the 75 tokens of a prompt."
    wait(ui, lambda: text(ui, "te_create_budget") == whole, "3 of 75", 30)
    fill(ui, "te_create_vectors", "12")
    wait(ui, lambda: text(ui, "te_create_budget").startswith("3 tokens. The embedding uses 12 of the 75"), "12 of 75", 30)
    fill(ui, "te_create_vectors", "76")
    wait(ui, lambda: "from 1 to 75" in text(ui, "te_create_budget"), "the limit", 30)


def test_a_preset_fills_the_fields(ui: Any) -> None:
    tab(ui, "Train Embedding")
    ui.get_by_label("WebUI classic").check()
    wait(ui, lambda: value(ui, "te_train_batch_size") == "1" and value(ui, "te_train_learning_rate") == "0.005", "the values", 30)
    ui.get_by_label("Fast").check()
    wait(ui, lambda: value(ui, "te_train_steps") == "248" and value(ui, "te_train_batch_size") == "2", "the values", 30)


def test_the_folder_is_counted(ui: Any) -> None:
    tab(ui, "Train Embedding")
    choose_dataset(ui, PICTURES)
    count = len(list(PICTURES.glob("*.png")))
    wait(ui, lambda: text(ui, "te_train_dataset_check").startswith(f"{count} images"), "the count", 30)


def test_a_name_is_changed_and_a_deletion_undone(ui: Any, app: App) -> None:
    create(ui, "before", "red", "2")
    choose_card(ui, "before")
    unfold(ui, "Rename, copy, delete", "te_library_delete")
    wait(ui, lambda: value(ui, "te_library_new_name") == "before", "the name in the field", 30)
    fill(ui, "te_library_new_name", "after")
    ui.click("#te_library_rename")
    wait(ui, lambda: library_card(ui, "after").count() == 1 and library_card(ui, "before").count() == 0, "the new card", 30)
    wait(ui, lambda: library_card(ui, "after").get_attribute("aria-selected") == "true", "the mark on it", 30)
    tab(ui, "txt2img")
    wait(ui, lambda: card(ui, "after").count() == 1, "the card of the txt2img page", 30)
    tab(ui, "Train Embedding")
    ui.click("#te_library_delete")
    wait(ui, lambda: "after is in the trash." in text(ui, "te_library_status"), "the deletion", 30)
    wait(ui, lambda: library_card(ui, "after").count() == 0, "the card's end", 30)
    ui.click("#te_library_undo")
    wait(ui, lambda: library_card(ui, "after").count() == 1, "the card again", 30)
    assert (app.data / "embeddings" / "after.pt").is_file()


def test_a_deleted_embedding_whose_name_is_taken_again_comes_back(ui: Any, app: App) -> None:
    file = app.data / "embeddings" / "twice.pt"
    create(ui, "twice", "red", "2")
    first = file.read_bytes()
    choose_card(ui, "twice")
    unfold(ui, "Rename, copy, delete", "te_library_delete")
    ui.click("#te_library_delete")
    wait(ui, lambda: "twice is in the trash." in text(ui, "te_library_status"), "the deletion", 30)
    create(ui, "twice", "blue", "1")
    second = file.read_bytes()
    sub_tab(ui, "Library")
    ui.click("#te_library_undo")
    ui.wait_for_selector("#te_library_taken:visible")
    wait(ui, lambda: value(ui, "te_library_restore_as") == "twice-2", "the free name", 30)
    ui.click("#te_library_replace")
    wait(ui, lambda: "Restored twice." in text(ui, "te_library_status"), "the old one", 30)
    assert file.read_bytes() == first
    assert not ui.locator("#te_library_taken").is_visible()
    ui.click("#te_library_undo")
    wait(ui, lambda: file.read_bytes() == second, "the new one", 30)
    unfold(ui, "Trash", "te_library_restore")
    item = next(path.name for path in (app.data / "trash").iterdir() if path.name.startswith("twice."))
    box = ui.locator("#te_library_trashed input").first
    box.click()
    box.fill(item)
    box.press("Enter")
    box.blur()
    ui.click("#te_library_restore")
    ui.wait_for_selector("#te_library_taken:visible")
    fill(ui, "te_library_restore_as", "once")
    ui.click("#te_library_restore_under")
    wait(ui, lambda: library_card(ui, "once").count() == 1, "the card under the other name", 30)
    assert (file.read_bytes(), file.with_name("once.pt").read_bytes()) == (second, first)


def test_an_unsafe_file_is_sanitized(ui: Any, app: App, tmp_path: Path) -> None:
    file = app.data / "embeddings" / "evil.pt"
    file.write_bytes(vectors_and_call(str(tmp_path / "ran"), zipped=True))
    sub_tab(ui, "Library")
    ui.click("#te_library_refresh")
    wait(ui, lambda: ui.locator("#te_library_cards .te-card.te-unsafe").count() == 1, "the marked card", 30)
    choose_card(ui, "evil")
    assert "posix.system" in text(ui, "te_library_details")
    ui.click("#te_library_sanitize")
    wait(ui, lambda: "contains only the vectors" in text(ui, "te_library_status"), "the sanitized file", 30)
    wait(ui, lambda: ui.locator("#te_library_cards .te-card.te-unsafe").count() == 0, "the card without its mark", 30)
    wait(ui, lambda: not ui.locator("#te_library_sanitize").is_visible(), "the end of the button", 30)
    assert not (tmp_path / "ran").exists()
    unfold(ui, "Rename, copy, delete", "te_library_delete")
    ui.click("#te_library_delete")
    wait(ui, lambda: library_card(ui, "evil").count() == 0, "the card's end", 30)


def test_files_are_imported_under_their_own_names(ui: Any, app: App, tmp_path: Path) -> None:
    create(ui, "to-copy", "red", "2")
    files = [tmp_path / "c++ 星空.pt", tmp_path / "broken.pt"]
    files[0].write_bytes((app.data / "embeddings" / "to-copy.pt").read_bytes())
    files[1].write_bytes(b"no embedding")
    sub_tab(ui, "Library")
    ui.set_input_files("#te_library_upload input[type=file]", [str(file) for file in files])
    wait(ui, lambda: "1 embedding imported." in text(ui, "te_library_status"), "the import", 60)
    assert "broken.pt" in text(ui, "te_library_status")
    wait(ui, lambda: library_card(ui, "c++ 星空").count() == 1, "the card", 30)


def test_files_dragged_onto_the_library_are_imported(ui: Any, app: App, tmp_path: Path) -> None:
    create(ui, "to-drag", "red", "2")
    dragged, notes, preview = tmp_path / "拖放 c++ 星.pt", tmp_path / "拖放 c++ 星.json", tmp_path / "拖放 c++ 星.preview.png"
    dragged.write_bytes((app.data / "embeddings" / "to-drag.pt").read_bytes())
    notes.write_text('{"description": "Dragged."}')
    Image.new("RGB", (64, 64), (0, 200, 0)).save(preview)
    plain, holiday = tmp_path / "dragged-plain.pt", tmp_path / "holiday.txt"
    plain.write_bytes(dragged.read_bytes())
    holiday.write_text("sun")
    files = [preview, dragged, holiday, notes, plain]
    sub_tab(ui, "Library")
    drag_in(ui, files, "#te_library_cards")
    assert ui.locator("#te_library.te-drop").count() == 1
    drop(ui, files, "#te_library_cards")
    wait(ui, lambda: "2 embeddings imported. 1 file was rejected." in text(ui, "te_library_status"), "the import", 60)
    assert ui.locator("#te_library.te-drop").count() == 0
    assert '"holiday.txt" is not an embedding' in text(ui, "te_library_status")
    assert f'Imported with it: "{preview.name}", "{notes.name}".' in text(ui, "te_library_status")
    wait(ui, lambda: library_card(ui, "dragged-plain").count() == 1, "the card", 30)
    wait(ui, lambda: library_card(ui, dragged.stem).locator("img").count() == 1, "the card with its picture", 30)
    choose_card(ui, dragged.stem)
    unfold(ui, "Notes", "te_library_save_notes")
    wait(ui, lambda: value(ui, "te_library_description") == "Dragged.", "the notes", 30)


def test_a_runs_newest_preview_and_a_drawn_one_become_the_cards_picture(ui: Any, app: App) -> None:
    create(ui, "pictured", "red", "1")
    run = train(ui, "pictured")["run"]
    choose_card(ui, "pictured")
    unfold(ui, "Preview image", "te_library_draw_preview")
    ui.locator("#te_library_run input").first.click()
    ui.locator("#te_library_run [role=listbox] li, #te_library_run ul.options li, ul.options li").filter(
        has_text=run
    ).first.click()
    ui.click("#te_library_take_run")
    wait(ui, lambda: text(ui, "te_library_status") == "Preview image set.", "the picture", 30)
    wait(ui, lambda: library_card(ui, "pictured").locator("img").count() == 1, "the picture on the card", 30)
    newest = sorted((app.data / "runs" / run / "previews").iterdir())[-1]
    assert (app.data / "embeddings" / "pictured.preview.png").read_bytes() == newest.read_bytes()
    before = library_card(ui, "pictured").locator("img").get_attribute("src")
    fill(ui, "te_library_prompt", "a big [name] on navy")
    ui.click("#te_library_draw_preview")
    wait(ui, lambda: text(ui, "te_library_status") == "Preview image generated.", "the picture")
    wait(ui, lambda: library_card(ui, "pictured").locator("img").get_attribute("src") != before, "the new picture", 30)


def test_buttons_send_to_the_prompts_and_notes_go_along(ui: Any) -> None:
    create(ui, "noted", "red", "1")
    choose_card(ui, "noted")
    unfold(ui, "Notes", "te_library_save_notes")
    fill(ui, "te_library_negative_text", "blurry")
    ui.click("#te_library_save_notes")
    wait(ui, lambda: text(ui, "te_library_status") == "Notes saved.", "the notes", 30)
    tab(ui, "txt2img")
    fill(ui, "txt2img_prompt", "a")
    fill(ui, "txt2img_neg_prompt", "dark")
    tab(ui, "Train Embedding")
    ui.click("#te_library_details .te-send[data-box=txt2img_prompt]")
    assert (value(ui, "txt2img_prompt"), value(ui, "txt2img_neg_prompt")) == ("a noted", "dark blurry")
    assert not ui.locator("#te_library_details .te-send[data-box=img2img_prompt]").is_visible()


def queued(ui: Any) -> list[tuple[str, str]]:
    """Name and status of each training in the list of the queue."""
    rows = "rows => rows.map((row) => [row.querySelector('b').textContent, row.className.match(/te-queued-([a-z]+)/)[1]])"
    return [tuple(row) for row in ui.eval_on_selector_all("#te_queue_list .te-queued", rows)]


def queue_of(ui: Any, app: App) -> Any:
    """The queue as the API tells it."""
    return ui.request.get(f"{app.address}train-embedding/v1/queue").json()


def test_three_trainings_are_queued_moved_and_done(ui: Any, app: App) -> None:
    for name in ("first", "second", "third"):
        create(ui, name, "red", "1")
    sub_tab(ui, "Runs")
    wait(ui, lambda: "The queue is empty." in text(ui, "te_queue_list"), "the empty queue", 30)
    sub_tab(ui, "Train")
    choose_dataset(ui, PICTURES)
    for element, content in {"steps": "12", "learning_rate": "0.05", "batch_size": "2"}.items():
        fill(ui, f"te_train_{element}", content)
    ui.request.post(f"{app.address}train-embedding/v1/queue/pause")  # rows stay where they are until the move is done
    for name in ("first", "second", "third"):
        choose(ui, name)
        ui.click("#te_train_enqueue")
        wait(ui, lambda name=name: name in [entry["embedding"] for entry in queue_of(ui, app)["entries"]], "the addition", 30)
    sub_tab(ui, "Runs")
    wait(ui, lambda: [name for name, _ in queued(ui)] == ["first", "second", "third"], "the queue", 30)
    ui.locator("#te_queue_list .te-queued-waiting button[data-act=up]").last.click()
    wait(ui, lambda: [name for name, _ in queued(ui)] == ["first", "third", "second"], "the move", 30)
    ui.click("#te_queue_continue")
    wait(ui, lambda: sorted(queued(ui)) == [(name, "finished") for name in ("first", "second", "third")], "the end of all three")
    for name in ("first", "second", "third"):
        wait(ui, lambda name=name: ui.locator("#te_runs_list .te-run-finished").filter(has_text=name).count() == 1, "its run", 30)
    ui.click("#te_queue_clear")
    wait(ui, lambda: queued(ui) == [], "the empty queue", 30)


def test_a_paused_queue_is_followed_by_every_page(ui: Any, app: App, browser: Any) -> None:
    create(ui, "held", "red", "1")
    sub_tab(ui, "Runs")
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    other = context.new_page()
    open_page(app, other)
    ui.request.post(f"{app.address}train-embedding/v1/queue/pause")
    assert queue_of(ui, app)["paused"]
    choose_and_add(other, "held")
    wait(ui, lambda: queued(ui) == [("held", "waiting")], "the training that another page has added", 30)
    assert "The queue is paused." in text(ui, "te_queue_list")
    ui.click("#te_queue_list .te-queued button[data-act=remove]")
    wait(ui, lambda: queued(ui) == [], "the removal", 30)
    ui.click("#te_queue_undo")
    wait(ui, lambda: queued(ui) == [("held", "waiting")], "the training again", 30)
    ui.click("#te_queue_continue")
    wait(ui, lambda: queued(ui) == [("held", "finished")], "the end of the training")
    sub_tab(other, "Runs")
    wait(other, lambda: queued(other) == [("held", "finished")], "the same on the other page", 30)
    context.close()


def choose_and_add(ui: Any, name: str) -> None:
    tab(ui, "Train Embedding")
    sub_tab(ui, "Train")
    choose(ui, name)
    choose_dataset(ui, PICTURES)
    for element, content in {"steps": "6", "batch_size": "1"}.items():
        fill(ui, f"te_train_{element}", content)
    ui.click("#te_train_enqueue")


def test_a_run_is_found_noted_used_again_deleted_and_restored(ui: Any, app: App) -> None:
    create(ui, "logged", "red", "1")
    run = train(ui, "logged", batch_size=3)["run"]
    fill(ui, "te_train_batch_size", "1")
    sub_tab(ui, "Runs")
    card = ui.locator(f'#te_runs_list .te-run[data-run="{run}"]')
    wait(ui, lambda: card.count() == 1, "the run in the list", 30)
    card.click()
    assert card.get_attribute("aria-selected") == "true", "a click shows something before the server answers"
    wait(ui, lambda: str(app.data / "embeddings" / "logged.pt") in text(ui, "te_runs_details"), "the details", 30)
    fill(ui, "te_runs_note", "round and red")
    ui.click("#te_runs_save_note")
    wait(ui, lambda: "round and red" in card.inner_text(), "the note in the list", 30)
    fill(ui, "te_runs_search", "nothing like it")
    wait(ui, lambda: card.count() == 0, "an empty list", 30)
    fill(ui, "te_runs_search", "ROUND logged")
    wait(ui, lambda: card.count() == 1, "the run that was searched for", 30)
    ui.click("#te_runs_use")
    wait(ui, lambda: value(ui, "te_train_batch_size") == "3", "the run's settings", 30)
    wait(ui, lambda: ui.locator("#te_tab_train").is_visible(), "the Train panel", 30)
    sub_tab(ui, "Runs")
    ui.click("#te_runs_delete")
    wait(ui, lambda: card.count() == 0, "the end of the run", 30)
    assert not (app.data / "runs" / run).exists()
    assert (app.data / "embeddings" / "logged.pt").is_file()
    ui.click("#te_runs_undo")
    wait(ui, lambda: card.count() == 1, "the run again", 30)
    assert (app.data / "runs" / run / "note.txt").read_text(encoding="utf-8") == "round and red"


def test_the_app_ends_without_a_traceback_while_a_page_is_open(tmp_path: Path, page: Any) -> None:
    with serve_app(tmp_path) as started:
        open_page(started, page)
    assert started.process.returncode != 0, "ended by the signal"
    assert "Running on" in started.lines[-1], started.lines


def test_a_page_says_that_the_server_is_gone_and_continues_when_it_is_back(tmp_path: Path, page: Any) -> None:
    with serve_app(tmp_path) as started:
        open_page(started, page)
        started.process.kill()
        page.wait_for_selector("#te_lost:visible")
        page.wait_for_timeout(5000)
        assert page.locator(".toast-body.error").count() <= 1, "the polls go on"
    with serve_app(tmp_path, int(started.address.rsplit(":", 1)[1].strip("/"))) as again:
        page.wait_for_selector("#te_lost", state="hidden")
        assert create(page, "my-lime", "green").startswith("Created my-lime")
        assert (again.data / "embeddings" / "my-lime.pt").is_file()
