"""The Library panel with thousands of cards in Chromium: `python -m benchmarks.library_scroll`.

Serves the standalone app for a folder of embeddings with previews, opens it, scrolls through the cards while their images load,
types into the search field, and measures what the page's polls transfer while nothing changes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from train_embedding.app import server
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.services import Services
from train_embedding.testing import FakeHost
from train_embedding.ui.library import cards, thumbnails

ROOT = Path(__file__).parents[1]
ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
FOLDERS = ("", "styles", "styles/old", "negative")
PREVIEW_SIDE = 512
SEARCHES = ("s", "st", "sty", "styl", "style", "style-1", "style-12", "")
POLLED_SECONDS = 12.0
PATIENCE = 120_000.0
"Milliseconds."

_SCROLL = """([seconds, speed]) => new Promise((resolve) => {
    const list = document.querySelector("#te_library_cards .te-cards");
    const start = performance.now();
    const frames = [];
    let last = start;
    requestAnimationFrame(function frame(now) {
        frames.push(now - last);
        list.scrollTop += speed * (now - last) / 1000;
        last = now;
        if (now - start < 1000 * seconds) requestAnimationFrame(frame);
        else resolve({frames: frames.slice(1), reached: list.scrollTop, height: list.scrollHeight});
    });
})"""
_TYPE = """(text) => new Promise((resolve) => {
    const field = document.getElementById("te_library_search");
    const start = performance.now();
    field.value = text;
    field.dispatchEvent(new Event("input", {bubbles: true}));
    const script = performance.now() - start;
    requestAnimationFrame(() => setTimeout(() => resolve([script, performance.now() - start]), 0));
})"""
_MISSING = """() => {
    const list = document.querySelector("#te_library_cards .te-cards");
    const box = list.getBoundingClientRect();
    return Array.from(list.querySelectorAll(".te-card[data-picture]:not([data-picture=''])")).filter((card) => {
        const place = card.getBoundingClientRect();
        return place.bottom > box.top && place.top < box.bottom && !card.querySelector("img");
    }).length;
}"""


@dataclass(frozen=True)
class Result:
    """Times in milliseconds, sizes in bytes. `frames` are intervals between frames while scrolling, `keys` times from a keystroke
    to the next frame, and `script` the part of the script in them."""

    cards: int
    made_ms: float
    "Time in which the server makes the HTML of the cards."
    opened_ms: float
    "Time from opening the tab to the first card's image."
    cards_bytes: int
    page_bytes: int
    images_bytes: int
    "Size of all cards' images together, which the page would contain without lazy loading."
    poll_bytes: float
    "Size per poll while nothing changes."
    scrolled: float
    "Pixels."
    frames: list[float]
    image_ms: float
    "Time from the end of scrolling until all visible cards have their image."
    keys: list[float]
    script: list[float]

    @property
    def late(self) -> int:
        """Number of frames that took longer than two frames at 60 Hz."""
        return sum(frame > 2000 / 60 + 1 for frame in self.frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=3000, metavar="N")
    parser.add_argument("--seconds", type=float, default=6.0, metavar="S", help="duration of scrolling")
    parser.add_argument("--speed", type=float, default=6000.0, metavar="PX", help="pixels per second")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, metavar="FOLDER", help="only serve a folder that has been filled")
    arguments = parser.parse_args()
    if arguments.serve:
        server.serve(Services(FakeHost(arguments.serve)), port=0)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.cards, arguments.seconds, arguments.speed)
    print(json.dumps(asdict(result)) if arguments.json else table(result))


def measure(folder: Path, number: int, seconds: float, speed: float, polled: float = POLLED_SECONDS) -> Result:
    host = FakeHost(folder)
    fill(host.info().embeddings_folder, number)
    host.reload_embeddings()
    services = Services(host)
    entries = services.library.list()
    start = time.perf_counter()
    html = cards.cards(entries)
    made = 1000 * (time.perf_counter() - start)
    with _served(folder) as address, _page(address) as page:
        seen = _look(page, seconds, speed, polled)
    images = sum(len(thumbnails.address(one.preview)) for one in entries if one.preview)
    return Result(cards=len(entries), made_ms=made, cards_bytes=len(html.encode()), images_bytes=images, **seen)


def fill(folder: Path, number: int) -> None:
    """Write embeddings of 1 to 16 vectors, all with a preview of a usual size."""
    generator = torch.Generator().manual_seed(1)
    for index in range(number):
        place = folder / FOLDERS[index % len(FOLDERS)]
        place.mkdir(parents=True, exist_ok=True)
        name, count = f"style-{index:05}", 1 + index % 16
        vectors = {"clip_l": torch.randn(count, 768, generator=generator)}
        write_embedding(Embedding(name, vectors, step=index % 5 * 100), place / f"{name}.pt")
        small = torch.randint(0, 256, (8, 8, 3), generator=generator, dtype=torch.uint8)
        image = Image.fromarray(small.numpy()).resize((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.NEAREST)
        image.save(place / f"{name}.preview.png", compress_level=1)


def table(result: Result) -> str:
    """Return a Markdown table with a row for each figure."""
    frames, keys = sorted(result.frames), sorted(result.keys)
    kilobytes, megabytes = f"{result.page_bytes / 1e3:,.0f} kB", f"{result.images_bytes / 1e6:.1f} MB"
    rows = {
        "cards": f"{result.cards:,}",
        "HTML of the cards, of the whole page": f"{result.cards_bytes / 1e3:,.0f} kB, {kilobytes}",
        "images of all cards, loaded when they become visible": megabytes,
        "time to make the HTML of the cards": f"{result.made_ms:.0f} ms",
        "time from the click on the tab to the first image": f"{result.opened_ms:.0f} ms",
        "scrolled": f"{result.scrolled:,.0f} px in {sum(frames) / 1000:.1f} s",
        "frames: median, 95 %, longest": f"{statistics.median(frames):.1f}, {_share(frames, 0.95):.1f}, {frames[-1]:.1f} ms",
        "frames longer than 1/30 s": f"{result.late} of {len(frames)}",
        "then, time until all visible cards have images": f"{result.image_ms:.0f} ms",
        "search keystroke to the next frame: median, longest": f"{statistics.median(keys):.1f}, {keys[-1]:.1f} ms",
        "of which the script: median, longest": f"{statistics.median(result.script):.1f}, {max(result.script):.1f} ms",
        "one poll while nothing changes": f"{result.poll_bytes / 1e3:.1f} kB",
    }
    return "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder in a separate process, and provide the address."""
    command = [sys.executable, "-m", "benchmarks.library_scroll", "--serve", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = next((line for line in process.stdout if line.startswith("Running on ")), "")
            if not said:
                raise SystemExit("The server did not start.")
            yield said.split()[2]
        finally:
            process.terminate()


@contextmanager
def _page(address: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("#txt2img_prompt")
        yield page
        browser.close()


def _open_tab(page: Any, buttons: str, name: str) -> None:
    """Click a tab; gradio 6 has each button twice, one of them only to measure it."""
    tabs = [button for button in page.locator(buttons).all() if name in button.inner_text()]
    next((button for button in tabs if button.get_attribute("role") == "tab"), tabs[-1]).click()


def _look(page: Any, seconds: float, speed: float, polled: float) -> dict[str, Any]:
    _open_tab(page, "#tabs button", "Train Embedding")
    page.wait_for_selector("#te_tabs:visible")
    start = time.perf_counter()
    _open_tab(page, "#te_tabs > .tab-nav button, #te_tabs button[role=tab]", "Library")
    page.wait_for_selector("#te_library_cards .te-card img")
    opened = 1000 * (time.perf_counter() - start)
    page.locator("#te_library_cards").first.scroll_into_view_if_needed()
    page.wait_for_function(f"({_MISSING})() === 0")
    scrolled = page.evaluate(_SCROLL, [seconds, speed])
    start = time.perf_counter()
    page.wait_for_function(f"({_MISSING})() === 0")
    images = 1000 * (time.perf_counter() - start)
    typed = [page.evaluate(_TYPE, text) for text in SEARCHES]
    page.wait_for_function(f"({_MISSING})() === 0")
    polls = _transferred(page, polled)
    return {
        "opened_ms": opened, "page_bytes": len(page.content().encode()), "poll_bytes": polls, "scrolled": scrolled["reached"],
        "frames": scrolled["frames"], "image_ms": images, "keys": [total for _, total in typed],
        "script": [script for script, _ in typed],
    }  # fmt: skip


def _transferred(page: Any, seconds: float) -> float:
    """Return the received bytes per poll over some seconds, after two polls in which earlier answers arrive."""
    page.evaluate(
        "() => { window.polls = 0;"
        " document.addEventListener('click', (event) => { if (event.target.closest('#te_train_poll')) polls++; }, true); }"
    )
    page.wait_for_function("polls >= 3")  # the script waits for the answer to a poll before the next one
    session = page.context.new_cdp_session(page)
    received = [0]
    session.on("Network.dataReceived", lambda event: received.append(event["dataLength"]))
    session.send("Network.enable")
    page.evaluate("polls = 0")
    page.wait_for_timeout(1000 * seconds)
    session.detach()
    return sum(received) / max(1, page.evaluate("polls"))


if __name__ == "__main__":
    main()
