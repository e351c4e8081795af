"""Take the screenshots of README and the docs from the running product: `make screenshots`.

Starts the stand-alone app on the demo checkpoint, walks through it in Chromium as README describes, and writes docs/images/*.png
(docs/images/zh/*.png in Chinese). Takes some three minutes per language on two cores.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from train_embedding.demo.sets import SETS

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
NAME = "my-lime"
"Of the embedding that is trained on the first of SETS."
LOCALES = {"en": "en-US", "zh": "zh-CN"}
BROWSER = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars")
WIDTH, HEIGHT = 1400, 1000
MINUTE = 60_000
TRAIN, RUNS, LIBRARY = 0, -2, -1
"Places of sub-tabs, from the first or from the last; gradio has their buttons twice."
CROPPED = 2
"The image whose crop is edited."
PROGRESS = "#te_train_progress .te-progress"


@contextmanager
def data_folder() -> Generator[Path, None, None]:
    """Make a folder for data, whose name is seen in screenshots."""
    folder = Path(tempfile.gettempdir()) / "train-embedding"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_app(folder: Path) -> Generator[str, None, None]:
    """Serve the app over a new data folder, which holds datasets; yield its address."""
    for sample_set in SETS.values():
        shutil.copytree(sample_set.training_folder, folder / "images" / sample_set.name)
    command = [sys.executable, "-m", "train_embedding", "app", "--port", "0", "--data", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as app:
        try:
            yield _address(app)
        finally:
            app.terminate()


def walk(page: Page, dataset: Path, target: Path) -> None:
    """Do what README's five steps say, with a screenshot of each.

    Args:
        page: Shows the app.
        dataset: The folder of training images.
        target: Folder of the screenshots.
    """
    page.locator("#tabs button[role=tab]").nth(1).click()
    page.wait_for_selector("#te_train_poll", state="attached")
    _fill(page, "te_create_name", NAME)
    _fill(page, "te_create_init_text", "green")
    page.wait_for_selector("#te_create_budget .te-budget")
    _shoot(page, target / "step-1-create.png", "#te_step_embedding")

    page.click("#te_create_button")
    page.wait_for_selector("#te_create_status .te-good")
    _choose_dataset(page, dataset)
    _shoot(page, target / "step-2-images.png", "#te_step_images")

    page.click("#te_train_button")
    page.wait_for_function(
        "Number(document.querySelector('#te_train_progress .te-progress')?.dataset.step) >= 120", timeout=5 * MINUTE
    )
    page.wait_for_timeout(1500)  # the plot is drawn after the numbers
    _shoot(page, target / "step-3-train.png", "#te_train_columns", bottom_of="#te_train_buttons")
    page.wait_for_selector(f"{PROGRESS}[data-status=finished]", timeout=10 * MINUTE)
    page.wait_for_selector("#te_train_status .te-good")
    page.wait_for_timeout(6000)
    _shoot(page, target / "tab.png", "#te_panels", height=HEIGHT)

    _open_sub_tab(page, LIBRARY)
    page.click(f"#te_library_cards .te-card[data-name='{NAME}']")
    page.wait_for_selector("#te_library_details .te-details")
    _shoot(page, target / "step-4-card.png", "#te_library", height=HEIGHT)

    page.locator("#tabs button[role=tab]").nth(0).click()
    page.fill("#txt2img_prompt textarea", "a big")
    page.dblclick(f"#txt2img_textual_inversion_cards .card[data-name='{NAME}']")
    page.locator("#txt2img_prompt textarea").press_sequentially(" star on a navy background")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_gallery img", timeout=2 * MINUTE)
    page.wait_for_timeout(1500)
    _shoot(page, target / "step-5-generate.png", "#tab_txt2img", height=620)


def compare_and_prepare(page: Page, folder: Path, target: Path) -> None:
    """After `walk`: compare the steps, crop an image, and queue trainings on the other datasets, with a screenshot of each.

    Args:
        page: Shows the app.
        folder: The folder of the datasets.
        target: Folder of the screenshots.
    """
    page.locator("#tabs button[role=tab]").nth(1).click()
    _open_sub_tab(page, TRAIN)
    page.click("#te_train_compare")
    page.wait_for_selector("#te_compare_grid .te-comparison")
    _fill(
        page, "te_compare_prompts", "a [name] circle\na big [name] star on a navy background\na [name] ring on a white background"
    )
    page.click("#te_compare_draw")
    page.wait_for_selector('#te_compare_grid .te-comparison[data-active="false"] button.te-cell img', timeout=5 * MINUTE)
    _shoot(page, target / "compare.png", "#te_compare")

    _open_sub_tab(page, TRAIN)
    page.click("#te_train_check")
    page.click(f"#te_dataset_list .te-image >> nth={CROPPED}")
    page.wait_for_selector("#te_dataset_details .te-dataset-image")
    page.click("#te_dataset_edit")
    page.wait_for_selector(".te-editor .te-stage-picture:visible")
    page.wait_for_timeout(1500)
    _shoot(page, target / "dataset.png", "#te_dataset", height=HEIGHT)

    _open_sub_tab(page, TRAIN)
    for name in list(SETS)[1:]:
        page.locator("#te_create .label-wrap:not(.open)").click()
        _fill(page, "te_create_name", f"my-{name}")
        _fill(page, "te_create_init_text", SETS[name].init_text)
        page.click("#te_create_button")
        page.wait_for_function("name => document.querySelector('#te_train_embedding input').value === name", arg=f"my-{name}")
        _choose_dataset(page, folder / name)
        page.click("#te_train_enqueue")
        page.wait_for_selector(f"#te_train_status .te-good:has-text('my-{name}')")
    _open_sub_tab(page, RUNS)
    page.wait_for_function("/[1-9]/.test(document.querySelector('.te-queue-progress')?.textContent)", timeout=5 * MINUTE)
    page.click("#te_runs_list .te-run >> nth=-1")
    page.wait_for_selector("#te_runs_details .te-run-details")
    _shoot(page, target / "queue.png", "#te_tab_runs", height=HEIGHT)


def main() -> int:
    """Take the screenshots of the languages that are named, by default of all."""
    parser = argparse.ArgumentParser(description="Take the screenshots of README and the docs.")
    parser.add_argument("languages", nargs="*", choices=[*LOCALES, []], help="by default all")
    for language in parser.parse_args().languages or LOCALES:
        with data_folder() as folder, running_app(folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=BROWSER
            )
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale=LOCALES[language])
            page.set_default_timeout(2 * MINUTE)
            page.goto(address)
            target = IMAGES / ("" if language == "en" else language)
            walk(page, folder / "images" / next(iter(SETS)), target)
            compare_and_prepare(page, folder / "images", target)
            browser.close()
    return 0


def _address(app: subprocess.Popen[str]) -> str:
    assert app.stdout is not None
    for line in app.stdout:
        if found := re.search(r"http://[\w.:]+/", line):
            return found[0]
    raise RuntimeError("The app ended before it printed its address.")


def _open_sub_tab(page: Page, place: int) -> None:
    buttons = page.locator("#te_tabs > .tab-nav button, #te_tabs button[role=tab]")
    buttons.nth(place % buttons.count()).click()


def _choose_dataset(page: Page, folder: Path) -> None:
    _fill(page, "te_train_dataset", str(folder))
    page.locator("#te_train_dataset input").first.press("Enter")
    page.locator("#te_train_dataset input").first.blur()
    page.wait_for_selector('#te_train_dataset_check .te-strip[data-pending="false"]')


def _fill(page: Page, elem_id: str, text: str) -> None:
    page.locator(f"#{elem_id} textarea, #{elem_id} input").first.fill(text)


def _shoot(page: Page, file: Path, selector: str, *, height: int | None = None, bottom_of: str = "") -> None:
    """Save an element, from its top to a height or to the bottom of another element, with 256 colours."""
    page.locator(selector).first.scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, 0)")
    page.mouse.move(0, 0)
    box = _box(page, selector)
    bottom = _box(page, bottom_of)["y"] + _box(page, bottom_of)["height"] - box["y"] if bottom_of else height or box["height"]
    margin = 8
    clip = {
        "x": max(0, box["x"] - margin), "y": max(0, box["y"] - margin),
        "width": min(WIDTH, box["width"] + 2 * margin), "height": min(bottom, box["height"]) + 2 * margin,
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file, full_page=True, clip=clip)  # pyright: ignore[reportArgumentType]
    with Image.open(file) as image:
        smaller = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    smaller.save(file, optimize=True)
    print(f"Wrote {file.relative_to(ROOT)}")


def _box(page: Page, selector: str) -> dict[str, Any]:
    box = page.locator(selector).first.bounding_box()
    assert box is not None, f"{selector} is not visible."
    return dict(box)


if __name__ == "__main__":
    sys.exit(main())
