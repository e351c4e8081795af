"""The page's script on a page with the WebUI's element ids, in Chromium: double click, polling, refreshing cards."""

from __future__ import annotations

import itertools
import json
from html import escape
from typing import Any

import pytest

from tests.pages import add_scripts

pytestmark = pytest.mark.browser

SCRIPT, LIBRARY_SCRIPT = "train_embedding.js", "train_embedding_library.js"
NAMES = ("my-cat", "art", "a.b+c", "c++", "two words", "$1", "^start", "ünï", "o'brien & co")
BOXES = ("txt2img_prompt", "txt2img_neg_prompt", "img2img_prompt", "img2img_neg_prompt")

# What WebUI 1.10.1's cards do: a click appends the name, or else takes away whatever matches it as a regular expression.
HOST = """
var opts = {extra_networks_add_text_separator: " "};
var active = {};
var failures = 0;
var presses = [];  // of the host's own Refresh buttons
var drawn = 0;
function answer(html) {  // what the server does about the hidden button, with what it draws of a tab's cards
    for (const tab of ["txt2img", "img2img"]) {
        const cards = document.getElementById(tab + "_textual_inversion_cards");
        cards.outerHTML = html ? `<div id="${cards.id}">${html}</div>` : cards.outerHTML;
    }
    drawn += 1;
    document.querySelector("#te_host_cards_drawn textarea").value = String(drawn);
}
function cardClicked(tab, name) {
    const box = active[tab] || document.querySelector(`#${tab}_prompt textarea`);
    let shorter;
    try {
        shorter = box.value.replaceAll(new RegExp("((?:" + opts.extra_networks_add_text_separator + ")?" + name + ")", "g"), "");
    } catch (error) {
        failures += 1;
        return;
    }
    box.value = shorter !== box.value ? shorter : box.value + opts.extra_networks_add_text_separator + name;
    box.dispatchEvent(new Event("input", {bubbles: true}));
}
for (const box of document.querySelectorAll("textarea")) {
    const id = box.closest("[id]").id;
    box.addEventListener("focus", () => { active[id.split("_")[0]] = box; });
    box.addEventListener("input", () => { (window.told = window.told || {})[id] = box.value; });
}
"""


def _card(tab: str, name: str) -> str:
    click = escape(f"cardClicked('{tab}', {json.dumps(name)})", quote=True)
    return (
        f'<div class="card" data-name="{escape(name)}" onclick="{click}" style="width:120px;height:60px;display:inline-block">'
        f'<div class="button-row"><div class="copy-path-button card-button" onclick="event.stopPropagation()">copy</div></div>'
        f'<div class="actions"><span class="name">{escape(name)}</span></div></div>'
    )


def _page() -> str:
    boxes = "".join(f'<div id="{box}"><label><textarea rows="2" cols="60"></textarea></label></div>' for box in BOXES)
    host = "".join(
        f'<div id="{tab}_extra_tabs"><div id="{tab}_textual_inversion" class="extra-page">'
        f'<div id="{tab}_textual_inversion_cards">{"".join(_card(tab, name) for name in NAMES)}</div></div></div>'
        f'<div id="{tab}_textual_inversion_extra_refresh" onclick="presses.push(this.id)">refresh</div>'
        for tab in ("txt2img", "img2img")
    )
    own = "".join(
        f'<div class="te-card" data-name="{escape(name)}" data-key="{escape(name)}" data-folder=""'
        f' style="width:120px;display:inline-block">{escape(name)}</div>'
        for name in NAMES
    )
    tab = (
        f'<div id="te_panel"><div id="te_library_cards"><div class="te-cards" data-version="00000000-0">{own}</div></div>'
        '<div id="te_library_selected"><label><textarea></textarea></label></div>'
        '<button id="te_library_select">Show details</button><button id="te_train_poll">Poll</button>'
        '<div id="te_train_progress"><div class="te-progress" data-active="false"></div></div>'
        '<div id="te_cards_version"><textarea></textarea></div><button id="te_host_cards">Draw the cards</button>'
        '<div id="te_host_cards_drawn"><textarea></textarea></div></div>'
    )
    return f"<!doctype html><html><body>{boxes}{host}{tab}<script>{HOST}</script></body></html>"


@pytest.fixture
def clock(page: Any) -> Any:
    """The page's clock, which stands still but for `run_for`. To be asked for before the page's content."""
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    return page.clock


@pytest.fixture
def ui(page: Any) -> Any:
    page.set_content(_page())
    add_scripts(page, SCRIPT, LIBRARY_SCRIPT)
    return page


def fill(ui: Any, **values: str) -> None:
    for box, value in values.items():
        ui.fill(f"#{box} textarea", value)


def value(ui: Any, box: str) -> str:
    return ui.eval_on_selector(f"#{box} textarea", "box => box.value")


def card(ui: Any, name: str, place: str = "txt2img_textual_inversion_cards") -> Any:
    return ui.locator(f"#{place} [data-name={json.dumps(name, ensure_ascii=False)}]")


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        ("", "my-cat", "my-cat"),
        ("a photo", "my-cat", "a photo my-cat"),
        ("a photo,", "my-cat", "a photo, my-cat"),
        ("two\nlines ", "my-cat", "two\nlines  my-cat"),
        # present already, as a whole word: nothing changes
        ("a my-cat b", "my-cat", "a my-cat b"),
        ("my-cat", "my-cat", "my-cat"),
        ("x, my-cat, y", "my-cat", "x, my-cat, y"),
        ("(my-cat:1.2) on a mat", "my-cat", "(my-cat:1.2) on a mat"),
        ("[my-cat:dog:0.5]", "my-cat", "[my-cat:dog:0.5]"),
        ("a my-cat.", "my-cat", "a my-cat."),
        ("my-cat  my-cat", "my-cat", "my-cat  my-cat"),
        ("in two words here", "two words", "in two words here"),
        # part of another word: that word is left alone
        ("artstation", "art", "artstation art"),
        ("art-deco, start, smart", "art", "art-deco, start, smart art"),
        ("artstation, art", "art", "artstation, art"),
        ("art2 art_2 2art", "art", "art2 art_2 2art art"),
        ("my-cat-2", "my-cat", "my-cat-2 my-cat"),
        ("my-cat.v2", "my-cat", "my-cat.v2 my-cat"),
        ("<lora:art:1>", "art", "<lora:art:1> art"),
        # regular expressions
        ("aXb+c", "a.b+c", "aXb+c a.b+c"),
        ("a.b+c", "a.b+c", "a.b+c"),
        ("a.bbbc", "a.b+c", "a.bbbc a.b+c"),
        ("", "c++", "c++"),
        ("c", "c++", "c c++"),
        ("costs", "$1", "costs $1"),
        ("start", "^start", "start ^start"),
        # in any case, as CLIP reads it
        ("My-Cat on a mat", "my-cat", "My-Cat on a mat"),
        ("MY-CAT", "my-cat", "MY-CAT"),
        ("ARTSTATION", "art", "ARTSTATION art"),
        ("<lora:x:1> Art", "art", "<lora:x:1> Art"),
        ("İİ, ART", "art", "İİ, ART"),
        ("İİart", "art", "İİart art"),
        ("ÜNÏ", "ünï", "ÜNÏ"),
        # before an English contraction, which is a token of its own
        ("my-cat's hat", "my-cat", "my-cat's hat"),
        ("my-cat\u2019s hat", "my-cat", "my-cat\u2019s hat"),
        ("MY-CAT'S hat", "my-cat", "MY-CAT'S hat"),
        ("art'll, (art've)", "art", "art'll, (art've)"),
        ("my-cat'sound", "my-cat", "my-cat'sound my-cat"),
        ("my-cat's2", "my-cat", "my-cat's2 my-cat"),
        ("my-cat'x", "my-cat", "my-cat'x my-cat"),
        ("start's", "art", "start's art"),
        # letters of any language
        ("ünïcode", "ünï", "ünïcode ünï"),
        ("ünï", "ünï", "ünï"),
        ("tea", "o'brien & co", "tea o'brien & co"),
    ],
)
@pytest.mark.parametrize("place", ["txt2img_textual_inversion_cards", "te_library_cards"])
def test_a_double_click_leaves_the_trigger_once_and_all_else_alone(
    ui: Any, before: str, name: str, after: str, place: str
) -> None:
    fill(ui, txt2img_prompt=before)
    card(ui, name, place).dblclick()
    assert value(ui, "txt2img_prompt") == after
    assert value(ui, "txt2img_neg_prompt") == ""
    if after != before:
        assert ui.evaluate("told.txt2img_prompt") == after, "gradio was not told"


def test_a_poll_between_the_two_clicks_does_not_spoil_them(ui: Any) -> None:
    fill(ui, txt2img_prompt="art-deco, smart")
    place = card(ui, "art").bounding_box()
    ui.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    ui.mouse.down(click_count=1)
    ui.mouse.up(click_count=1)
    assert value(ui, "txt2img_prompt") == "-deco, sm", "the host's own handler had its first click"
    ui.evaluate("document.getElementById('te_train_poll').click()")
    ui.mouse.down(click_count=2)
    ui.mouse.up(click_count=2)
    assert value(ui, "txt2img_prompt") == "art-deco, smart art"


@pytest.mark.parametrize("box", BOXES)
def test_the_box_that_had_the_focus_last_gets_the_trigger(ui: Any, box: str) -> None:
    fill(ui, **{each: f"in {each}" for each in BOXES})
    ui.focus(f"#{box} textarea")
    ui.focus("#te_library_select")
    card(ui, "my-cat", f"{box.split('_')[0]}_textual_inversion_cards").dblclick()
    assert {each: value(ui, each) for each in BOXES} == {
        each: f"in {each} my-cat" if each == box else f"in {each}" for each in BOXES
    }


@pytest.mark.parametrize("box", BOXES)
def test_our_own_cards_use_the_last_box_of_any_tab(ui: Any, box: str) -> None:
    ui.focus(f"#{box} textarea")
    card(ui, "my-cat", "te_library_cards").dblclick()
    assert {each: value(ui, each) for each in BOXES} == {each: "my-cat" if each == box else "" for each in BOXES}


def test_without_any_focus_the_positive_prompt_gets_it(ui: Any) -> None:
    card(ui, "my-cat").dblclick()
    card(ui, "art", "img2img_textual_inversion_cards").dblclick()
    card(ui, "c++", "te_library_cards").dblclick()
    assert [value(ui, box) for box in BOXES] == ["my-cat c++", "", "art", ""]


def test_a_single_click_keeps_the_hosts_meaning(ui: Any) -> None:
    card(ui, "my-cat").click()
    assert value(ui, "txt2img_prompt") == " my-cat"
    card(ui, "my-cat").click()
    assert value(ui, "txt2img_prompt") == ""


def test_quick_clicks_on_different_cards_are_single_clicks(ui: Any) -> None:
    card(ui, "my-cat").click()
    card(ui, "art").click()
    assert value(ui, "txt2img_prompt") == " my-cat art"


def test_a_triple_click_ends_as_a_double_click(ui: Any) -> None:
    fill(ui, txt2img_prompt="artstation")
    card(ui, "art").click(click_count=3)
    assert value(ui, "txt2img_prompt") == "artstation art"


def test_a_second_double_click_changes_nothing(ui: Any) -> None:
    card(ui, "my-cat").dblclick()
    card(ui, "my-cat").dblclick()
    assert value(ui, "txt2img_prompt") == "my-cat"


def test_a_double_click_on_a_cards_button_adds_nothing(ui: Any) -> None:
    card(ui, "my-cat").locator(".card-button").dblclick()
    assert [value(ui, box) for box in BOXES] == [""] * 4


def test_cards_drawn_between_the_clicks_are_the_same_card(ui: Any) -> None:
    fill(ui, txt2img_prompt="x")
    box = card(ui, "art").bounding_box()
    ui.mouse.move(box["x"] + 60, box["y"] + 40)
    ui.mouse.down(click_count=1)
    ui.mouse.up(click_count=1)
    ui.evaluate(
        "() => { const cards = document.getElementById('txt2img_textual_inversion_cards'); cards.innerHTML = cards.innerHTML; }"
    )
    ui.mouse.down(click_count=2)
    ui.mouse.up(click_count=2)
    assert value(ui, "txt2img_prompt") == "x art"


def test_the_hosts_separator_is_used(ui: Any) -> None:
    ui.evaluate("opts.extra_networks_add_text_separator = ', '")
    fill(ui, txt2img_prompt="a photo")
    card(ui, "my-cat").dblclick()
    assert value(ui, "txt2img_prompt") == "a photo, my-cat"


def test_a_click_on_our_card_selects_it_and_leaves_the_prompts(ui: Any) -> None:
    ui.evaluate(
        "() => { window.selected = 0; document.getElementById('te_library_select').onclick = () => { window.selected += 1; }; }"
    )
    card(ui, "a.b+c", "te_library_cards").click()
    ui.wait_for_function("window.selected === 1")
    assert value(ui, "te_library_selected") == "a.b+c"
    assert [value(ui, box) for box in BOXES] == [""] * 4


def test_a_click_on_a_button_inside_our_card_is_the_buttons(ui: Any) -> None:
    ui.evaluate("() => { document.querySelector('#te_library_cards .te-card').innerHTML += '<button id=inner>x</button>'; }")
    ui.dblclick("#inner")
    assert value(ui, "te_library_selected") == ""
    assert value(ui, "txt2img_prompt") == ""


def test_the_scripts_leave_one_global(clock: Any, page: Any) -> None:
    page.set_content(_page())
    before = set(page.evaluate("Object.keys(window)"))
    add_scripts(page, SCRIPT, LIBRARY_SCRIPT)
    clock.run_for(2000)
    assert set(page.evaluate("Object.keys(window)")) - before <= {"told", "teFields"}


def test_nothing_is_requested_of_a_server_that_does_not_answer(page: Any) -> None:
    answers = {"answer": False}
    address = "http://train-embedding.test/"
    page.route(address, lambda route: route.fulfill(body=f'<div id="te_panels">{_page()}</div>', content_type="text/html"))
    page.route(f"{address}train-embedding/**", lambda route: route.fulfill(status=401) if answers["answer"] else route.abort())
    page.goto(address)
    add_scripts(page)
    page.evaluate("() => { window.pressed = []; document.getElementById('te_host_cards').onclick = () => pressed.push(1); }")
    for answers["answer"], presses in ((False, 0), (True, 1)):
        assert page.evaluate("teFields.reach()") is answers["answer"], "that a password is needed is an answer too"
        assert page.locator("#te_panels.te-is-lost").count() == 1 - presses
        page.evaluate("teFields.request('te_host_cards')")
        assert page.evaluate("pressed.length") == presses


COUNT_POLLS = "() => { window.polls = []; document.getElementById('te_train_poll').onclick = () => polls.push(Date.now()); }"


def test_a_page_that_opens_polls_at_once(clock: Any, page: Any) -> None:
    page.set_content(_page())
    page.evaluate(COUNT_POLLS)
    add_scripts(page, SCRIPT)
    clock.run_for(1000)
    assert page.evaluate("polls.length") == 1, "an idle page polls every five seconds"


def test_polls_come_every_second_while_a_run_answers_and_wait_for_a_late_answer(clock: Any, page: Any) -> None:
    page.set_content(_page())
    page.evaluate(
        "() => { window.polls = []; window.quiet = false; const bar = document.getElementById('te_train_progress');"
        " document.getElementById('te_train_poll').onclick = () => { polls.push(Date.now());"
        " if (!quiet) bar.innerHTML = `<div class='te-progress' data-active='true'>${polls.length}</div>`; }; }"
    )
    add_scripts(page, SCRIPT)
    clock.run_for(6000)
    polls = page.evaluate("polls")
    assert [later - earlier for earlier, later in itertools.pairwise(polls[:5])] == [1000] * 4
    page.evaluate("quiet = true")
    seen = page.evaluate("polls.length")
    clock.run_for(4000)
    assert page.evaluate("polls.length") - seen <= 2


def test_the_title_has_the_progress_and_the_end_is_announced_once(clock: Any, page: Any) -> None:
    page.set_content(f"<title>Stable Diffusion</title><div id='audio_notification'><audio></audio></div>{_page()}")
    page.evaluate(
        "() => { window.told = []; window.played = 0; document.hasFocus = () => false;"
        " HTMLMediaElement.prototype.play = () => { played += 1; return Promise.resolve(); };"
        " window.Notification = class { static permission = 'granted';"
        " constructor(title, options) { told.push([title, options.body]); } };"
        " window.show = (active, now) => { document.getElementById('te_train_progress').innerHTML ="
        " `<div class='te-progress' data-run='r1' data-active='${active}'><p><b>my-cat</b><span>finished</span></p>"
        "<div role='progressbar' aria-valuemax='50' aria-valuenow='${now}'></div></div>`; }; }"
    )
    add_scripts(page, SCRIPT)
    titles: list[str] = []
    for active, now in (("false", 50), ("true", 0), ("true", 20), ("false", 50), ("false", 50)):
        page.evaluate(f"show('{active}', {now})")
        clock.run_for(1000)
        titles.append(page.title())
    assert titles == [
        "Stable Diffusion",
        "[0%] Stable Diffusion",
        "[40%] Stable Diffusion",
        "Stable Diffusion",
        "Stable Diffusion",
    ]
    assert page.evaluate("[told, played]") == [[["my-cat", "finished"]], 1]


def test_no_polls_without_the_tab(clock: Any, page: Any) -> None:
    page.set_content("<div id='txt2img_prompt'><textarea></textarea></div>")
    errors: list[Any] = []
    page.on("pageerror", lambda error: errors.append(error))
    add_scripts(page, SCRIPT)
    clock.run_for(10_000)
    assert errors == []


def test_new_cards_come_once_and_without_the_hosts_own_refresh(clock: Any, ui: Any) -> None:
    """The host's Refresh button runs the refresh of every page of cards; that of the checkpoints undoes a choice."""
    ui.evaluate(
        """() => {
            window.asked = 0;
            document.getElementById("te_library_cards").replaceChildren();  // none that could be missing
            document.getElementById("te_host_cards").onclick = () => {
                asked += 1;
                setTimeout(() => answer('<div class="card" data-name="new">new</div>'), 300);
            };
        }"""
    )
    tell_version(ui, "1")
    clock.run_for(10_000)
    assert ui.evaluate("[drawn, asked]") == [1, 1], "drawn again without a change"
    assert ui.evaluate("presses") == []
    ui.locator("#img2img_textual_inversion_cards [data-name=new]").dblclick()
    assert value(ui, "img2img_prompt") == "new"


def test_cards_that_are_missing_are_asked_for_again(clock: Any, ui: Any) -> None:
    """The list of the host may have been read half when the cards were drawn."""
    ui.evaluate(
        """() => {
            window.asked = 0;
            const all = document.getElementById("txt2img_textual_inversion_cards").innerHTML;
            document.getElementById("te_host_cards").onclick = () => {
                asked += 1;
                answer(asked === 1 ? '<div class="card" data-name="my-cat">my-cat</div>' : all);
            };
        }"""
    )
    tell_version(ui, "1")
    clock.run_for(20_000)
    assert ui.evaluate("asked") == 2


SORTING = """() => {
    window.sorted = [];
    window.extraNetworksApplySort = {};
    for (const tab of ["txt2img", "img2img"]) {
        extraNetworksApplySort[tab + "_textual_inversion"] = () => sorted.push("sort " + tab);
    }
    window.applyExtraNetworkFilter = (page) => sorted.push("filter " + page);
    document.getElementById("img2img_textual_inversion").style.display = "none";
    document.getElementById("te_host_cards").onclick = () => answer();
}"""


def test_new_cards_are_sorted_and_filtered_as_the_page_that_is_shown(ui: Any) -> None:
    """The host filters the others when they are opened; its filter hides cards of every page."""
    ui.evaluate(SORTING)
    tell_version(ui, "1")
    ui.wait_for_function("sorted.length === 2", timeout=5000)
    assert ui.evaluate("sorted") == ["filter txt2img_textual_inversion", "sort img2img"]


def test_the_place_in_the_list_is_kept(ui: Any) -> None:
    ui.evaluate(
        """() => {
            const cards = document.getElementById("txt2img_textual_inversion_cards");
            cards.style.height = "70px"; cards.style.width = "200px"; cards.style.overflow = "auto"; cards.scrollTop = 150;
            document.getElementById("te_host_cards").onclick = () => setTimeout(answer, 100);
        }"""
    )
    tell_version(ui, "1")
    ui.wait_for_function("document.getElementById('txt2img_textual_inversion_cards').scrollTop === 150", timeout=5000)


TREE = """<div id="txt2img_textual_inversion_pane" class="extra-network-pane {hidden}">
    <ul id="txt2img_textual_inversion_tree">
        <li><div class="tree-list-content tree-list-content-dir" data-path="a"></div><ul hidden>a</ul></li>
        <li><div class="tree-list-content tree-list-content-dir" data-path="b"></div><ul hidden>b</ul></li>
    </ul><div id="txt2img_textual_inversion_cards"></div></div>"""


def test_the_tree_of_folders_stays_as_it_was(ui: Any) -> None:
    ui.evaluate(
        """tree => {
            const page = document.getElementById("txt2img_textual_inversion");
            page.innerHTML = tree.replace("{hidden}", "");
            const folder = page.querySelector("[data-path=b]");
            folder.dataset.expanded = folder.dataset.selected = "";
            folder.nextElementSibling.hidden = false;
            document.getElementById("te_host_cards").onclick = () => {
                page.innerHTML = tree.replace("{hidden}", "extra-network-dirs-hidden");
                answer();
            };
        }""",
        TREE,
    )
    tell_version(ui, "1")
    ui.wait_for_function("drawn === 1", timeout=5000)
    ui.wait_for_function("document.querySelector('[data-path=b][data-expanded][data-selected] + ul:not([hidden])')", timeout=5000)
    assert ui.locator("[data-expanded], [data-selected]").count() == 1
    assert ui.get_attribute("#txt2img_textual_inversion_pane", "class").strip() == "extra-network-pane"


COUNT_REFRESHES = """() => {
    window.refreshed = 0;
    document.getElementById("te_library_cards").replaceChildren();  // none that the refresh could leave out
    document.getElementById("te_host_cards").onclick = () => {
        refreshed++;
        setTimeout(answer, 50);
    };
}"""


def tell_version(ui: Any, version: str) -> None:
    ui.evaluate("version => { document.querySelector('#te_cards_version textarea').value = version; }", version)


@pytest.mark.parametrize("version", ["0", "8c1f03ba-0"])
def test_version_zero_means_that_nothing_changed(clock: Any, ui: Any, version: str) -> None:
    ui.evaluate(COUNT_REFRESHES)
    tell_version(ui, version)
    clock.run_for(10_000)
    assert ui.evaluate("refreshed") == 0
    tell_version(ui, version.replace("0", "1")[:-1] + "1")
    clock.run_for(10_000)
    assert ui.evaluate("refreshed") == 1


def test_another_server_may_have_other_cards(clock: Any, ui: Any) -> None:
    """Its numbers begin anew, so that they can be those of the server before it."""
    ui.evaluate(COUNT_REFRESHES)
    for number, version in enumerate(("8c1f03ba-10", "00000000-0", "11111111-0"), start=1):
        tell_version(ui, version)
        clock.run_for(10_000)
        assert ui.evaluate("refreshed") == number, "once for each server"


DETAILS = """({name, weight, activation, negative}) => {
    const details = Object.assign(document.createElement("div"), {id: "te_library_details"});
    const inner = Object.assign(document.createElement("div"), {className: "te-details"});
    Object.assign(inner.dataset, {name, key: name, weight, activation, negative});
    for (const box of ["txt2img_prompt", "txt2img_neg_prompt", "elsewhere_prompt"]) {
        const button = Object.assign(document.createElement("button"), {className: "te-send", textContent: box});
        button.dataset.box = box;
        inner.append(button);
    }
    details.append(inner);
    document.body.append(details);
}"""


def show_details(ui: Any, name: str, weight: str = "", activation: str = "", negative: str = "") -> None:
    ui.evaluate(DETAILS, {"name": name, "weight": weight, "activation": activation, "negative": negative})


def send(ui: Any, box: str) -> None:
    ui.click(f".te-send[data-box={box}]")


def test_buttons_write_the_embedding_into_their_box_once(ui: Any) -> None:
    show_details(ui, "art")
    fill(ui, txt2img_prompt="artstation", txt2img_neg_prompt="")
    for _ in range(2):
        send(ui, "txt2img_prompt")
        send(ui, "txt2img_neg_prompt")
    assert [value(ui, box) for box in BOXES] == ["artstation art", "art", "", ""]


def test_what_the_notes_name_is_written_too(ui: Any) -> None:
    show_details(ui, "my-cat", "0.8", "sitting, striped", "dog")
    fill(ui, txt2img_prompt="a photo", txt2img_neg_prompt="blurry")
    for _ in range(2):
        send(ui, "txt2img_prompt")
    assert value(ui, "txt2img_prompt") == "a photo (my-cat:0.8) sitting, striped"
    assert value(ui, "txt2img_neg_prompt") == "blurry dog"
    send(ui, "txt2img_neg_prompt")
    assert value(ui, "txt2img_neg_prompt") == "blurry dog (my-cat:0.8)"


def test_a_button_without_its_box_is_hidden(ui: Any) -> None:
    show_details(ui, "my-cat")
    ui.wait_for_selector(".te-send[data-box=elsewhere_prompt]", state="hidden")
    assert ui.locator(".te-send[data-box=txt2img_prompt]").is_visible()
