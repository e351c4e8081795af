"""An artist's way in the tab, from a heap of images to an archive for Civitai, in the stand-alone app or in a WebUI.

Twelve images are dropped, warnings fixed, captions written, a crop and a mask drawn. Three trainings are queued; the program is
killed in the first one, started again, and the queue continued. Steps are compared, and another one is used. The card has an
image, and the embedding is exported. With WALK_SCREENSHOTS, a folder, each stage can be seen there.
"""

from __future__ import annotations

import json
import os
import random
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageDraw, ImageFilter

from tests.caption_models import make_blip
from tests.dragging import drop
from tests.standalone_app import choose, fill, frames, open_creation, sub_tab, text, unfold, unfold_advanced, value, wait
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding

NAME = "te-test-whole"
TITLES = {
    "en": {name: name for name in ("Train", "Dataset", "Runs", "Library", "Export", "archive for Civitai")},
    "zh": {
        "Train": "训练", "Dataset": "数据集", "Runs": "训练记录", "Library": "Embedding 库", "Export": "导出",
        "archive for Civitai": "Civitai 发布包",
    },
}  # fmt: skip
SMALL = {"batch_size": 2, "width": 64, "height": 64, "preview_steps": 3, "eval_every": 10, "save_every": 5}
LONG, SHORT = {**SMALL, "steps": 400, "preview_every": 100}, {"steps": 8, "preview_every": 0}


class Program(Protocol):
    """A program that shows the tab, with a data folder of its own."""

    def open(self) -> Any:
        """Start the program if it does not run, and return a page that shows the tab."""
        ...

    def kill(self) -> None: ...

    def get(self, path: str) -> Any:
        """The answer of a route of ours."""
        ...

    @property
    def embeddings(self) -> Path: ...


def draw_heap(folder: Path) -> list[Path]:
    """Draw twelve images of an orange disc. One is a copy of another, one small, one blurred and one much wider than high."""
    numbers = random.Random(0)
    files = [folder / f"disc {number:02}.png" for number in range(8)]
    for file in files:
        image = Image.new("RGB", (96, 96), tuple(numbers.randrange(20, 120) for _ in range(3)))
        left, top = numbers.randrange(8, 30), numbers.randrange(8, 30)
        ImageDraw.Draw(image).ellipse((left, top, left + 50, top + 50), fill=(250, 140, 20))
        image.save(file)
    with Image.open(files[0]) as first:
        copies = {
            "disc 00b": first.copy(),
            "small": first.resize((24, 24)),
            "blurred": first.filter(ImageFilter.GaussianBlur(12)),
        }
        copies["wide"] = first.resize((400, 60))
    for name, image in copies.items():
        files.append(folder / f"{name}.png")
        image.save(files[-1])
    return files


class Walk:
    """The stages, in their order."""

    def __init__(self, program: Program, language: str, folder: Path) -> None:
        self.program = program
        self.language = language
        self.folder = folder
        self.page = program.open()
        self._stages = 0
        self.look("first")

    def whole_way(self) -> None:
        self.create(NAME)
        dataset = self.drop_images()
        self.fix_warnings(dataset)
        self.write_captions(dataset)
        self.crop_and_mask(dataset)
        run = self.queue_three()
        self.kill_in(run)
        self.resume()
        self.use_another_step(run)
        self.export()

    def look(self, stage: str) -> None:
        """Take a screenshot of the whole page."""
        frames(self.page, 2)
        self._stages += 1
        if folder := os.environ.get("WALK_SCREENSHOTS"):
            file = Path(folder) / f"{self.language}-{self._stages:02}-{stage}.png"
            self.page.screenshot(path=file, full_page=True)

    def show(self, name: str) -> None:
        sub_tab(self.page, name, TITLES[self.language][name])

    def until(self, selector: str) -> None:
        self.page.wait_for_selector(selector)

    def create(self, name: str) -> None:
        page = self.page
        before = text(page, "te_create_status")
        open_creation(page)
        fill(page, "te_create_name", name)
        fill(page, "te_create_init_text", "orange")
        page.click("#te_create_button")
        self.until("#te_create_status .te-good")
        wait(page, lambda: text(page, "te_create_status") not in ("", before), "the message about the new embedding")
        wait(page, lambda: value(page, "te_train_embedding") == name, "the new embedding in its field")
        self.look(f"created-{name}")

    def drop_images(self) -> Path:
        """Drop the heap on step 2, and open the new dataset on the sub-tab Dataset."""
        page = self.page
        drop(page, draw_heap(self.folder), "#te_step_images")
        self.until('#te_train_dataset_check .te-strip[data-pending="false"]')
        wait(page, lambda: value(page, "te_train_dataset") == NAME, "the new dataset in its field")
        assert page.locator("#te_train_dataset_check .te-thumbs img").count() > 0
        self.look("images")
        page.click("#te_train_check")
        self._images(12)
        self.until("#te_dataset_list .te-image img.te-thumb:visible")
        self.look("dataset")
        return Path({one["name"]: one["folder"] for one in self.program.get("datasets")}[NAME])

    def fix_warnings(self, dataset: Path) -> None:
        """Remove the copy and the blurred image, and exclude the small one."""
        page = self.page
        kinds = {"disc 00b.png": "duplicate", "small.png": "small", "blurred.png": "blurred", "wide.png": "cropped"}
        for name, kind in kinds.items():
            self.until(f'.te-image[data-image="{name}"] .te-{kind}')
        for left, name in enumerate(("disc 00b.png", "blurred.png")):
            self._select(name)
            page.click("#te_dataset_remove")
            self._images(11 - left)
            assert not (dataset / name).exists()
        self._select("small.png")
        page.click("#te_dataset_exclude")
        self.until('.te-image[data-image="small.png"] .te-is-excluded')
        self.look("fixed")

    def write_captions(self, dataset: Path) -> None:
        """Generate captions, put the trigger before all of them, and write one by hand."""
        page = self.page
        page.locator("#te_dataset_auto .label-wrap").first.click()
        self.until("#te_dataset_auto_generate:visible")
        frames(page, 3)
        fill(page, "te_dataset_auto_folder", str(make_blip(self.folder / "blip")))
        page.click("#te_dataset_auto_generate")
        wait(page, lambda: len(_captions(dataset)) == 9, "the captions of the images that are used")
        page.locator("#te_dataset_bulk .label-wrap").first.click()
        self.until("#te_dataset_apply:visible")
        frames(page, 3)
        fill(page, "te_dataset_prefix", f"{NAME}, ")
        page.check("#te_dataset_create_captions input")
        page.click("#te_dataset_apply")
        wait(page, lambda: sum(caption.startswith(NAME) for caption in _captions(dataset).values()) >= 9, "the prefix")
        self._select("disc 00.png")
        caption = page.locator("#te_dataset_caption textarea")
        wait(page, lambda: caption.input_value().startswith(NAME), "the caption of the image")
        caption.fill(f"a {NAME}, orange")
        caption.press("Enter")
        wait(page, lambda: _captions(dataset).get("disc 00") == f"a {NAME}, orange", "the caption file")
        self.look("captions")

    def crop_and_mask(self, dataset: Path) -> None:
        page = self.page
        page.click("#te_dataset_edit")
        self.until(".te-editor .te-stage-picture:visible")
        self._drag((0.1, 0.1), (0.9, 0.9))
        self.look("crop")
        page.click(".te-editor [data-edit=crop]")
        wait(page, (dataset / "crops-for-training.json").is_file, "the crop")
        self.until("#te_dataset_status .te-good")
        page.click(".te-editor [data-edit=mode-mask]")
        self._drag((0.2, 0.5), (0.8, 0.5))
        self.look("mask")
        page.click(".te-editor [data-edit=mask]")
        wait(page, lambda: bool(list(dataset.rglob("*mask*"))), "the mask")
        self.until("#te_dataset_status .te-good")

    def queue_three(self) -> str:
        """Queue a long and two short trainings of three embeddings, and change their order; return the run of the long one."""
        page, others = self.page, [f"{NAME}-{number}" for number in (2, 3)]
        page.click("#te_dataset_use")
        self.until("#te_tab_train:visible")
        wait(page, lambda: value(page, "te_train_dataset") == NAME, "the dataset in its field")
        unfold_advanced(page)
        self.until("#te_train_early_stopping:visible")
        page.uncheck("#te_train_early_stopping input")
        for name in others:
            self.create(name)
        for place, (name, settings) in enumerate(((NAME, LONG), (others[0], SHORT), (others[1], {})), start=1):
            choose(page, name)
            for field, content in settings.items():
                fill(page, f"te_train_{field}", str(content))
                page.locator(f"#te_train_{field} input").first.blur()
            page.click("#te_train_enqueue")
            wait(page, lambda place=place: len(self._queue()) == place, "the job in the queue")
        self.look("queued")
        self.show("Runs")
        page.locator("#te_queue_list .te-queued", has=page.get_by_text(others[1], exact=True)).locator("[data-act=up]").click()
        wait(page, lambda: [entry["embedding"] for entry in self._queue()] == [NAME, others[1], others[0]], "the other order")
        return str(self._queue()[0]["run"])

    def kill_in(self, run: str) -> None:
        """Kill the program once the run has been saved, and start it again."""
        self.until("#te_queue_list .te-queued-running")
        wait(self.page, lambda: self.program.get(f"runs/{run}")["step"] >= 12, "the twelfth step")
        self.look("running")
        self.program.kill()
        self.page.close()
        self.page = self.program.open()

    def resume(self) -> None:
        page = self.page
        self.show("Runs")
        self.until("#te_queue_list .te-queue-paused .te-queued")
        assert [entry["status"] for entry in self._queue()] == ["interrupted", "waiting", "waiting"]
        self.look("interrupted")
        page.click("#te_queue_continue")
        wait(page, lambda: {entry["status"] for entry in self._queue()} <= {"finished", "failed"}, "the end of the queue")
        assert [entry["status"] for entry in self._queue()] == ["finished"] * 3
        assert sorted(run["step"] for run in self.program.get("runs")) == [8, 8, 400]
        self.show("Train")
        self.until("#te_train_progress [data-status=finished]")
        self.look("finished")

    def use_another_step(self, run: str) -> None:
        page, file = self.page, self.program.embeddings / f"{NAME}.pt"
        before = read_embedding(file)
        self.show("Runs")
        page.click(f'#te_runs_list .te-run[data-run="{run}"]')
        self.until("#te_runs_details .te-run-details")
        page.click("#te_runs_compare")
        self.until(f'#te_compare_grid .te-comparison[data-run="{run}"]')
        fill(page, "te_compare_prompts", "a [name] star\n[name]")
        fill(page, "te_compare_steps", "0, 100, 200")
        fill(page, "te_compare_sampling_steps", "3")
        page.click("#te_compare_draw")
        self.until('#te_compare_grid .te-comparison[data-active="false"] button.te-cell img')
        assert page.locator("#te_compare_grid button.te-cell").count() == 6
        self.look("compared")
        page.click('#te_compare_grid .te-use-step[data-step="100"]')
        wait(page, lambda: page.locator("#te_compare_grid .te-in-use").get_attribute("data-step") == "100", "the use of the step")
        assert not _is_same(read_embedding(file), before)
        self.look("used")

    def export(self) -> None:
        """Look at the card, which has the step and an image, and download the archive."""
        page = self.page
        self.show("Library")
        card = f"#te_library_cards .te-card[data-name={json.dumps(NAME)}]"
        self.until(f'{card}[data-steps="100"] img')
        page.click(card)
        self.until(f"#te_library_details .te-details[data-name={json.dumps(NAME)}]")
        self.look("card")
        unfold(page, TITLES[self.language]["Export"], "te_library_export")
        page.click("#te_library_form input")
        archive = TITLES[self.language]["archive for Civitai"]
        page.locator("#te_library_form [role=option], #te_library_form li.item").filter(has_text=archive).first.click()
        with page.expect_download() as download:
            page.click("#te_library_export")
        file = self.folder / download.value.suggested_filename
        download.value.save_as(file)
        self.look("exported")
        with zipfile.ZipFile(file) as opened:
            names = {Path(name).name for name in opened.namelist()}
        assert {f"{NAME}.pt", f"{NAME}.safetensors", "README.md"} <= names
        assert any(name.endswith(".png") for name in names)

    def _images(self, count: int) -> None:
        """Wait until so many images are listed and none is examined any more."""
        listed = '#te_dataset_list .te-dataset[data-updating="false"] .te-image'
        wait(self.page, lambda: self.page.locator(listed).count() == count, f"{count} images")

    def _select(self, image: str) -> None:
        self.page.click(f'#te_dataset_list .te-image[data-image="{image}"]')
        self.until(f'#te_dataset_details .te-dataset-image[data-image="{image}"]')
        wait(self.page, lambda: value(self.page, "te_dataset_current") == image, f"{image} beside the list")

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from one place of the image in the editor to another, both as parts of its width and height."""
        stage = self.page.locator(".te-stage")
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        self.page.mouse.move(*places[1], steps=5)
        self.page.mouse.up()

    def _queue(self) -> Sequence[dict[str, Any]]:
        return self.program.get("queue")["entries"]


def _captions(folder: Path) -> dict[str, str]:
    return {file.stem: file.read_text(encoding="utf-8") for file in folder.glob("*.txt") if not file.stem.startswith("excluded")}


def _is_same(one: Embedding, other: Embedding) -> bool:
    return all(one.vectors[key].equal(other.vectors[key]) for key in one.vectors)
