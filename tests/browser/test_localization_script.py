"""The WebUI's page localization beside the tab, in Chromium: it translates the rest of the page, and nothing in the tab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.entries import entry
from train_embedding.errors import NotFound
from train_embedding.messages import msg
from train_embedding.services.inspection.inspection import PromptTokens
from train_embedding.services.inspection.prompt_view import PromptPart
from train_embedding.services.library.entries import Imported
from train_embedding.ui import html
from train_embedding.ui.library.cards import cards, toolbar
from train_embedding.ui.library.details import entry_details, import_message
from train_embedding.ui.library.inspection import prompt_tokens

pytestmark = pytest.mark.browser

SCRIPT = Path(__file__).parents[2] / "javascript" / "train_embedding_localization.js"
NAME = "Steps"
"A name that is also a key of the dictionary."
DICTIONARY = {NAME: "迭代步数", "Search": "搜索", "Library": "图库", f"{NAME}.pt": "文件", f"<{NAME}>": "附加网络", "cat": "猫"}
RULE = """
window.localization = DICTIONARY;
function canBeTranslated(node, text) { return text !== "" && node.parentElement !== null; }
function translated(text) { return Object.hasOwn(localization, text) ? localization[text] : text; }
function processText(node) {
    const text = node.textContent.trim();
    if (canBeTranslated(node, text) && translated(text) !== text) node.textContent = translated(text);
}
function processNode(node) {
    if (node.nodeType === Node.TEXT_NODE) return processText(node);
    for (const attribute of ["title", "placeholder"]) if (node[attribute]) node[attribute] = translated(node[attribute]);
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) found.push(walker.currentNode);
    found.forEach(processText);
}
function localizeWholePage() {
    processNode(document.body);
    for (const field of document.querySelectorAll("[placeholder]")) field.placeholder = translated(field.placeholder);
}
document.addEventListener("DOMContentLoaded", () => {
    const translate = (changes) => changes.forEach((change) => change.addedNodes.forEach((node) => processNode(node)));
    new MutationObserver(translate).observe(
        document.body, {childList: true, subtree: true});
    localizeWholePage();
});
"""
"The rule by which the WebUI replaces texts that equal a key, as far as it matters to the tab."
TOKENS = PromptTokens((PromptPart(NAME, 1.0, (), 1),), 1, 75, 74, (NAME,), (f"<{NAME}>",), ())
PIECES = (
    str(cards([entry(name=NAME)])),
    str(entry_details(entry(name=NAME, checkpoint=NAME))),
    str(import_message([Imported(f"{NAME}.pt", problem="It is cut short.")])),
    str(html.error(NotFound(msg("{name}", name=NAME)))),
    str(prompt_tokens(TOKENS)),
    str(toolbar()),
    f"<label>{NAME}<input placeholder='cat'></label><ul role='listbox'><li>{NAME}</li></ul><option>{NAME}</option>",
    f"<button title='{NAME}'>{NAME}</button>",
)
"What the tab shows: cards, details, messages, tokens, its own labels, and choices of names."


@pytest.fixture
def ui(page: Any) -> Any:
    """A page of the WebUI with the tab, whose scripts are in the head, the WebUI's first."""
    rule = RULE.replace("DICTIONARY", json.dumps(DICTIONARY, ensure_ascii=False))
    page.set_content(
        f"<!doctype html><html><head><script>{rule}</script><script>{SCRIPT.read_text(encoding='utf-8')}</script></head><body>"
        f"<div id='host'><label>{NAME}</label><input placeholder='Search'></div>"
        f"<div id='te_panels'>{''.join(PIECES)}</div></body></html>"
    )
    return page


def test_nothing_in_the_tab_is_replaced(ui: Any) -> None:
    assert ui.inner_text("#host label") == DICTIONARY[NAME], "the rule is at work"
    assert ui.get_attribute("#host input", "placeholder") == DICTIONARY["Search"]
    shown = ui.inner_html("#te_panels")
    assert [text for text in DICTIONARY.values() if text in shown] == []


def test_nothing_that_comes_later_is_replaced(ui: Any) -> None:
    ui.evaluate(
        """pieces => {
            for (const [id, parent] of [["later", "te_panels"], ["host_later", "host"]]) {
                const place = document.createElement("div");
                place.id = id;
                document.getElementById(parent).append(place);
                for (const piece of pieces) {
                    const element = document.createElement("div");
                    element.innerHTML = piece;
                    element.title = "Steps";
                    place.append(element);
                }
            }
            document.querySelector("#later b").firstChild.textContent = "Steps";
            document.querySelector("#later").append("Steps");
        }""",
        list(PIECES),
    )
    ui.wait_for_function(f"document.querySelector('#host_later b').textContent === '{DICTIONARY[NAME]}'")
    shown = ui.inner_html("#later")
    assert [text for text in DICTIONARY.values() if text in shown] == []


def test_without_the_webui_nothing_happens(page: Any) -> None:
    errors: list[Any] = []
    page.on("pageerror", lambda error: errors.append(error))
    page.set_content("<div id='te_panels'>Steps</div>")
    page.add_script_tag(path=str(SCRIPT))
    assert page.inner_text("#te_panels") == NAME
    assert errors == []
