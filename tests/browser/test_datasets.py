"""The sub-tab Dataset of the stand-alone app in Chromium: from dropped images to training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("gradio")

from tests.caption_models import make_tagger
from tests.dragging import drag_in, drop
from tests.standalone_app import PICTURES, App, fill, open_page, sub_tab, text, value, wait
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]
EVIL = "it's <img src=x onerror=alert(1)> & more.png"


@pytest.fixture
def ui(ui: Any) -> Any:
    """The page, with the sub-tab open."""
    sub_tab(ui, "Dataset")
    wait(ui, lambda: ui.locator("#te_dataset_list .te-dataset").count() == 1, "the panel", 30)
    return ui


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Images of a person's disk: good ones, one that is too small, a copy, and one that is none."""
    found = [Path(shutil.copy(picture, tmp_path)) for picture in sorted(PICTURES.glob("*.png"))[:4]]
    found += [Path(shutil.copy(found[0], tmp_path / "copy.png")), tmp_path / "tiny.png", tmp_path / EVIL, tmp_path / "fake.png"]
    Image.linear_gradient("L").resize((24, 24)).save(found[5])
    Image.linear_gradient("L").rotate(90).resize((64, 64)).save(found[6])
    found[7].write_bytes(b"no image")
    return found


def image(ui: Any, name: str) -> Any:
    return ui.locator("#te_dataset_list .te-image").filter(has=ui.get_by_text(name, exact=True))


def chosen(ui: Any) -> str:
    details = ui.locator("#te_dataset_details .te-dataset-image")
    return str(details.get_attribute("data-image")) if details.count() else ""


def create_from(ui: Any, name: str, files: list[Path]) -> None:
    """Types a name, drops files, and waits until they have been examined."""
    fill(ui, "te_dataset_name", name)
    drop(ui, files, "#te_dataset")
    wait(ui, lambda: "files added." in text(ui, "te_dataset_status"), "the message about the files", 60)
    wait(ui, lambda: ui.locator('#te_dataset_list .te-dataset[data-updating="false"] .te-image').count() > 0, "the images", 60)


def select(ui: Any, name: str) -> None:
    wait(ui, lambda: ui.locator('#te_dataset_list .te-dataset[data-updating="false"]').count() == 1, "the whole list", 30)
    image(ui, name).click()
    wait(ui, lambda: chosen(ui) == name and value(ui, "te_dataset_current") == name, f"{name} beside the list", 30)


def test_from_dropped_images_to_training(ui: Any, app: App, files: list[Path]) -> None:
    folder = app.data / "datasets" / "my-lime"
    drag_in(ui, files, "#te_dataset")
    assert ui.locator("#te_dataset.te-drop").count() == 1
    create_from(ui, "my-lime", files)
    # what is not an image is left out, and so is a name that not every system allows
    skipped = text(ui, "te_dataset_status")
    assert "fake.png: It is not an image." in skipped
    assert f"{EVIL}: Its name contains a character that not every system allows." in skipped
    assert sorted(file.name for file in folder.glob("*.png")) == sorted(file.name for file in files[:6])
    # warnings, and a filter by them
    wait(ui, lambda: image(ui, "copy.png").locator(".te-duplicate").count() == 1, "the warning about the copy", 30)
    assert image(ui, "tiny.png").locator(".te-small").count() == 1
    wait(ui, lambda: image(ui, "copy.png").locator("img.te-thumb:visible").count() == 1, "the thumbnail", 30)
    ui.locator("#te_dataset_list [data-filter=small]").click()
    wait(ui, lambda: ui.locator("#te_dataset_list .te-image").count() == 1, "the images with this warning", 30)
    # excluded without deleting
    select(ui, "tiny.png")
    ui.click("#te_dataset_exclude")
    wait(ui, lambda: "excluded from training" in text(ui, "te_dataset_status"), "the message", 30)
    assert "tiny.png" in (folder / "excluded-from-training.txt").read_text(encoding="utf-8")
    wait(ui, lambda: image(ui, "tiny.png").count() == 0, "the image without a warning", 30)
    ui.locator("#te_dataset_list [data-filter='']").click()
    wait(ui, lambda: image(ui, "tiny.png").locator(".te-is-excluded").count() == 1, "the mark of the excluded image", 30)
    # removed, and back
    select(ui, "copy.png")
    ui.click("#te_dataset_remove")
    wait(ui, lambda: image(ui, "copy.png").count() == 0, "the removal", 30)
    assert not (folder / "copy.png").exists()
    ui.locator("#te_dataset_undo_remove:not([disabled])").click()
    wait(ui, lambda: image(ui, "copy.png").count() == 1, "the undo", 30)
    # used for training
    ui.click("#te_dataset_use")
    wait(ui, lambda: ui.locator("#te_tab_train:visible").count() == 1, "the sub-tab Train", 30)
    wait(ui, lambda: value(ui, "te_train_dataset") == "my-lime", "the dataset in its field", 30)
    wait(ui, lambda: "images" in text(ui, "te_train_dataset_check"), "the count of images", 30)
    # and back
    ui.click("#te_train_check")
    wait(ui, lambda: image(ui, "copy.png").is_visible(), "the sub-tab Dataset", 30)


def test_captions_are_written_with_the_keyboard(ui: Any, app: App, files: list[Path]) -> None:
    folder = app.data / "datasets" / "captioned"
    create_from(ui, "captioned", files[:3])
    first, second, third = (file.name for file in files[:3])
    select(ui, first)
    caption = ui.locator("#te_dataset_caption textarea")
    caption.fill("a lime, on a table")
    caption.press("Enter")
    wait(ui, lambda: (folder / first).with_suffix(".txt").is_file(), "the caption file", 30)
    assert (folder / first).with_suffix(".txt").read_text(encoding="utf-8") == "a lime, on a table"
    wait(ui, lambda: text(ui, "te_dataset_tokens") == "6 of 75 tokens", "the number of tokens", 30)
    # down to the next image; what was typed there is saved on the way on
    caption.press("ArrowDown")
    wait(ui, lambda: value(ui, "te_dataset_current") == second, "the next image", 30)
    wait(ui, lambda: ui.evaluate("document.activeElement.matches('#te_dataset_caption textarea')"), "the focus", 30)
    ui.keyboard.type("a lime")
    ui.keyboard.press("PageDown")
    wait(ui, lambda: value(ui, "te_dataset_current") == third, "the last image", 30)
    assert (folder / second).with_suffix(".txt").read_text(encoding="utf-8") == "a lime"
    wait(ui, lambda: value(ui, "te_dataset_caption") == "", "the empty caption", 30)
    # a tag of the other captions
    wait(
        ui, lambda: ui.locator("#te_dataset_tags [data-tag='a lime']").inner_text().split() == ["a", "lime", "2"], "the tags", 30
    )
    ui.locator("#te_dataset_tags [data-tag='a lime']").click()
    assert value(ui, "te_dataset_caption") == "a lime"
    assert ui.locator("#te_dataset_tags [data-tag='a lime']").get_attribute("aria-pressed") == "true"
    ui.click("#te_dataset_save")
    wait(ui, lambda: (folder / third).with_suffix(".txt").is_file(), "the third caption", 30)
    # all at once, and undone
    ui.locator("#te_dataset .label-wrap").filter(has_text="Batch edit captions").click()
    ui.wait_for_selector("#te_dataset_apply:visible")
    ui.wait_for_timeout(300)
    fill(ui, "te_dataset_prefix", "my-cat, ")
    ui.click("#te_dataset_apply")
    wait(ui, lambda: value(ui, "te_dataset_caption") == "my-cat, a lime", "the changed caption", 30)
    assert (folder / first).with_suffix(".txt").read_text(encoding="utf-8") == "my-cat, a lime, on a table"
    wait(ui, lambda: ui.locator("#te_dataset_undo_caption:not([disabled])").count() == 1, "the undo button", 30)
    ui.click("#te_dataset_undo_caption")
    wait(ui, lambda: value(ui, "te_dataset_caption") == "a lime", "the undone caption", 30)
    assert (folder / first).with_suffix(".txt").read_text(encoding="utf-8") == "a lime, on a table"


def test_names_and_captions_do_nothing_but_show(ui: Any, app: App, tmp_path: Path) -> None:
    folder = tmp_path / "<b>evil"
    folder.mkdir()
    shutil.copy(sorted(PICTURES.glob("*.png"))[0], folder / EVIL)
    (folder / EVIL).with_suffix(".txt").write_text('a <script>alert(1)</script>, "quoted", it\'s', encoding="utf-8")
    dialogs: list[str] = []
    ui.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    box = ui.locator("#te_dataset_folder input").first
    box.click()
    box.fill(str(folder))
    box.press("Enter")
    box.blur()
    wait(ui, lambda: image(ui, EVIL).count() == 1, "the image", 30)
    select(ui, EVIL)
    wait(ui, lambda: value(ui, "te_dataset_caption") == 'a <script>alert(1)</script>, "quoted", it\'s', "the caption", 30)
    wait(ui, lambda: ui.locator("#te_dataset_tags .te-chip").count() == 3, "the tags", 30)
    assert dialogs == []
    assert ui.locator("#te_dataset img[src='x']").count() == 0
    assert (folder / EVIL).is_file(), "a folder of the user's is left as it is"


def test_captions_are_generated_while_the_page_shows_the_progress(ui: Any, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (64, 64), name).save(folder / f"{name}.png")
    fill(ui, "te_dataset_folder", str(folder))
    ui.keyboard.press("Enter")
    wait(ui, lambda: ui.locator("#te_dataset_list .te-image").count() == 2, "two images")
    ui.locator("#te_dataset_auto").get_by_text("Automatic captions").click()
    fill(ui, "te_dataset_auto_folder", str(make_tagger(tmp_path / "tagger")))
    fill(ui, "te_dataset_auto_prefix", "my-colour, ")
    ui.locator("#te_dataset_auto_generate").click()
    wait(ui, lambda: "2 captions written" in text(ui, "te_dataset_auto_progress"), "the captions")
    wait(ui, lambda: "my-colour, blue sky" in text(ui, "te_dataset_list"), "the captions in the list")
    assert (folder / "blue.txt").read_text() == "my-colour, blue sky"
    assert (folder / "red.txt").read_text() == "my-colour, o_o"
    select(ui, "blue.png")
    wait(ui, lambda: ui.locator("#te_dataset_undo_caption").is_enabled(), "undo")
    ui.locator("#te_dataset_undo_caption").click()
    wait(ui, lambda: "my-colour" not in text(ui, "te_dataset_list"), "the captions are gone")
    assert not (folder / "red.txt").exists()


def open_editor(ui: Any, name: str) -> None:
    select(ui, name)
    ui.click("#te_dataset_edit")
    wait(ui, lambda: ui.locator("#te_dataset_editor .te-editor:visible").count() == 1, "the editor", 30)
    wait(ui, lambda: ui.locator(".te-stage-picture:visible").count() == 1, "the image in the editor", 30)


def drag(ui: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drags the pointer between two places of the image in the editor, as fractions."""
    ui.locator(".te-stage").scroll_into_view_if_needed()
    stage = ui.locator(".te-stage").bounding_box()
    (left, top), (right, bottom) = ((stage["x"] + stage["width"] * x, stage["y"] + stage["height"] * y) for x, y in (start, end))
    ui.mouse.move(left, top)
    ui.mouse.down()
    ui.mouse.move((left + right) / 2, (top + bottom) / 2, steps=3)
    ui.mouse.move(right, bottom, steps=3)
    ui.mouse.up()


def sides(ui: Any) -> list[int]:
    """The numbers of the crop; -1 in a new editor, until its script has filled them in."""
    values = [ui.locator(f".te-editor [data-side={side}]").input_value() for side in ("left", "top", "width", "height")]
    return [int(value or -1) for value in values]


def edit(ui: Any, action: str) -> None:
    ui.locator(f".te-editor [data-edit={action}]").click()


def test_a_crop_is_dragged_and_resized(ui: Any, app: App, files: list[Path]) -> None:
    folder = app.data / "datasets" / "cropped"
    create_from(ui, "cropped", files[:2])
    name = files[0].name
    open_editor(ui, name)
    assert sides(ui) == [0, 0, 64, 64]
    drag(ui, (0.25, 0.25), (0.75, 1.0))  # on the whole image: a new rectangle
    left, top, width, height = sides(ui)
    assert max(abs(left - 16), abs(top - 16), abs(width - 32), abs(height - 48)) <= 1
    drag(ui, (0.5, 0.6), (0.5, 0.4))  # inside: it moves
    assert sides(ui)[2:] == [width, height]
    assert abs(sides(ui)[1] - 3) <= 1
    drag(ui, ((left + width) / 64, (sides(ui)[1] + height) / 64), (1.2, 1.2))  # a corner: it is resized, up to the image
    assert sides(ui)[0] + sides(ui)[2] == 64
    assert sides(ui)[1] + sides(ui)[3] == 64
    selection = ui.locator(".te-selection")
    selection.focus()
    for _ in range(20):
        selection.press("ArrowUp")
    assert sides(ui)[1] == 0
    before = sides(ui)
    for _ in range(20):
        selection.press("Shift+ArrowLeft")
    assert sides(ui)[2] < before[2]
    assert not (folder / "crops-for-training.json").exists(), "nothing is saved unasked"


def test_a_crop_is_saved_and_still_there_after_a_reload(ui: Any, app: App, files: list[Path]) -> None:
    folder = app.data / "datasets" / "saved"
    create_from(ui, "saved", files[:2])
    name = files[0].name
    open_editor(ui, name)
    drag(ui, (0.25, 0.25), (0.75, 0.75))
    for side, pixels in (("left", 8), ("top", 4), ("width", 40), ("height", 20)):
        field = ui.locator(f".te-editor [data-side={side}]")
        field.fill(str(pixels))
        field.press("Tab")
    assert sides(ui) == [8, 4, 40, 20]
    edit(ui, "crop")
    wait(ui, lambda: "Saved the crop" in text(ui, "te_dataset_status"), "the message", 30)
    written = json.loads((folder / "crops-for-training.json").read_text(encoding="utf-8"))["crops"][name]
    assert [round(64 * written[side]) for side in ("left", "top", "width", "height")] == [8, 4, 40, 20]
    wait(ui, lambda: "40 × 20" in image(ui, name).inner_text(), "the size of the crop in the list", 30)
    thumbnail = image(ui, name).locator("img.te-thumb")
    wait(
        ui, lambda: thumbnail.evaluate("image => `${image.naturalWidth} ${image.naturalHeight}`") == "40 20", "its thumbnail", 30
    )
    open_page(app, ui)
    sub_tab(ui, "Dataset")
    fill(ui, "te_dataset_folder", "saved")
    ui.keyboard.press("Enter")
    wait(ui, lambda: image(ui, name).count() == 1, "the dataset again", 30)
    open_editor(ui, name)
    assert sides(ui) == [8, 4, 40, 20]
    edit(ui, "undo_crop")
    wait(ui, lambda: not (folder / "crops-for-training.json").exists(), "the undo", 30)
    wait(ui, lambda: sides(ui) == [0, 0, 64, 64], "the whole image", 30)


def test_a_mask_is_painted_replaced_and_undone(ui: Any, app: App, files: list[Path]) -> None:
    folder = app.data / "datasets" / "masked"
    create_from(ui, "masked", files[:2])
    name = files[0].name
    mask = folder / f"{files[0].stem}-masklabel.png"

    def grey(place: tuple[int, int]) -> int:
        with Image.open(mask) as opened:
            assert (opened.mode, opened.size) == ("L", (64, 64))
            return int(opened.getpixel(place))

    open_editor(ui, name)
    edit(ui, "mode-mask")
    drag(ui, (0.1, 0.5), (0.9, 0.5))
    edit(ui, "eraser")
    drag(ui, (0.5, 0.1), (0.5, 0.9))
    edit(ui, "brush")
    drag(ui, (0.1, 0.1), (0.2, 0.1))
    edit(ui, "stroke_back")
    edit(ui, "mask")
    wait(ui, lambda: mask.is_file(), "the mask file", 30)
    wait(ui, lambda: "Saved the mask" in text(ui, "te_dataset_status"), "the message", 30)
    assert (grey((12, 32)), grey((32, 32)), grey((52, 32)), grey((8, 6))) == (255, 0, 255, 0)
    wait(ui, lambda: "mask from a file" in text(ui, "te_dataset_details"), "the mask in the details", 30)
    before = mask.read_bytes()
    # what is painted goes on from the saved mask, and replaces it only after a confirmation
    wait(ui, lambda: ui.locator(".te-editor[data-file=true]").count() == 1, "the editor with the mask", 30)
    edit(ui, "inside")  # the whole image is inside
    edit(ui, "eraser")
    drag(ui, (0.1, 0.1), (0.9, 0.1))
    edit(ui, "mask")
    assert ui.locator(".te-editor-confirm").is_visible()
    edit(ui, "keep")
    assert not ui.locator(".te-editor-confirm").is_visible()
    assert mask.read_bytes() == before
    edit(ui, "mask")
    edit(ui, "replace")
    wait(ui, lambda: mask.read_bytes() != before, "the new mask", 30)
    assert (grey((32, 40)), grey((32, 6))) == (255, 0)
    wait(ui, lambda: "is in the trash" in text(ui, "te_dataset_status"), "where the old mask is", 30)
    wait(ui, lambda: ui.locator(".te-editor [data-edit=undo_mask]:not([disabled])").count() == 1, "the undo button", 30)
    edit(ui, "undo_mask")
    wait(ui, lambda: mask.read_bytes() == before, "the old mask", 30)


def test_a_deleted_dataset_comes_back(ui: Any, app: App, files: list[Path]) -> None:
    folder = app.data / "datasets" / "gone"
    create_from(ui, "gone", files[:2])
    ui.click("#te_dataset_delete")
    wait(ui, lambda: not folder.exists(), "the removal", 30)
    wait(ui, lambda: "No dataset is open." in text(ui, "te_dataset_list"), "the empty panel", 30)
    ui.click("#te_dataset_undelete")
    wait(ui, lambda: image(ui, files[0].name).count() == 1, "the images again", 30)
    assert (folder / files[0].name).is_file()
