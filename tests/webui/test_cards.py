"""The WebUI's cards: they appear by themselves, and a double click puts the trigger into the right prompt, once."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.pages import settle, wait_for_polls
from tests.webui.server import (
    PREFIX,
    WebUI,
    fill,
    host_card,
    open_creation,
    show_cards,
    show_sub_tab,
    show_tab,
    vectors_in,
    wait_for,
    write_vectors,
)

TABS = ("txt2img", "img2img")
BOXES = ("txt2img_prompt", "txt2img_neg_prompt", "img2img_prompt", "img2img_neg_prompt")


def text_of(page: Any, box: str) -> str:
    return page.eval_on_selector(f"#{box} textarea", "box => box.value")


def test_a_new_embeddings_card_appears_in_both_tabs_without_a_click(page: Any, webui: WebUI) -> None:
    name = f"{PREFIX}card"
    show_sub_tab(page, "Train")
    open_creation(page)
    fill(page, "te_create_name", name)
    fill(page, "te_create_init_text", "tree")
    page.click("#te_create_button")
    for tab in TABS:
        host_card(page, tab, name).wait_for(state="attached")
    page.locator(f"#te_library_cards [data-name='{name}']").wait_for(state="attached")
    show_cards(page, "txt2img")
    assert host_card(page, "txt2img", name).is_visible()


def test_one_made_through_the_api_appears_in_open_and_in_new_pages(page: Any, open_page: Any, webui: WebUI) -> None:
    name = f"{PREFIX}api-card"
    webui.create(name, "tree")
    other = open_page()
    for tab in TABS:
        host_card(page, tab, name).wait_for(state="attached")
        host_card(other, tab, name).wait_for(state="attached")


def test_the_refresh_button_shows_files_dropped_in_by_hand(page: Any, webui: WebUI) -> None:
    webui.create(f"{PREFIX}seed", "tree")
    vectors = vectors_in(webui.embeddings / f"{PREFIX}seed.pt")
    names = [f"{PREFIX}dropped", f"{PREFIX}deep"]
    folder = webui.embeddings / f"{PREFIX}folder"
    folder.mkdir()
    write_vectors(webui.embeddings / f"{names[0]}.pt", vectors)
    write_vectors(folder / f"{names[1]}.pt", vectors)
    show_sub_tab(page, "Library")
    page.click("#te_library_refresh")
    for name in names:
        page.locator(f"#te_library_cards [data-name='{name}']").wait_for()
        for tab in TABS:
            host_card(page, tab, name).wait_for(state="attached")
    assert set(names) <= set(webui.loaded())
    shutil.rmtree(folder)
    page.click("#te_library_refresh")
    for tab in TABS:
        host_card(page, tab, names[1]).wait_for(state="detached")


def test_a_refresh_keeps_what_the_person_was_doing(page: Any, webui: WebUI) -> None:
    for number in range(12):
        webui.create(f"{PREFIX}many-{number:02}", "tree")
    host_card(page, "img2img", f"{PREFIX}many-11").wait_for(state="attached")
    show_cards(page, "txt2img")
    page.fill("#txt2img_textual_inversion_extra_search", f"{PREFIX}many")
    page.fill("#txt2img_prompt textarea", "typing")
    webui.create(f"{PREFIX}many-99", "tree")
    webui.create(f"{PREFIX}other", "tree")
    host_card(page, "img2img", f"{PREFIX}other").wait_for(state="attached")
    settle(page)
    assert page.locator("#txt2img_textual_inversion_cards").is_visible()
    assert page.input_value("#txt2img_textual_inversion_extra_search") == f"{PREFIX}many"
    host_card(page, "txt2img", f"{PREFIX}many-99").wait_for(state="visible")  # one refresh more may be under way
    host_card(page, "txt2img", f"{PREFIX}other").wait_for(state="hidden")
    assert text_of(page, "txt2img_prompt") == "typing"


def test_the_chosen_checkpoint_stays_chosen_while_cards_are_refreshed(page: Any, webui: WebUI, other_checkpoint: str) -> None:
    """With `--ckpt`, the refresh of the checkpoints' page goes back to the one from the command line."""
    dropdown = page.locator("#setting_sd_model_checkpoint")
    if dropdown.count():
        dropdown.locator("input").click()
        page.locator(".options li", has_text=other_checkpoint).first.click()
    else:  # Forge has its own
        webui.choose_checkpoint(other_checkpoint)
    wait_for(lambda: webui.checkpoint, lambda name: name == other_checkpoint)
    for number in range(3):
        webui.create(f"{PREFIX}chosen-{number}", "tree")
        host_card(page, "txt2img", f"{PREFIX}chosen-{number}").wait_for(state="attached")
        wait_for_polls(page)
    assert webui.checkpoint == other_checkpoint


def test_a_refresh_leaves_the_other_pages_of_cards_alone(page: Any, webui: WebUI) -> None:
    show_tab(page, "txt2img")
    page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Checkpoints").click()
    page.wait_for_selector("#txt2img_checkpoints_cards .card")
    mark = "card => { card.dataset.mark = 'mine'; }"
    page.eval_on_selector("#txt2img_checkpoints_cards .card", mark)
    page.fill("#txt2img_checkpoints_extra_search", "nothing like that")
    webui.create(f"{PREFIX}beside", "tree")
    host_card(page, "txt2img", f"{PREFIX}beside").wait_for(state="attached")
    settle(page)
    assert page.locator("#txt2img_checkpoints_cards .card[data-mark=mine]").count() == 1
    assert page.locator("#txt2img_checkpoints_cards .card:visible").count() == 0
    show_cards(page, "txt2img")
    assert host_card(page, "txt2img", f"{PREFIX}beside").is_visible()


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
def test_new_cards_come_in_the_chosen_order(page: Any, webui: WebUI, order: str) -> None:
    for letter in "mca":
        webui.create(f"{PREFIX}sorted-{letter}", "tree")
    host_card(page, "img2img", f"{PREFIX}sorted-a").wait_for(state="attached")
    show_cards(page, "txt2img")
    page.locator("#txt2img_textual_inversion_extra_sort_name").first.click()
    direction = page.locator("#txt2img_textual_inversion_extra_sort_dir").first
    if direction.get_attribute("data-sortdir") != order:
        direction.click()
    webui.create(f"{PREFIX}sorted-f", "tree")
    host_card(page, "txt2img", f"{PREFIX}sorted-f").wait_for(state="attached")
    letters = [name[-1] for name in sorted_names(page)]
    wanted = sorted("acfm", reverse=order == "Descending")
    wait_for(lambda: [name[-1] for name in sorted_names(page)], lambda found: found == wanted)
    assert sorted(letters) == sorted(wanted)


def sorted_names(page: Any) -> list[str]:
    cards = f"#txt2img_textual_inversion_cards .card[data-name^='{PREFIX}sorted-']"
    return page.eval_on_selector_all(cards, "cards => cards.map(card => card.dataset.name)")


@pytest.mark.parametrize("box", BOXES)
def test_a_double_click_fills_the_box_that_had_the_focus(page: Any, webui: WebUI, box: str) -> None:
    name, tab = f"{PREFIX}double", box.split("_")[0]
    webui.create(name, "tree")
    host_card(page, "img2img", name).wait_for(state="attached")
    show_cards(page, tab)
    page.fill(f"#{box} textarea", "a photo")
    page.focus(f"#{box} textarea")
    host_card(page, tab, name).dblclick()
    assert {each: text_of(page, each) for each in BOXES} == {each: f"a photo {name}" if each == box else "" for each in BOXES}
    host_card(page, tab, name).dblclick()
    assert text_of(page, box) == f"a photo {name}"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.b+c", "aXb+c", "aXb+c {}"),
        ("a.b+c", "{}, x", "{}, x"),
        ("c++", "", "{}"),
        ("$1", "x", "x {}"),
        ("art", "({}:1.2) here", "({}:1.2) here"),
        ("art", "{}station, {}-deco", "{}station, {}-deco {}"),
        ("two words", "in {}.", "in {}."),
    ],
)
def test_names_with_special_characters_and_inside_other_words(
    page: Any, webui: WebUI, name: str, before: str, after: str
) -> None:
    name = f"{PREFIX}{name}"
    webui.create(name, "tree")
    host_card(page, "img2img", name).wait_for(state="attached")
    show_cards(page, "txt2img")
    page.fill("#txt2img_prompt textarea", before.replace("{}", name))
    host_card(page, "txt2img", name).dblclick()
    assert text_of(page, "txt2img_prompt") == after.replace("{}", name)


def test_single_clicks_and_the_cards_buttons_are_the_webuis(page: Any, webui: WebUI) -> None:
    name = f"{PREFIX}single"
    webui.create(name, "tree")
    host_card(page, "img2img", name).wait_for(state="attached")
    show_cards(page, "txt2img")
    host_card(page, "txt2img", name).click()
    assert text_of(page, "txt2img_prompt") == f" {name}"
    host_card(page, "txt2img", name).click()
    assert text_of(page, "txt2img_prompt") == ""
    host_card(page, "txt2img", name).hover()
    host_card(page, "txt2img", name).locator(".copy-path-button").dblclick()
    assert text_of(page, "txt2img_prompt") == ""


def test_our_own_card_fills_the_prompt_of_another_tab_and_is_what_gets_generated(page: Any, webui: WebUI) -> None:
    name = f"{PREFIX}own"
    webui.create(name, "tree")
    show_tab(page, "txt2img")
    page.fill("#txt2img_neg_prompt textarea", "blurry")
    page.focus("#txt2img_neg_prompt textarea")
    show_sub_tab(page, "Library")
    page.locator(f"#te_library_cards [data-name={json.dumps(name)}]").dblclick()
    assert text_of(page, "txt2img_neg_prompt") == f"blurry {name}"
    show_tab(page, "txt2img")
    for field, value in (("steps", "3"), ("width", "64"), ("height", "64")):
        page.fill(f"#txt2img_{field} input[type=number]", value)
        page.press(f"#txt2img_{field} input[type=number]", "Tab")
    page.click("#txt2img_generate")
    page.wait_for_function(f"document.getElementById('html_info_txt2img').textContent.includes('blurry {name}')")
