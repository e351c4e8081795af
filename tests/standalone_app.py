"""The stand-alone app in a process of its own, and what people do on its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "train_embedding" / "demo" / "samples" / "lime" / "train"
START = float(os.environ.get("APP_PATIENCE", "600"))
"Seconds the server may take to start, and a short training run to end: other programs may want the machine too."
SECOND = 1000.0


@dataclass
class App:
    """A running server; `lines` is what it has said."""

    data: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"Running on (http://\S+)", line)
            if found:
                self.address = found[1]
                self.ready.set()
        self.ready.set()


@contextmanager
def serve_app(data: Path, port: int = 0) -> Iterator[App]:
    """Start the app on a data folder and a port, 0 for any free one; end it afterwards. It must have printed no traceback."""
    command = [sys.executable, "-m", "train_embedding", "app", "--port", str(port), "--data", str(data)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    started = App(data, process)
    reader = threading.Thread(target=started.listen)
    reader.start()
    try:
        assert started.ready.wait(START), "the server did not start"
        assert started.address, "".join(started.lines)
        yield started
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)
        if process.stdout is not None:
            process.stdout.close()
    printed = "".join(started.lines).partition("Traceback")[1:]
    assert not any(printed), "The app printed a traceback:\n" + "".join(printed)


def open_page(app: App, page: Any) -> None:
    page.goto(app.address)
    tab(page, "Train Embedding")
    wait(page, lambda: value(page, "te_library_shown") != "", "the first answers")


def fill(ui: Any, element: str, value: str) -> None:
    ui.locator(f"#{element} textarea, #{element} input").first.fill(value)


def value(ui: Any, element: str) -> str:
    return ui.locator(f"#{element} textarea, #{element} input").first.input_value()


def text(ui: Any, element: str) -> str:
    """What a piece of HTML says; around it gradio keeps timers."""
    return ui.locator(f"#{element}.prose, #{element} .prose").first.inner_text().strip()


def tab(ui: Any, name: str) -> None:
    # gradio 6 has each button twice, one of them only to measure it
    buttons = ui.locator("#tabs button").filter(has_text=re.compile(f"^\\s*{name}\\s*$"))
    buttons.first.wait_for(state="attached")
    button = next((button for button in buttons.all() if button.get_attribute("role") == "tab"), buttons.last)
    _open(ui, button, "#txt2img_prompt:visible" if name == "txt2img" else "#te_tabs:visible")


def sub_tab(ui: Any, name: str, title: str = "") -> None:
    """Opens a sub-tab of the tab Train Embedding; `title` is what its button says in another language."""
    title = f"^\\s*{title or name}\\s*$"
    buttons = ui.locator("#te_tabs > .tab-nav button, #te_tabs button[role=tab]").filter(has_text=re.compile(title))
    buttons.first.wait_for(state="attached")
    _open(ui, buttons.last, f"#te_tab_{name.lower()}:visible")


def _open(ui: Any, button: Any, shown: str) -> None:
    for _ in range(30):  # gradio 6 shows its buttons before they react
        button.click()
        for _ in range(20):
            if ui.locator(shown).first.is_visible():
                return
            ui.wait_for_timeout(100)
    raise AssertionError(f"A click on a tab did not show {shown}")


def wait(ui: Any, condition: Callable[[], bool], what: str, seconds: float = START) -> None:
    assert _happens(ui, condition, seconds), f"{what} did not happen"


def _happens(ui: Any, condition: Callable[[], bool], seconds: float) -> bool:
    for _ in range(int(seconds * 10)):
        if condition():
            return True
        ui.wait_for_timeout(100)
    return False


def create(ui: Any, name: str, init_text: str = "", vectors: str = "auto", overwrite: bool = False) -> str:
    """Fills the form, clicks, and returns the message."""
    tab(ui, "Train Embedding")
    sub_tab(ui, "Train")
    before = text(ui, "te_create_status")
    open_creation(ui)
    for element, content in (("name", name), ("init_text", init_text), ("vectors", vectors)):
        fill(ui, f"te_create_{element}", content)
    if overwrite:
        ui.locator("#te_create_overwrite input").check()
    ui.click("#te_create_button")
    wait(ui, lambda: text(ui, "te_create_status") not in ("", before), "an answer to Create")
    return text(ui, "te_create_status")


def card(ui: Any, name: str) -> Any:
    return ui.locator(f"#txt2img_textual_inversion_cards .card[data-name={json.dumps(name, ensure_ascii=False)}]")


def progress(ui: Any) -> dict[str, str]:
    return ui.eval_on_selector("#te_train_progress .te-progress", "element => ({...element.dataset})")


def start_training(ui: Any, name: str, folder: Path | str = PICTURES, **values: Any) -> None:
    tab(ui, "Train Embedding")
    sub_tab(ui, "Train")
    choose(ui, name)
    choose_dataset(ui, folder)
    for element, content in {"steps": "12", "learning_rate": "0.05", "batch_size": "2", **values}.items():
        fill(ui, f"te_train_{element}", str(content))
    ui.click("#te_train_button")


def choose(ui: Any, name: str) -> None:
    _type_choice(ui, "te_train_embedding", name)


def choose_dataset(ui: Any, folder: Path | str) -> None:
    _type_choice(ui, "te_train_dataset", str(folder))


def _type_choice(ui: Any, element: str, choice: str) -> None:
    box = ui.locator(f"#{element} input").first
    box.click()
    box.fill(choice)
    box.press("Enter")
    box.blur()


def open_creation(ui: Any) -> None:
    """Opens the form that creates an embedding; it closes when it has done so."""
    wait(ui, lambda: ui.locator("#te_create .label-wrap").count() > 0, "the form")
    for _ in range(10):
        frames(ui, 3)  # the answer to an earlier click may still close it
        if ui.locator("#te_create_name").is_visible():
            return
        ui.locator("#te_create .label-wrap").first.click()
        ui.wait_for_timeout(200)
    raise AssertionError("The form did not open")


def unfold_advanced(ui: Any) -> None:
    """Opens every group of advanced settings."""
    for title in ui.locator("#te_train_advanced .label-wrap").all():
        if "open" not in (title.get_attribute("class") or "").split():
            title.click()
            frames(ui, 3)


def train(ui: Any, name: str, **values: Any) -> dict[str, str]:
    before = progress(ui)["run"]
    start_training(ui, name, **values)
    wait(ui, lambda: progress(ui)["run"] != before, "the start of training")
    wait(ui, lambda: progress(ui)["active"] == "false", "the end of training")
    return progress(ui)


def library_card(ui: Any, name: str) -> Any:
    return ui.locator(f"#te_library_cards .te-card[data-name={json.dumps(name, ensure_ascii=False)}]")


def choose_card(ui: Any, name: str) -> None:
    tab(ui, "Train Embedding")
    sub_tab(ui, "Library")
    details = ui.locator(f"#te_library_details .te-details[data-name={json.dumps(name, ensure_ascii=False)}]")
    for _ in range(6):  # a click between two drawings of the cards, after one was made, reaches none of them
        library_card(ui, name).click()
        if _happens(ui, lambda: details.count() == 1, 10):
            return
    raise AssertionError("The details did not appear")


def unfold(ui: Any, title: str, last: str) -> None:
    """Opens a part of the panel, `last` being the id of its last widget, and leaves it ready to be filled in.

    gradio 6 makes the widgets of a part when it is opened for the first time, and one frame later writes into them what the
    server knows, over anything that a program has typed by then.
    """
    ui.locator("#te_library .label-wrap").filter(has_text=title).click()
    ui.wait_for_selector(f"#{last}:visible")
    frames(ui, 3)


def frames(ui: Any, count: int) -> None:
    """Waits until the page was painted so many times, at most a second for each: Chromium now and then stops painting a page."""
    next_frame = "new Promise((painted) => { requestAnimationFrame(painted); setTimeout(painted, 1000); })"
    ui.evaluate(f"async () => {{ for (let frame = 0; frame < {count}; frame++) await {next_frame}; }}")
