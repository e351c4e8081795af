"""Take the screenshots of README and the docs from the running product: `make screenshots`.

Starts the stand-alone app on the demo checkpoint, walks through it in Chromium as README describes, and writes docs/images/*.png
(docs/images/zh/*.png in Chinese). Takes some two minutes per language on two cores.
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
SAMPLE_SET = SETS["lime"]
NAME = "my-lime"
LOCALES = {"en": "en-US", "zh": "zh-CN"}
BROWSER = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars")
WIDTH, HEIGHT = 1400, 1000
MINUTE = 60_000
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
    """Serve the app over a new data folder, which holds a dataset; yield its address."""
    shutil.copytree(SAMPLE_SET.training_folder, folder / "images" / "lime")
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
    _fill(page, "te_train_dataset", str(dataset))
    page.locator("#te_train_dataset input").first.press("Enter")
    page.locator("#te_train_dataset input").first.blur()
    page.wait_for_selector('#te_train_dataset_check .te-strip[data-pending="false"]')
    _shoot(page, target / "step-2-images.png", "#te_step_images")

    page.click("#te_train_button")
    page.wait_for_function(
        "Number(document.querySelector('#te_train_progress .te-progress')?.dataset.step) >= 120", timeout=5 * MINUTE
    )
    page.wait_for_timeout(1500)  # the plot is drawn after the numbers
    _shoot(page, target / "step-3-train.png", "#te_train_columns", bottom_of="#te_train_buttons")
    page.wait_for_selector(f"{PROGRESS}[data-status=finished]", timeout=10 * MINUTE)
    page.wait_for_selector("#te_train_status .te-good")
    page.wait_for_timeout(1500)
    _shoot(page, target / "tab.png", "#te_panels", height=HEIGHT)

    page.locator("#te_tabs > .tab-nav button, #te_tabs button[role=tab]").last.click()
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
            page.goto(address)
            walk(page, folder / "images" / "lime", IMAGES / ("" if language == "en" else language))
            browser.close()
    return 0


def _address(app: subprocess.Popen[str]) -> str:
    assert app.stdout is not None
    for line in app.stdout:
        if found := re.search(r"http://[\w.:]+/", line):
            return found[0]
    raise RuntimeError("The app ended before it printed its address.")


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
