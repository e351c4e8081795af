"""The Dataset panel over datasets on the disk."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from PIL import Image

from tests.ui.reading import EVIL, Reader
from train_embedding.services import Services
from train_embedding.services.datasets import Upload
from train_embedding.testing import FakeHost
from train_embedding.ui import fields
from train_embedding.ui.datasets import editor
from train_embedding.ui.datasets.html import PAGE
from train_embedding.ui.datasets.views import SEEN
from train_embedding.ui.gradio_compat import upload_folder

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]
PARTS = (
    "folder", "name", "create", "add", "refresh", "use", "status", "list", "exclude_all", "include_all", "buckets", "details",
    "caption", "tokens", "save", "undo_caption", "caption_use", "tags", "exclude", "remove", "undo_remove", "prefix", "suffix",
    "find", "replace", "remove_tag", "filtered", "create_captions", "apply", "open", "shown", "view", "version", "update",
    "selected", "select", "current", "filled", "wanted", "draw", "pictures", "uploaded", "delete", "undelete", "edit", "editor",
    "edited", "edit_apply", "crops_filtered", "crops_centre", "crops_stop", "crops_progress", "crops_reset", "crops_undo",
)  # fmt: skip
SENTENCE = "a cat, on a table"


def seen(**changes: Any) -> list[Any]:
    """The values of the Train panel's widgets that decide how images are seen, for images of 64 × 64."""
    values = {**fields.initial_values({}), "width": 64, "height": 64, "template": ("[name], [filewords]",), **changes}
    return [fields.widget_value(name, values[name]) for name in SEEN]


def draw(path: Path, colour: str = "red", size: tuple[int, int] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste(colour, (0, 0, size[0] // 2, size[1] // 3))
    image.save(path)
    return path


@pytest.fixture
def cat(services: Services, tmp_path: Path) -> Path:
    """A dataset with three images, one of which has a caption, and one is too small."""
    files = [draw(tmp_path / "from" / "a.png"), draw(tmp_path / "from" / "b.png", "blue"), tmp_path / "from" / "a.txt"]
    files += [draw(tmp_path / "from" / "small.png", "green", (32, 32))]
    files[2].write_text(SENTENCE, encoding="utf-8")
    return services.datasets.create("cat", [Upload(file.name, file) for file in files]).folder.resolve()


class Panel:
    """What a page holds, and its requests."""

    def __init__(self, handler: Handler, components: Components, opened: Path | str) -> None:
        self._handler, self._components = handler, components
        self.opened, self.shown, self.request, self.version = str(opened), "", "", ""
        self.current, self.caption, self.filled = "", "", ""
        self.seen = seen()
        self.status = ""

    def take(self, updates: dict[Any, Any]) -> dict[str, Any]:
        known = {component: name for name, component in self._components.items()}
        found = {known[component].removeprefix("te_dataset_"): update for component, update in updates.items()}
        values = {
            name: update["value"] if isinstance(update, dict) and "value" in update else update for name, update in found.items()
        }
        self.opened = values.get("open", self.opened)
        self.shown = values.get("shown", self.shown)
        self.version = values.get("version", self.version)
        self.current = values.get("current", self.current)
        self.caption = values.get("caption", self.caption)
        self.filled = values.get("filled", self.filled)
        if isinstance(values.get("status"), str):
            self.status = str(values["status"])
        return found

    def update(self, chosen: str = "", page: int = 0, typed: str = "") -> str:
        self.request = json.dumps({"filter": chosen, "page": page})
        shown = (self.opened, self.shown, self.request, self.version, self.current, self.caption, self.filled)
        values = (*shown, typed, *self.seen)
        for _ in range(100):  # a check that takes long goes on between requests
            self.found = self.take(self._handler("update_dataset")(*values))
            if "te-dataset-title" in str(self.found.get("list", "te-dataset-title")) or not self.opened:
                break
        return str(self.found.get("list", ""))

    def select(self, name: str) -> dict[str, Any]:
        values = (self.opened, name, self.current, self.caption, self.filled, *self.seen)
        return self.take(self._handler("select_image")(*values))

    def call(self, name: str, *values: Any) -> dict[str, Any]:
        return self.take(self._handler(name)(*values))


@pytest.fixture
def panel(handler: Handler, components: Components, cat: Path) -> Panel:
    opened = Panel(handler, components, cat)
    opened.update()
    return opened


def examined(panel: Panel, services: Services) -> str:
    """The list when all images have been examined."""
    services.datasets.check(panel.opened)
    panel.call("check_again", panel.opened)
    return panel.update()


def test_element_ids(components: Components) -> None:
    assert [part for part in PARTS if f"te_dataset_{part}" not in components] == []
    assert {"te_dataset", "te_tab_dataset", "te_train_check"} <= set(components)


def test_images_are_listed_as_they_are_trained_with_their_warnings(panel: Panel, services: Services) -> None:
    shown = examined(panel, services)
    assert shown.count('data-image="') == 3
    assert 'data-updating="false"' in shown
    assert "32 × 32 → 64 × 64" in shown
    assert "Upscaled" in shown
    assert shown.count('class="te-warning te-caption"') == 2
    assert "3 images · 1 with a caption file" in shown
    assert "64 × 64" in str(panel.found["buckets"])
    assert "base64" not in shown, "thumbnails come when they are in view"


def test_a_filter_shows_the_images_with_a_warning(panel: Panel, services: Services) -> None:
    examined(panel, services)
    small = panel.update("small")
    assert small.count('data-image="') == 1
    assert 'data-image="small.png"' in small
    assert panel.found["exclude_all"]["interactive"] is True
    panel.call("exclude_all", panel.opened, panel.request, *panel.seen)
    assert "1 image is excluded from training." in panel.status
    assert "No image has this warning." in panel.update("small")
    assert panel.update("excluded").count('data-image="') == 1
    panel.call("include_all", panel.opened, panel.request, *panel.seen)
    assert "used for training again" in panel.status
    assert not (Path(panel.opened) / "excluded-from-training.txt").read_text().count("small.png")


def test_thousands_of_images_are_shown_in_pages(handler: Handler, components: Components, tmp_path: Path) -> None:
    source = draw(tmp_path / "many" / "0000.png")
    for number in range(1, PAGE + 3):
        (source.parent / f"{number:04}.png").write_bytes(source.read_bytes())
    panel = Panel(handler, components, source.parent.resolve())
    first = panel.update()
    assert first.count('data-image="') == PAGE
    assert f"1–{PAGE} of {PAGE + 3}" in first
    last = panel.update(page=1)
    assert last.count('data-image="') == 3
    assert f'aria-posinset="{PAGE + 1}"' in last
    assert panel.update(page=99).count('data-image="') == 3, "the last page"


def test_thumbnails_of_images_in_view_are_drawn_once_they_are_examined(
    panel: Panel, services: Services, handler: Handler
) -> None:
    examined(panel, services)
    request = {"serial": 7, "names": ["a.png", "none.png"], "large": "a.png"}
    answer = Reader(handler("draw_pictures")(json.dumps(request), panel.opened, *panel.seen))
    pictures = json.loads(answer.attributes[1])
    assert answer.attributes[0] == "7"
    assert set(pictures) == {"a.png", ""}
    assert pictures["a.png"][0].startswith("data:image/jpeg;base64,")
    assert pictures[""][0].startswith("data:image/jpeg;base64,")
    for nonsense in ("", "[]", "{}", '{"serial": "x", "names": 3}'):
        assert "base64" not in handler("draw_pictures")(nonsense, panel.opened, *panel.seen)


def test_a_selected_image_is_described_and_its_caption_saved(panel: Panel, cat: Path) -> None:
    selected = panel.select("a.png")
    assert 'data-image="a.png"' in selected["details"]
    assert panel.caption == SENTENCE
    assert "of 75 tokens" in selected["tokens"]
    panel.call("save_caption", panel.opened, panel.current, "a dog, in a park", *panel.seen)
    assert (cat / "a.txt").read_text(encoding="utf-8") == "a dog, in a park"
    assert "a dog, in a park" in panel.update()
    panel.call("undo_captions", panel.opened, panel.current, *panel.seen)
    assert (cat / "a.txt").read_text(encoding="utf-8") == SENTENCE
    assert panel.caption == SENTENCE


def test_what_was_typed_is_saved_when_another_image_is_selected(panel: Panel, cat: Path) -> None:
    panel.select("b.png")
    assert panel.caption == ""
    panel.caption = "a typed caption"
    panel.select("a.png")
    assert (cat / "b.txt").read_text(encoding="utf-8") == "a typed caption"
    panel.select("small.png")
    assert not (cat / "small.txt").exists(), "nothing was typed"


def test_a_caption_that_was_written_meanwhile_is_shown_and_stays(panel: Panel, services: Services, cat: Path) -> None:
    panel.select("b.png")
    services.datasets.write_caption(cat, "b.png", "by a caption model")
    panel.call("check_again", panel.opened)
    panel.update()
    assert panel.caption == "by a caption model"
    services.datasets.write_caption(cat, "b.png", "by another page")
    panel.call("check_again", panel.opened)
    panel.caption = " by a caption  model"  # nothing was typed
    panel.select("a.png")
    assert (cat / "b.txt").read_text(encoding="utf-8") == "by another page"


def test_what_was_typed_stays_when_the_caption_is_written_meanwhile(panel: Panel, services: Services, cat: Path) -> None:
    panel.select("b.png")
    panel.caption = "typed by hand"
    services.datasets.write_caption(cat, "b.png", "by a caption model")
    panel.call("check_again", panel.opened)
    panel.update()
    assert panel.caption == "typed by hand"
    panel.select("a.png")
    assert (cat / "b.txt").read_text(encoding="utf-8") == "typed by hand"


def test_a_caption_that_training_cannot_read_is_kept_in_the_page(panel: Panel, cat: Path) -> None:
    panel.select("b.png")
    panel.caption = "a" * 10_001
    found = panel.select("a.png")
    assert set(found) == {"status"}
    assert "at most 10000" in panel.status
    assert panel.current == "b.png"
    other = draw(cat.parent / "other" / "1.png").parent
    panel.opened = str(other.resolve())
    panel.update()
    assert panel.opened == str(cat), "the dataset with the unsaved caption stays open"


def test_many_captions_are_changed_and_the_change_is_undone(panel: Panel, cat: Path) -> None:
    panel.select("b.png")
    change = ("", "", "", "my-cat, ", "")
    typed = (panel.current, panel.caption, panel.filled)
    panel.call("change_captions", panel.opened, "", *typed, False, False, *change, *panel.seen)
    assert "1 caption changed." in panel.status
    assert "2 images have no caption file, and were left out." in panel.status
    assert (cat / "a.txt").read_text(encoding="utf-8") == f"my-cat, {SENTENCE}"
    panel.update("small")
    panel.call("change_captions", panel.opened, panel.request, *typed, True, True, *change, *panel.seen)
    assert (cat / "small.txt").read_text(encoding="utf-8") == "my-cat"
    assert not (cat / "b.txt").exists(), "the filter does not show it"
    panel.call("undo_captions", panel.opened, panel.current, *panel.seen)
    assert not (cat / "small.txt").exists()


def test_tags_are_counted_and_the_use_of_captions_is_said(panel: Panel) -> None:
    panel.update()
    assert 'data-tag="on a table"' in panel.found["tags"]
    assert "uses these captions in every step" in panel.found["caption_use"]
    panel.seen = seen(template=("a photo of [name]",))
    panel.update()
    assert "training does not use these captions" in panel.found["caption_use"]
    assert "No caption" not in panel.found["list"]


def test_an_image_is_excluded_and_removed_with_undo(panel: Panel, cat: Path) -> None:
    panel.select("a.png")
    panel.call("exclude_image", panel.opened, panel.current, *panel.seen)
    assert "te-excluded" in panel.update()
    assert panel.found["exclude"]["value"] == "Include again"
    panel.call("exclude_image", panel.opened, panel.current, *panel.seen)
    assert "te-excluded" not in panel.update()
    panel.call("remove_image", panel.opened, panel.current, *panel.seen)
    assert not (cat / "a.png").exists()
    assert not (cat / "a.txt").exists()
    assert panel.current == ""
    assert 'data-image="a.png"' not in panel.update()
    assert panel.found["undo_remove"]["interactive"] is True
    panel.call("restore_images", panel.opened)
    assert (cat / "a.txt").read_text(encoding="utf-8") == SENTENCE
    assert 'data-image="a.png"' in panel.update()


def test_a_dataset_is_made_of_dropped_files(handler: Handler, components: Components, services: Services, tmp_path: Path) -> None:
    archive = upload_folder() / "upload.zip"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as made:
        made.write(draw(tmp_path / "in" / "1.png"), "1.png")
        made.writestr("1.txt", "one")
        made.writestr("notes.md", "no image")
    panel = Panel(handler, components, "")
    panel.call("add_images", [str(archive)], json.dumps(["my cats.zip"]), "", "")
    assert "No dataset is open." in panel.status
    panel.call("add_images", [str(archive)], json.dumps(["my cats.zip"]), "", "new-cat")
    assert "2 files added." in panel.status
    assert "notes.md: It is neither an image nor a caption" in panel.status
    assert [dataset.name for dataset in services.datasets.list()] == ["new-cat"]
    assert 'data-image="1.png"' in panel.update()
    panel.call("add_images", [str(archive)], json.dumps(["my cats.zip"]), panel.opened, "")
    assert "2 files already existed." in panel.status


def test_a_dataset_is_created_empty_and_then_open(handler: Handler, components: Components) -> None:
    panel = Panel(handler, components, "")
    assert "No dataset is open." in panel.update()
    panel.call("create_dataset", " new-cat ")
    assert "Created the dataset &#34;new-cat&#34;." in panel.status
    assert "No images yet." in panel.update()
    assert panel.found["folder"]["value"] == "new-cat"
    panel.call("create_dataset", "a/b")
    assert "te-bad" in panel.status


def test_a_folder_is_opened_by_its_path_or_name(handler: Handler, components: Components, cat: Path) -> None:
    panel = Panel(handler, components, "")
    for typed in ("cat", str(cat), f'"{cat}"'):
        panel.opened = ""
        panel.call("open_dataset", typed, panel.opened)
        assert panel.opened == str(cat)
    panel.call("open_dataset", "/nowhere/<b>", panel.opened)
    assert "&lt;b&gt;" in panel.status
    assert panel.opened == str(cat)


def test_the_dataset_of_the_train_panel_is_opened_first(handler: Handler, components: Components, cat: Path) -> None:
    panel = Panel(handler, components, "")
    assert 'data-image="a.png"' in panel.update(typed="cat")
    assert panel.opened == str(cat)
    assert "No dataset is open." in Panel(handler, components, "").update(typed="/nowhere")


def test_a_dataset_goes_to_the_train_panel_and_back(panel: Panel, handler: Handler, components: Components, cat: Path) -> None:
    used = handler("use_dataset")(panel.opened)
    assert used[components["te_train_dataset"]] == "cat"
    assert used[components["te_tabs"]]["selected"] == "te_tab_train"
    checked = handler("check_dataset")("cat")
    assert checked[components["te_dataset_open"]] == str(cat)
    assert checked[components["te_tabs"]]["selected"] == "te_tab_dataset"
    refused = handler("check_dataset")("")
    assert "No dataset is given." in refused[components["te_train_images_status"]]


def test_names_and_captions_of_others_are_text(
    handler: Handler, components: Components, services: Services, tmp_path: Path
) -> None:
    folder = tmp_path / "<b>evil"
    draw(folder / "<img src=x onerror=alert(1)>'\"&.png")
    (folder / "<img src=x onerror=alert(1)>'\"&.txt").write_text(EVIL, encoding="utf-8")
    panel = Panel(handler, components, folder.resolve())
    shown = Reader(panel.update())
    assert "onerror" not in shown.names
    assert "script" not in shown.tags
    assert EVIL in shown.text
    name = next(value for value in shown.attributes if value.startswith("<img"))
    described = panel.select(name)
    assert "onerror" not in Reader(described["details"]).names
    assert EVIL in Reader(panel.found["tags"]).text
    request = json.dumps({"serial": 1, "names": [name], "large": name})
    services.datasets.check(folder)
    panel.call("check_again", panel.opened)
    pictures = Reader(handler("draw_pictures")(request, panel.opened, *panel.seen))
    assert "onerror" not in pictures.names
    assert name in json.loads(pictures.attributes[1])


@pytest.fixture
def shared(handler: Handler, components: Components, services: Services, tmp_path: Path) -> Panel:
    """A panel of a server on which only one folder may be read, and a folder outside it."""
    draw(tmp_path / "outside" / "secret.png")
    host = services.host
    assert isinstance(host, FakeHost)
    host._allowed_folders = (tmp_path / "datasets",)
    return Panel(handler, components, (tmp_path / "outside").resolve())


@pytest.mark.parametrize("name", ["update", "draw", "select", "save", "add", "remove", "exclude", "change", "open", "check"])
def test_folders_outside_the_allowed_ones_are_refused(shared: Panel, handler: Handler, components: Components, name: str) -> None:
    outside, options = shared.opened, shared.seen
    if name == "draw":
        request = json.dumps({"serial": 1, "names": ["secret.png"], "large": "secret.png"})
        assert "base64" not in handler("draw_pictures")(request, outside, *options)
        return
    calls: dict[str, tuple[str, tuple[Any, ...]]] = {
        "update": ("update_dataset", (outside, "", "", "", "", "", "", "", *options)),
        "select": ("select_image", (outside, "secret.png", "", "", "", *options)),
        "save": ("save_caption", (outside, "secret.png", "x", *options)),
        "add": ("add_images", ([], "", outside, "")),
        "remove": ("remove_image", (outside, "secret.png", *options)),
        "exclude": ("exclude_image", (outside, "secret.png", *options)),
        "change": ("change_captions", (outside, "", "", "", "", False, True, "", "", "", "x", "", *options)),
        "open": ("open_dataset", (outside, "")),
        "check": ("check_dataset", (outside,)),
    }
    handler_name, values = calls[name]
    updates = handler(handler_name)(*values)
    [message] = updates.values()
    assert "outside the folders that are allowed" in message
    assert sorted(file.name for file in Path(outside).iterdir()) == ["secret.png"]


@pytest.mark.parametrize("name", ["../other/x.png", "/etc/passwd", "..", "none.png"])
def test_only_images_of_the_dataset_are_changed(panel: Panel, cat: Path, name: str) -> None:
    draw(cat.parent / "other" / "x.png")
    panel.call("remove_image", panel.opened, name, *panel.seen)
    assert "There is no image" in panel.status
    panel.call("save_caption", panel.opened, name, "text", *panel.seen)
    assert "There is no image" in panel.status
    panel.call("select_image", panel.opened, name, "", "", "", *panel.seen)
    assert "There is no image" in panel.status
    assert sorted(file.name for file in (cat.parent / "other").iterdir()) == ["x.png"]


def painted(size: tuple[int, int] = (64, 64), kind: str = "PNG") -> str:
    """A mask as the script sends it: white on the left."""
    mask, data = Image.new("L", size), io.BytesIO()
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    mask.save(data, kind)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def edit(panel: Panel, action: str, image: str = "a.png", **values: Any) -> str:
    found = panel.call("edit_image", panel.opened, json.dumps({"action": action, "image": image, **values}), *panel.seen)
    return str(found.get("editor", ""))


def test_the_crop_of_the_selected_image_is_chosen_and_undone(panel: Panel, services: Services, cat: Path) -> None:
    panel.call("open_editor", panel.opened, "", *panel.seen)
    assert "No image is selected." in panel.status
    panel.select("a.png")
    found = panel.call("open_editor", panel.opened, "a.png", *panel.seen)
    assert 'data-crop=""' in found["editor"]
    assert 'data-picture="data:image/jpeg;base64,' in found["editor"]
    version = panel.version
    area = edit(panel, "crop", crop={"left": 0.25, "top": 0, "width": 0.5, "height": 1})
    assert "Saved the crop of a.png." in panel.status
    assert panel.version != version
    assert 'data-crop="0.25 0.0 0.5 1.0"' in area
    assert services.datasets.crops.list(cat)[0].to_json()["crop"] == [16, 0, 32, 64]
    assert "1 with a crop" in panel.update()
    edit(panel, "undo_crop")
    assert services.datasets.crops.list(cat) == []
    edit(panel, "crop", crop={"left": 0.25, "top": 0, "width": 0.5, "height": 1})
    edit(panel, "crop", crop=None)
    assert services.datasets.crops.list(cat) == []


def test_a_painted_mask_is_saved_replaced_and_undone(panel: Panel, cat: Path) -> None:
    mask = cat / "a-masklabel.png"
    assert 'data-mask="data:image/png;base64,' in edit(panel, "mask", png=painted())
    assert "Saved the mask of a.png." in panel.status
    before = mask.read_bytes()
    assert edit(panel, "mask", png=painted()) == ""
    assert "already has a mask file" in panel.status
    assert mask.read_bytes() == before
    edit(panel, "remove_mask")
    assert not mask.exists()
    edit(panel, "undo_mask")
    assert mask.read_bytes() == before
    edit(panel, "mask", png=painted((32, 32)), replace=True)
    assert "is in the trash" in panel.status


@pytest.mark.parametrize(
    "values",
    [
        {"action": "crop", "crop": {"left": float("nan"), "top": 0, "width": 1, "height": 1}},
        {"action": "crop", "crop": {"left": "0", "top": 0, "width": 0.5, "height": 0.5}},
        {"action": "crop", "crop": {"left": 0, "top": 0, "width": 2, "height": 0.5}},
        {"action": "crop", "crop": {}},
        {"action": "crop", "crop": "all"},
        {"action": "mask"},
        {"action": "mask", "png": 7},
        {"action": "mask", "png": "data:image/svg+xml;base64,AAAA"},
        {"action": "mask", "png": "data:image/png;base64,AAAA"},
        {"action": "mask", "png": "data:image/png;base64,%"},
        {"action": "mask", "png": painted((64, 16))},
        {"action": "mask", "png": painted((4200, 4200))},
        {"action": "mask", "png": "data:image/png;base64," + "A" * (13 * 2**20)},
        {"action": "remove_mask"},
        {"action": "undo_mask"},
        {"action": "undo_crop"},
        {"action": "foreground"},
        {"action": "erase the disk"},
        {"action": ["crop"]},
        {"action": "crop", "crop": None, "image": "../a.png"},
        {"action": "mask", "png": painted(), "image": "/etc/passwd"},
        {"action": "crop", "crop": None, "image": 7},
        [],
        7,
    ],
    ids=lambda values: str(values)[:60],
)
def test_what_a_hostile_page_sends_changes_nothing(
    panel: Panel, cat: Path, values: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "none"))
    before = sorted((file.name, file.read_bytes()) for file in cat.iterdir())
    request = {"image": "a.png", **values} if isinstance(values, dict) else values
    panel.call("edit_image", panel.opened, json.dumps(request), *panel.seen)
    assert "te-bad" in panel.status
    assert "Something went wrong" not in panel.status
    assert sorted((file.name, file.read_bytes()) for file in cat.iterdir()) == before


def test_crops_of_filtered_images_are_centred_reset_and_undone(panel: Panel, services: Services, cat: Path) -> None:
    draw(cat / "wide.png", "blue", (128, 64))
    panel.seen = seen(buckets=False)
    panel.call("check_again", panel.opened)
    panel.update()
    panel.call("centre_crops", panel.opened, "", False, *panel.seen)
    job = services.datasets.crop_jobs.wait(30)
    assert job is not None
    assert "centred on" in editor.progress(services, job)
    (crop,) = services.datasets.crops.list(cat)
    assert (crop.name, crop.to_json()["crop"][2:]) == ("wide.png", [64, 64])
    small = json.dumps({"filter": "small", "page": 0})
    panel.call("reset_crops", panel.opened, small, True, *panel.seen)
    assert "0 crops changed." in panel.status
    panel.call("reset_crops", panel.opened, small, False, *panel.seen)
    assert services.datasets.crops.list(cat) == []
    panel.call("undo_crops", panel.opened)
    assert len(services.datasets.crops.list(cat)) == 1


def test_a_dataset_is_deleted_and_comes_back(panel: Panel, cat: Path) -> None:
    panel.call("delete_dataset", panel.opened)
    assert "te-deleted" in panel.status
    assert (panel.opened, panel.shown, cat.exists()) == ("", "", False)
    assert "No dataset is open." in panel.update()
    panel.call("undelete_dataset")
    assert panel.opened == str(cat)
    assert "a.png" in panel.update()
    panel.call("undelete_dataset")
    assert "No dataset was deleted." in panel.status


def test_an_option_that_is_not_valid_is_named(panel: Panel) -> None:
    panel.seen = seen(width=63)
    panel.update()
    assert "te-bad" in panel.status
    assert "Width" in panel.status


def test_something_must_be_selected_first(panel: Panel) -> None:
    for name, values in {
        "remove_image": (panel.opened, "", *panel.seen),
        "exclude_image": (panel.opened, "", *panel.seen),
        "save_caption": (panel.opened, "", "x", *panel.seen),
    }.items():
        panel.call(name, *values)
        assert "No image is selected." in panel.status, name
