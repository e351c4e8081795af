"""The Library panel's script on a page with its element ids, in Chromium: searching, pictures, the keyboard, dropped files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.entries import entry
from tests.pages import add_scripts
from train_embedding.services.library.library import Entry
from train_embedding.ui.library import cards
from train_embedding.ui.library.cards import toolbar
from train_embedding.ui.library.details import entry_details

pytestmark = pytest.mark.browser

SCRIPT = "train_embedding_library.js"
STYLE = Path(__file__).parents[2] / "style.css"
EVIL = "<img src=x onerror=window.evil=1>'\"&amp;${window.evil=1}"
LIBRARY = (
    entry(name="Apple", family="SD1", vectors=4, step=10, size=300, modified=3.0, folder="fruit"),
    entry(name="banana", family="SDXL", vectors=1, step=None, size=100, modified=1.0, folder="fruit/yellow"),
    entry(name="cherry", family="SD1", vectors=2, step=900, size=200, modified=2.0, loaded=False, reason="It is for SD2."),
    entry(name="星空", family="SD1", vectors=8, step=5, size=50, modified=4.0, warnings=("Its name is a word.",)),
    entry(name=EVIL, family="SD1", size=10, folder="<b>evil</b>"),
)


def _page(entries: tuple[Entry, ...]) -> str:
    fields = "".join(
        f"<div id='{id}'><textarea></textarea></div>"
        for id in ("te_library_selected", "te_library_wanted", "te_library_uploaded", "te_cards_version")
    )
    buttons = "".join(f"<button id='{id}'>press</button>" for id in ("te_library_select", "te_library_draw", "te_library_update"))
    return (
        f"<!doctype html><html><body style='margin:0'>{fields}{buttons}<div id='te_library' style='width:420px'>"
        f"<div id='te_library_upload'><input type='file' multiple></div><div id='te_library_toolbar'>{toolbar()}</div>"
        f"<div id='te_library_cards'>{cards.cards(entries)}</div><div id='te_library_status'></div>"
        "<div id='te_library_details'></div>"
        "<div id='te_library_pictures'></div><div id='te_library_exported'></div>"
        "<div class='te-name'><input id='name'></div></div></body></html>"
    )


@pytest.fixture
def ui(page: Any) -> Any:
    return open_page(page, LIBRARY)


def open_page(page: Any, entries: tuple[Entry, ...]) -> Any:
    page.set_content(_page(entries))
    page.add_style_tag(path=str(STYLE))
    page.evaluate(
        "() => { window.pressed = []; for (const id of ['te_library_select', 'te_library_draw'])"
        " document.getElementById(id).onclick = () => pressed.push(id); }"
    )
    add_scripts(page, "train_embedding_dropping.js", SCRIPT)
    page.wait_for_function("document.getElementById('te_library_count').textContent !== ''")
    return page


def shown(ui: Any) -> list[str]:
    return ui.evaluate("Array.from(document.querySelectorAll('.te-card:not(.te-away)'), card => card.dataset.name)")


def value(ui: Any, field: str) -> str:
    return ui.input_value(f"#{field} textarea")


def count(ui: Any) -> str:
    return ui.inner_text("#te_library_count")


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("app", ["Apple"]),
        ("AN", ["banana"]),
        ("sd1 steps", ["Apple", "星空", EVIL]),
        ("星", ["星空"]),
        ("yellow", ["banana"]),
        ("for sd2", ["cherry"]),
        ("onerror", [EVIL]),
        ("nothing of that", []),
        ("", [one.name for one in LIBRARY]),
    ],
)
def test_search(ui: Any, search: str, names: list[str]) -> None:
    ui.fill("#te_library_search", search)
    assert shown(ui) == names
    assert count(ui) == ("5" if len(names) == 5 else f"{len(names)} / 5")
    assert ui.locator(".te-nothing").is_visible() == (not names)


@pytest.mark.parametrize(
    ("control", "choice", "names"),
    [
        ("family", "SDXL", ["banana"]),
        ("state", "loaded", ["Apple", "banana", "星空", EVIL]),
        ("state", "left-out", ["cherry"]),
        ("state", "warnings", ["星空"]),
        ("folder", "fruit", ["Apple", "banana"]),
        ("folder", "fruit/yellow", ["banana"]),
        ("folder", "<b>evil</b>", [EVIL]),
        ("sort", "date", ["星空", "Apple", "cherry", "banana", EVIL]),
        ("sort", "steps", ["cherry", EVIL, "Apple", "星空", "banana"]),
        ("sort", "vectors", ["星空", "Apple", "cherry", EVIL, "banana"]),
        ("sort", "size", ["Apple", "cherry", "banana", "星空", EVIL]),
    ],
)  # fmt: skip
def test_filters_and_orders(ui: Any, control: str, choice: str, names: list[str]) -> None:
    ui.select_option(f"#te_library_{control}", choice)
    assert shown(ui) == names


def test_names_and_folders_never_become_html(ui: Any) -> None:
    ui.fill("#te_library_search", "onerror")
    ui.click(".te-card:not(.te-away)")
    ui.focus("#name")
    ui.evaluate("html => { document.getElementById('te_library_details').innerHTML = html; }", str(entry_details(LIBRARY[4])))
    let_pass(ui, 400)
    assert value(ui, "te_library_selected") == f"<b>evil</b>/{EVIL}.pt"
    assert ui.locator("#te_library_names option").nth(3).get_attribute("value") == EVIL
    assert ui.evaluate("window.evil") is None
    assert ui.locator("b b, option b, img[src=x]").count() == 0


def test_a_filter_stays_when_the_cards_are_drawn_again(ui: Any) -> None:
    ui.fill("#te_library_search", "a")
    ui.select_option("#te_library_folder", "fruit")
    ui.select_option("#te_library_sort", "size")
    more = (*LIBRARY, entry(name="avocado", folder="fruit", size=1000))
    ui.evaluate("html => { document.getElementById('te_library_cards').innerHTML = html; }", str(cards.cards(more)))
    ui.wait_for_function("document.getElementById('te_library_count').textContent === '3 / 6'")
    assert shown(ui) == ["avocado", "Apple", "banana"]


def test_cards_that_are_patched_in_place_are_new_ones(ui: Any) -> None:
    """What gradio 6 does: the elements stay, attributes and children become those of the new HTML."""
    ui.click(".te-card[data-name=cherry]")
    ui.select_option("#te_library_sort", "size")
    html = str(cards.cards((entry(name="new", size=70), *LIBRARY), "a-1"))
    ui.evaluate(
        """html => {
            const place = document.createElement("div");
            place.innerHTML = html;
            const list = document.querySelector(".te-cards");
            list.dataset.version = "a-1";
            const made = place.querySelectorAll(".te-card");
            made.forEach((card, index) => {
                const there = list.children[index];
                if (!there) return list.append(card.cloneNode(true));
                for (const {name} of [...there.attributes]) if (!card.hasAttribute(name)) there.removeAttribute(name);
                for (const {name, value} of card.attributes) there.setAttribute(name, value);
                there.innerHTML = card.innerHTML;
            });
        }""",
        html,
    )
    assert shown(ui) == ["Apple", "cherry", "banana", "new", "星空", EVIL]
    assert count(ui) == "6"
    assert ui.get_attribute(".te-card[data-name=cherry]", "aria-selected") == "true"
    assert ui.locator("[aria-selected=true]").count() == 1


SERVE = """html => {
    window.updates = 0;
    window.html = html;
    document.getElementById("te_library_update").onclick = () => {
        updates++;
        document.getElementById("te_library_cards").innerHTML = window.html;
    };
}"""
TELL = "version => { document.querySelector('#te_cards_version textarea').value = version; }"


@pytest.mark.parametrize(
    ("shown_version", "told", "asks"),
    [
        ("a-2", "a-2", False),
        ("a-10", "a-9", False),  # listed after the number was told
        ("a-9", "a-10", True),
        ("a-2", "b-2", True),  # another server, which has come as far
        ("a-12", "b-0", True),  # another server, which has only just started
        ("a-0", "b-3", True),
    ],
)
def test_cards_are_asked_for_when_another_state_is_told(ui: Any, shown_version: str, told: str, asks: bool) -> None:
    ui.evaluate(SERVE, str(cards.cards(LIBRARY[:2], shown_version)))
    ui.evaluate("() => { document.getElementById('te_library_cards').innerHTML = html; }")
    let_pass(ui, 400)
    ui.evaluate("html => { window.html = html; }", str(cards.cards(LIBRARY[2:3], told)))
    ui.evaluate(TELL, told)
    let_pass(ui, 800)
    assert ui.evaluate("updates") == (1 if asks else 0)
    assert shown(ui) == (["cherry"] if asks else ["Apple", "banana"])


def test_an_empty_library_says_what_to_do(page: Any) -> None:
    page.set_content(_page(()))
    page.add_style_tag(path=str(STYLE))
    add_scripts(page, SCRIPT)
    let_pass(page, 400)
    assert "Create one" in page.inner_text("#te_library_cards")
    assert not page.locator(".te-nothing").is_visible()


def test_a_click_and_the_keyboard_choose_a_card(ui: Any) -> None:
    ui.click(".te-card[data-name=cherry]")
    ui.wait_for_function("pressed.length === 1")
    assert value(ui, "te_library_selected") == "cherry.pt"
    # one stop of the Tab key, the arrows go on from there: two columns
    assert ui.locator(".te-card[tabindex='0']").count() == 1
    ui.focus(".te-card[data-name=cherry]")
    for key, name in (("ArrowUp", "Apple"), ("ArrowRight", "banana"), ("ArrowDown", "星空"), ("Home", "Apple"), ("End", EVIL)):
        columns = ui.evaluate("getComputedStyle(document.querySelector('.te-cards')).gridTemplateColumns.split(' ').length")
        assert columns == 2 or key in ("Home", "End")
        ui.keyboard.press(key)
        assert ui.evaluate("document.activeElement.dataset.name") == name
    ui.keyboard.press("Home")
    ui.keyboard.press("Enter")
    ui.wait_for_function("pressed.length === 2")
    assert value(ui, "te_library_selected") == "fruit/Apple.pt"
    assert ui.get_attribute(".te-card[data-name=Apple]", "aria-selected") == "true"
    assert ui.get_attribute(".te-card[data-name=cherry]", "aria-selected") == "false"


def test_the_details_of_a_renamed_embedding_move_the_mark(ui: Any) -> None:
    ui.click(".te-card[data-name=cherry]")
    html = str(entry_details(LIBRARY[0]))
    ui.evaluate("html => { document.getElementById('te_library_details').innerHTML = html; }", html)
    ui.wait_for_selector(".te-card[data-name=Apple][aria-selected=true]")


PICTURE = (
    "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////"
    "////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
)
ANSWER = """(picture) => {
    const {serial, keys} = JSON.parse(document.querySelector("#te_library_wanted textarea").value);
    const answer = document.createElement("div");
    answer.dataset.serial = serial;
    answer.dataset.pictures = JSON.stringify(Object.fromEntries(keys.map((key) => [key, picture])));
    document.getElementById("te_library_pictures").replaceChildren(answer);
    return keys;
}"""


def many(tmp_path: Path, number: int = 400) -> tuple[Entry, ...]:
    file = tmp_path / "a.preview.png"
    file.write_bytes(b"there")
    return tuple(entry(name=f"card-{n:04}", preview=file) for n in range(number))


def let_pass(ui: Any, milliseconds: int) -> None:
    """In the page's own time: what the script does on timers by then is done, however slow the page is."""
    ticks = "async (count) => { for (; count > 0; count--) await new Promise((done) => setTimeout(done, 50)); }"
    ui.evaluate(ticks, milliseconds // 50)


def answered(ui: Any, asked: int, picture: str = PICTURE) -> list[str]:
    ui.wait_for_function(f"pressed.filter(id => id === 'te_library_draw').length >= {asked}")
    return ui.evaluate(ANSWER, picture)


def all_answered(ui: Any) -> list[str]:
    """Answers until nothing is asked for any more; what was asked for since the last time, which is something."""
    done = ui.evaluate("window.answered || 0") + 1
    keys = answered(ui, done)
    for _ in range(20):
        let_pass(ui, 500)
        if ui.evaluate("pressed.filter(id => id === 'te_library_draw').length") == done:
            break
        done += 1
        keys += answered(ui, done)
    ui.evaluate("number => { window.answered = number; }", done)
    return keys


def test_pictures_are_asked_for_when_their_cards_come_into_view(page: Any, tmp_path: Path) -> None:
    ui = open_page(page, many(tmp_path))
    keys = all_answered(ui)
    assert keys[0] == "card-0000.pt"
    assert len(keys) < 100
    assert ui.locator(".te-card img").count() == len(keys)
    ui.evaluate("() => { document.querySelector('.te-cards').scrollTop = 8000; }")
    later = all_answered(ui)
    assert "card-0216.pt" in later
    assert len({*keys, *later}) == len(keys) + len(later), "asked twice"
    # drawn again: what is known is put in at once, and nobody asks
    before = ui.evaluate("pressed.length")
    ui.evaluate("() => { const place = document.getElementById('te_library_cards'); place.innerHTML = place.innerHTML; }")
    let_pass(ui, 700)
    assert ui.evaluate("pressed.length") == before, value(ui, "te_library_wanted")
    assert ui.evaluate("document.querySelector('.te-cards').scrollTop") == 8000
    assert ui.locator(".te-card img").count() == len(keys) + len(later)
    # the cards far from the view are there, but not displayed
    assert ui.locator(".te-card").count() == 400
    assert ui.locator(".te-card.te-away").count() > 300


def test_screen_readers_hear_the_place_of_a_card_among_all(page: Any, tmp_path: Path) -> None:
    ui = open_page(page, many(tmp_path))
    ui.evaluate("() => { document.querySelector('.te-cards').scrollTop = 8000; }")
    ui.wait_for_selector(".te-card[data-key='card-0216.pt']:not(.te-away)[aria-posinset='217'][aria-setsize='400']")
    ui.fill("#te_library_search", "card-021")
    ui.wait_for_selector(".te-card[data-key='card-0216.pt'][aria-posinset='7'][aria-setsize='10']")


@pytest.mark.parametrize("answer", ["", "javascript:window.evil=1", "https://elsewhere.example/x.png"])
def test_only_small_pictures_are_taken(page: Any, tmp_path: Path, answer: str) -> None:
    ui = open_page(page, many(tmp_path, 3))
    answered(ui, 1, answer)
    let_pass(ui, 500)
    assert ui.locator(".te-card img").count() == 0
    assert ui.evaluate("pressed.length") == 1, "asked again for what cannot be shown"


def test_a_server_that_has_only_just_started_is_asked_again(page: Any, tmp_path: Path) -> None:
    """Before it has listed the cards it knows no picture of them."""
    entries = many(tmp_path, 3)
    ui = open_page(page, entries)
    answered(ui, 1, "")
    let_pass(ui, 500)
    ui.evaluate("html => { document.getElementById('te_library_cards').innerHTML = html; }", str(cards.cards(entries, "b-0")))
    answered(ui, 2)
    ui.wait_for_function("document.querySelectorAll('.te-card img').length === 3")


DROP = """() => {
    const data = new DataTransfer();
    data.items.add(new File(["x"], "c++ (1).pt"));
    data.items.add(new File(["y"], "星空.safetensors"));
    const over = new DragEvent("dragover", {dataTransfer: data, bubbles: true, cancelable: true});
    document.querySelector(".te-cards").dispatchEvent(over);
    const marked = document.getElementById("te_library").classList.contains("te-drop");
    const drop = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
    document.querySelector(".te-cards").dispatchEvent(drop);
    const input = document.querySelector("#te_library_upload input");
    return [over.defaultPrevented, marked, drop.defaultPrevented, Array.from(input.files, file => file.name),
            document.getElementById("te_library").classList.contains("te-drop")];
}"""


def test_dropped_files_reach_the_upload_with_their_names(ui: Any) -> None:
    ui.select_option("#te_library_folder", "fruit")
    ui.check("#te_library_overwrite")
    names = ["c++ (1).pt", "星空.safetensors"]
    assert ui.evaluate(DROP) == [True, True, True, names, False]
    assert json.loads(value(ui, "te_library_uploaded")) == {"names": names, "folder": "fruit", "overwrite": True}
    assert not ui.is_checked("#te_library_overwrite")


def say(ui: Any, text: str) -> None:
    """As gradio puts an answer there."""
    said = "html => { document.getElementById('te_library_status').innerHTML = html; }"
    ui.evaluate(said, f"<div class='te-message' role='status'><p>{text}</p></div>" if text else "")


def test_a_message_far_from_the_button_comes_into_view(ui: Any) -> None:
    ui.evaluate("() => document.body.insertAdjacentHTML('beforeend', '<div style=\"height:3000px\"></div>')")
    ui.evaluate("() => document.getElementById('te_library').insertAdjacentHTML('beforeend', '<button id=\"far\">far</button>')")
    let_pass(ui, 500)  # the script looks for the place of messages
    for text in ("It is saved.", "It is saved."):  # the same one again, after another click
        say(ui, "")
        ui.evaluate("() => { window.scrollTo(0, 2500); document.getElementById('far').click(); }")
        say(ui, text)
        ui.wait_for_function("() => { const at = document.querySelector('.te-message').getBoundingClientRect();"
                             " return at.top >= 0 && at.bottom <= innerHeight; }")  # fmt: skip
    ui.evaluate("() => window.scrollTo(0, 2500)")
    ui.evaluate("() => document.getElementById('te_library_status').append(document.createElement('i'))")
    let_pass(ui, 700)
    assert ui.evaluate("window.scrollY") == 2500, "an old message stays where it is"


def test_an_export_is_downloaded_once(ui: Any) -> None:
    link = "<a class='te-download' data-serial='1' download='c++.pt' href='data:application/octet-stream;base64,YWJj'>c++.pt</a>"
    with ui.expect_download() as download:
        ui.evaluate("html => { document.getElementById('te_library_exported').innerHTML = html; }", link)
    assert download.value.suggested_filename == "c++.pt"
    assert Path(download.value.path()).read_bytes() == b"abc"
    # as gradio 6 does it: the same link with other values
    with ui.expect_download() as again:
        ui.evaluate("() => { document.querySelector('.te-download').dataset.serial = '2'; }")
    assert again.value.suggested_filename == "c++.pt"
