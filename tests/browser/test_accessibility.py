"""Accessibility of the tab and the stand-alone app in Chromium: contrast, names and roles, the keyboard, narrow screens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from benchmarks.hostile_cases import vectors_and_call
from tests.pages import settle
from tests.standalone_app import (
    PICTURES,
    SECOND,
    App,
    choose_card,
    choose_dataset,
    create,
    fill,
    library_card,
    progress,
    serve_app,
    start_training,
    sub_tab,
    tab,
    train,
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

CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8").strip()
LEAST_CONTRAST = 4.5
"Of text, by WCAG 2.2, 1.4.3."
LEAST_FOCUS_CONTRAST = 3.0
"Of what shows the focus, by WCAG 2.2, 1.4.11."
LEAST_TARGET = 24
"Pixels, by WCAG 2.2, 2.5.8."
PHONE = 400
"Pixels."
NAMED_ROLES = {
    "button", "checkbox", "combobox", "image", "link", "listbox", "option", "progressbar", "radio", "radiogroup",
    "searchbox", "spinbutton", "tab", "textbox",
}  # fmt: skip
"Roles of Chromium's accessibility tree that mean nothing without a name."


@dataclass(frozen=True)
class Node:
    """A node of the accessibility tree."""

    role: str
    name: str
    description: str
    properties: dict[str, Any]


@pytest.fixture(scope="module")
def app(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with a trained embedding, a long name, and files that are unsafe and broken."""
    with serve_app(tmp_path_factory.mktemp("accessible")) as started:
        images = started.data / "datasets" / "few"
        images.mkdir(parents=True)
        for picture in sorted(PICTURES.glob("*.png"))[:3]:
            shutil.copy(picture, images)
        (images / "01.txt").write_text("a lime, on a table", encoding="utf-8")
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        ui = _opened(context, started, "light")
        create(ui, "my-lime", "a green fruit", "2")
        create(ui, "a-rather-long-name-for-the-embedding-of-a-style", "red", "2")
        folder = started.data / "embeddings"
        (folder / "evil.pt").write_bytes(vectors_and_call(str(started.data / "ran"), zipped=True))
        (folder / "broken.pt").write_bytes(b"no embedding")
        train(ui, "my-lime")
        sub_tab(ui, "Library")
        ui.click("#te_library_refresh")
        wait(ui, lambda: library_card(ui, "evil").count() == 1, "the unsafe card", 60)
        choose_card(ui, "my-lime")
        _open_accordions(ui)
        ui.click("#te_library_draw_preview")
        wait(ui, lambda: library_card(ui, "my-lime").locator("img").count() == 1, "the image on the card", 60)
        context.close()
        yield started


Open = Callable[..., Any]


@pytest.fixture
def open_app(browser: Any, app: App) -> Iterator[Open]:
    """Opens the tab in a context of its own: `open_app("dark", width=400)`."""
    contexts: list[Any] = []

    def open_app(theme: str = "light", width: int = 1400, **more: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=theme, **more))
        return _opened(contexts[-1], app, theme)

    yield open_app
    for context in contexts:
        context.close()


def _opened(context: Any, app: App, theme: str) -> Any:
    page = context.new_page()
    page.set_default_timeout(60 * SECOND)
    page.goto(f"{app.address.rstrip('/')}/?__theme={theme}")
    tab(page, "Train Embedding")
    wait(page, lambda: value(page, "te_library_shown") != "", "the first answers")
    return page


def _open_accordions(ui: Any) -> None:
    """Those that are visible and closed."""
    for label in ui.locator("#te_panels .label-wrap:not(.open)").element_handles():
        if label.is_visible():
            label.click()
    ui.wait_for_selector(":is(#te_library_tokens_prompt, #te_train_seed):visible")
    settle(ui)


def _show_everything(ui: Any) -> Iterator[None]:
    """Shows what is on each sub-tab, one after the other."""
    _show_library(ui)
    yield
    _show_dataset(ui)
    yield
    _show_training(ui)
    yield


def _show_library(ui: Any) -> None:
    """Every accordion, the details and the report of a card."""
    choose_card(ui, "my-lime")
    _open_accordions(ui)
    ui.locator("#te_library_neighbours input").check()
    ui.click("#te_library_inspect")
    ui.wait_for_selector("#te_library_report .te-report img")
    fill(ui, "te_library_tokens_prompt", "a my-lime star")
    ui.wait_for_selector("#te_library_tokens .te-token")


def _show_dataset(ui: Any) -> None:
    """The images of a dataset, one of them beside the list, its warnings, and changes of many captions."""
    sub_tab(ui, "Dataset")
    wait(ui, lambda: ui.locator("#te_dataset_list .te-image").count() > 0, "the dataset of the last training", 30)
    box = ui.locator("#te_dataset_folder input").first
    box.click()
    box.fill("few")
    box.press("Enter")
    box.blur()
    ui.wait_for_selector('#te_dataset_list .te-dataset[data-updating="false"] .te-image .te-warning')
    ui.locator("#te_dataset_list .te-image").first.click()
    ui.wait_for_selector("#te_dataset_details .te-dataset-image img:visible")
    ui.wait_for_selector("#te_dataset_caption_use .te-message")
    if not ui.locator("#te_dataset_apply").is_visible():
        ui.locator("#te_dataset_bulk .label-wrap").click()
    ui.wait_for_selector("#te_dataset_apply:visible")


def _show_training(ui: Any) -> None:
    """Every accordion, an error, a budget, a check of a dataset, a finished run."""
    sub_tab(ui, "Train")
    _open_accordions(ui)
    fill(ui, "te_create_name", "")
    fill(ui, "te_create_init_text", "a cat")
    ui.wait_for_selector("#te_create_budget .te-budget")
    ui.click("#te_create_button")
    ui.wait_for_selector("#te_create_status .te-bad")
    choose_dataset(ui, PICTURES)
    ui.wait_for_selector("#te_train_dataset_check .te-strip")
    ui.wait_for_selector("#te_train_pictures details")
    for summary in ui.locator("#te_train_pictures summary").all():
        summary.click()
    wait(ui, lambda: "Vega" not in _plot_label(ui), "the plot's description", 30)


def _plot_label(ui: Any) -> str:
    shown = ui.locator("#te_train_plot [role=img][aria-label], #te_train_plot [role=graphics-document]")
    return shown.first.get_attribute("aria-label") if shown.count() else "Vega: none yet"


def _texts(ui: Any) -> list[dict[str, Any]]:
    ui.mouse.move(0, 0)
    ui.wait_for_timeout(300)  # colours change slowly under the pointer
    return ui.evaluate(CONTRAST, "body")


def _too_weak(texts: list[dict[str, Any]]) -> list[str]:
    weak = (one for one in texts if one["ratio"] < LEAST_CONTRAST)
    return sorted({f"{one['ratio']} {one['place']}: {one['text']} ({one['color']} on {one['background']})" for one in weak})


# ---- contrast


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(open_app: Open, theme: str) -> None:
    ui = open_app(theme)
    texts = [text for _ in _show_everything(ui) for text in _texts(ui)]
    assert _too_weak(texts) == []
    places = " ".join(text["place"] for text in texts)
    for part in (
        "te_create_name",
        "te_train_seed",
        "te_library_description",
        "te-more",
        "te-badge",
        "te-near",
        "te-warning",
        "te-chip",
    ):
        assert part in places, f"{part} was not measured"
    if ui.locator("#te_train_plot canvas").count() == 0:  # gradio 3 draws the plot as an image
        assert "te_train_plot text" in places
    assert any(text["text"].startswith("placeholder:") for text in texts)
    choose_card(ui, "evil")
    assert _too_weak(_texts(ui)) == []
    tab(ui, "txt2img")
    assert _too_weak(_texts(ui)) == []


def test_a_run_and_a_deletion_stand_out_too(open_app: Open) -> None:
    ui = open_app("dark")
    create(ui, "running", "red", "1")
    before = progress(ui)["run"]
    start_training(ui, "running", steps=100_000)
    wait(ui, lambda: progress(ui)["run"] != before and progress(ui)["active"] == "true", "the run")
    wait(ui, lambda: int(progress(ui)["step"]) > 1, "a step")
    assert _too_weak(_texts(ui)) == []
    ui.click("#te_train_stop")
    wait(ui, lambda: progress(ui)["active"] == "false", "the stop")
    create(ui, "deleted", "red", "1")
    choose_card(ui, "deleted")
    _open_accordions(ui)
    ui.click("#te_library_delete")
    ui.wait_for_selector("#te_library_undo:visible")
    assert _too_weak(_texts(ui)) == []


@pytest.mark.parametrize(
    ("style", "ratio"),
    [
        ("color: #000; background: #fff", 21),
        ("color: #767676; background: #fff", 4.54),
        ("color: #000; background: #fff; opacity: 0.5", 3.95),
        ("color: rgb(0 0 0 / 50%); background: #fff", 3.95),
        ("color: #fff; background: linear-gradient(#000, #767676)", 4.54),
    ],
)
def test_contrast_is_measured_as_it_appears(page: Any, style: str, ratio: float) -> None:
    page.set_content(f"<body style='background: #fff'><p style='{style}'>text</p><p style='{style}' hidden>text</p></body>")
    assert [one["ratio"] for one in page.evaluate(CONTRAST, "body")] == [pytest.approx(ratio, abs=0.05)]


# ---- names and roles


def test_everything_has_a_name_and_says_what_it_is(open_app: Open) -> None:
    ui = open_app()
    titles: list[str] = []
    nodes: list[Node] = []
    described = (
        "#te_library_tokens_prompt textarea[aria-labelledby]",
        "#te_dataset_prefix :is(input, textarea)[aria-describedby]",
        "#te_train_seed input[aria-describedby]",
    )
    for _, field in zip(_show_everything(ui), described, strict=True):
        ui.wait_for_selector(field)
        nodes += _accessibility_tree(ui)
        radio_groups = ui.locator("#te_panels fieldset:visible:has(input[type=radio])").all()
        titles += [group.locator("[data-testid=block-info]").inner_text().strip() for group in radio_groups]
    assert [node for node in nodes if node.role in NAMED_ROLES and not node.name.strip()] == []
    by_role = {role: [node for node in nodes if node.role == role] for role in NAMED_ROLES}
    assert [node.name.strip() for node in by_role["radiogroup"] if node.name.strip() not in titles] == []
    assert len(by_role["radiogroup"]) == len(titles) > 5
    help_text = ui.locator("#te_train_seed").inner_text().strip().splitlines()[-1].strip()
    assert [node.description for node in by_role["spinbutton"] if node.description == help_text], help_text
    [bar] = by_role["progressbar"]
    assert bar.name
    said = ui.get_attribute("#te_train_progress [role=progressbar]", "aria-valuetext")
    assert said == ui.locator("#te_train_progress .te-progress p span").inner_text()
    assert "my-lime" in {node.name for node in by_role["image"]}, "the portrait"
    assert [node.name for node in by_role["image"] if "Training loss" in node.name and "0." in node.name], "the plot"
    assert ui.get_attribute("#te_library_cards .te-cards", "aria-label") in {node.name for node in by_role["listbox"]}
    cards = [node for node in by_role["option"] if "selected" in node.properties and node.name.startswith(("my-lime", "evil"))]
    assert {node.name.split()[0]: node.properties["selected"] for node in cards} == {"my-lime": True, "evil": False}


def test_messages_are_announced_but_not_the_progress_of_each_second(open_app: Open) -> None:
    ui = open_app()
    sub_tab(ui, "Library")
    ui.wait_for_selector("#te_library_status[aria-live=polite]", state="attached")
    sub_tab(ui, "Train")
    for status in ("te_create_status", "te_train_status"):
        ui.wait_for_selector(f"#{status}[aria-live=polite]", state="attached")
    ui.click("#te_create_button")
    ui.wait_for_selector("#te_create_status[aria-live] .te-bad[role=alert]")
    ui.wait_for_selector("#te_train_progress [role=progressbar]")
    live = "[aria-live=polite], [aria-live=assertive], [role=status], [role=alert], [role=log]"
    assert ui.evaluate(f"document.querySelector('#te_train_progress [role=progressbar]').closest('{live}')") is None
    assert ui.locator(f"#te_train_progress :is({live})").count() == 0
    assert ui.locator(".te-quiet[role]").count() == 0


def _accessibility_tree(ui: Any) -> list[Node]:
    """The nodes of Chromium's accessibility tree that are not ignored."""
    session = ui.context.new_cdp_session(ui)
    nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    return [
        Node(
            node["role"]["value"],
            str(node.get("name", {}).get("value", "")),
            str(node.get("description", {}).get("value", "")).strip(),
            {each["name"]: each["value"].get("value") for each in node.get("properties", [])},
        )
        for node in nodes
    ]


# ---- the keyboard


def test_radio_buttons_and_accordions_work_by_keyboard(open_app: Open) -> None:
    ui = open_app()
    ui.wait_for_selector("#te_create_start[role=radiogroup]")
    radios = ui.locator("#te_create_start input")
    radios.first.focus()
    ui.keyboard.press("ArrowRight")
    assert [radio.is_checked() for radio in radios.all()] == [False, True, False]
    accordion = ui.locator("#te_train_group_what_to_learn .label-wrap")
    for key, is_open in (("Enter", True), ("Space", False)):
        accordion.focus()
        ui.keyboard.press(key)
        wait(ui, lambda is_open=is_open: ui.locator("#te_train_seed").is_visible() == is_open, f"the effect of {key}", 10)
        wait(ui, lambda is_open=is_open: accordion.get_attribute("aria-expanded") == str(is_open).lower(), "the state", 10)


def test_a_card_of_the_txt2img_page_works_by_keyboard(open_app: Open) -> None:
    ui = open_app()
    tab(ui, "txt2img")
    card = ui.locator("#txt2img_textual_inversion_cards .card[data-name=my-lime]")
    card.focus()
    ui.keyboard.press("Enter")
    wait(ui, lambda: value(ui, "txt2img_prompt") == "my-lime", "the trigger word in the prompt", 10)
    ui.keyboard.press("Space")
    wait(ui, lambda: value(ui, "txt2img_prompt") == "", "the prompt without it", 10)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_focus_is_visible(open_app: Open, theme: str) -> None:
    ui = open_app(theme, reduced_motion="reduce")  # colours change at once
    ui.locator("#te_create_name").locator("input, textarea").first.focus()
    assert "te_create_button" in _focused_on_the_way_to(ui, "te_train_button")
    sub_tab(ui, "Library")
    _focused_on_the_way_to(ui, "te_library_search")


def _focused_on_the_way_to(ui: Any, last: str) -> set[str]:
    """Presses Tab until an element has the focus; returns all that had it, each of which was seen to have it."""
    seen: set[str] = set()
    for _ in range(60):
        ui.keyboard.press("Tab")
        settle(ui)
        focused = ui.evaluate(FOCUS)
        if focused is None:
            continue
        assert focused["style"] == "solid", focused
        assert focused["width"] >= 2, focused
        assert focused["ratio"] >= LEAST_FOCUS_CONTRAST, focused
        seen.add(focused["place"])
        if focused["place"] == last:
            return seen
    raise AssertionError(f"The Tab key did not reach {last}")


FOCUS = """() => {
  const element = document.activeElement;
  if (!element?.closest("#te_panels")) return null;
  const style = getComputedStyle(element);
  const measure = CONTRAST;
  const probe = document.createElement("span");
  probe.textContent = "x";
  probe.id = "te_probe";
  probe.style.color = style.outlineColor;
  element.parentElement.append(probe);
  const [found] = measure("#te_probe");
  probe.remove();
  const place = element.id || element.closest("[id]").id;
  return {place, style: style.outlineStyle, width: parseFloat(style.outlineWidth), ratio: found ? found.ratio : 21};
}""".replace("CONTRAST", f"({CONTRAST})")


# ---- narrow screens, motion


def test_a_phone_shows_everything(open_app: Open) -> None:
    ui = open_app(width=PHONE)
    for _ in _show_everything(ui):
        assert ui.evaluate(MISFITS, LEAST_TARGET) == []
    tab(ui, "txt2img")
    assert ui.evaluate(MISFITS, LEAST_TARGET) == []


MISFITS = """(least) => {
  const found = [];
  const page = document.documentElement;
  if (page.scrollWidth > innerWidth) found.push(`the page is ${page.scrollWidth} pixels wide`);
  for (const element of document.querySelectorAll("#tabs *")) {
    if (!element.checkVisibility({visibilityProperty: true})) continue;
    const {left, right, width, height} = element.getBoundingClientRect();
    if (width < 2 || height < 2) continue;
    const place = `${element.localName} of #${element.closest("[id]").id}: ${element.textContent.trim().slice(0, 40)}`;
    const scrolls = element.closest(".te-wide, pre, [role=tablist], .tab-nav");
    if ((left < -1 || right > innerWidth + 1) && !scrolls) found.push(`${place} from ${left} to ${right}`);
    const controls = "a[href], button, input:not([type=file]), select, summary, textarea, [role=button], [role=option]";
    if (!element.matches(controls)) continue;
    const target = (element.matches("[type=checkbox], [type=radio]") && element.closest("label")) || element;
    const size = target.getBoundingClientRect();
    if (size.width < least || size.height < least) found.push(`${place} is ${size.width} × ${size.height}`);
  }
  return found;
}"""


def test_reduced_motion_is_respected(open_app: Open) -> None:
    assert _slowest_transition(open_app()) > 0.1
    assert _slowest_transition(open_app(reduced_motion="reduce")) < 0.01


def _slowest_transition(ui: Any) -> float:
    """Seconds of the slowest transition or animation in the tab."""
    ui.wait_for_selector("#te_train_progress .te-bar", state="attached")
    return ui.evaluate(
        """() => Math.max(...Array.from(document.querySelectorAll("#te_panels *"), (element) => {
            const style = getComputedStyle(element);
            const animated = style.animationName === "none" ? [] : style.animationDuration.split(",");
            return Math.max(0, ...[...style.transitionDuration.split(","), ...animated].map(parseFloat));
        }))"""
    )
