"""The cards and the pictures on them: what they say, what they cost, and that names stay text."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from PIL import Image

from tests.entries import entry
from tests.ui.reading import EVIL, OWN_TAGS, Reader
from train_embedding.services import Services
from train_embedding.ui.library import thumbnails
from train_embedding.ui.library.cards import BATCH, CardList, cards


def answer(card_list: CardList, serial: int, keys: list[object]) -> dict[str, str]:
    [number, pictures] = Reader(card_list.draw_previews(json.dumps({"serial": serial, "keys": keys}))).attributes
    assert number == str(serial)
    return json.loads(pictures)


def test_text_from_people_stays_text() -> None:
    read = Reader(
        cards([entry(name=EVIL, folder=EVIL, warnings=(EVIL,)), entry(name=EVIL, loaded=False, reason=EVIL, family=EVIL)])
    )
    assert read.tags <= OWN_TAGS | {"datalist"}
    assert "onerror" not in read.names
    assert EVIL in read.text
    assert EVIL in read.attributes, "the name, for the script"


def test_a_card_says_what_it_stands_for() -> None:
    read = Reader(cards([entry(vectors=1, folder="styles", warnings=("Its name is a word.",))]))
    assert "my-catSD11 vector · 400 steps" in read.text
    assert {"styles/my-cat.pt", "SD1", "400", "te-card te-warnings", "my-cat\nIts name is a word."} <= set(read.attributes)


def test_a_card_that_is_left_out_says_why() -> None:
    card = cards([entry(loaded=False, reason="Its vectors are for SDXL.")])
    assert "te-left-out" in card
    assert "Its vectors are for SDXL." in Reader(card).text


def test_an_empty_library_says_what_to_do() -> None:
    assert "Create one" in cards([])


def test_a_name_that_is_no_unicode_can_be_shown() -> None:
    name = "caf\udce9"
    assert "caf?" in Reader(str(cards([entry(name=name)])).encode().decode()).text


def test_thousands_of_cards_hold_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "a.preview.png"
    Image.new("RGB", (64, 64)).save(file)
    page = str(cards([entry(name=f"style-{number:05}", preview=file, folder="styles/old") for number in range(3000)]))
    assert "data:" not in page
    assert len(page) / 3000 < 600


def test_the_library_is_listed_once_for_a_version(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    card_list, listed = CardList(services), [0]
    whole = services.library.list

    def count() -> list[object]:
        listed[0] += 1
        return whole()  # type: ignore[return-value]

    monkeypatch.setattr(services.library, "list", count)
    assert card_list.at_version("a-0")[1] is card_list.at_version("a-0")[1]
    assert listed == [1]
    card_list.at_version("a-1")
    assert listed == [2]


def test_pictures_come_for_the_keys_that_are_asked_for(services: Services) -> None:
    services.library.create("red", "one")
    services.library.create("plain", "one")
    folder = services.host.info().embeddings_folder
    Image.new("RGB", (512, 256), "red").save(folder / "red.preview.png")
    card_list = CardList(services)
    card_list.at_version("a-0")
    pictures = answer(card_list, 7, ["red.pt", "plain.pt", "../secret.pt", 3])
    assert list(pictures) == ["red.pt", "plain.pt", "../secret.pt"]
    assert pictures["plain.pt"] == pictures["../secret.pt"] == ""
    assert pictures["red.pt"].startswith("data:image/jpeg;base64,")
    assert len(pictures["red.pt"]) < 5000
    assert len(answer(card_list, 8, [f"{number}.pt" for number in range(1000)])) == BATCH


@pytest.mark.parametrize("request_text", ["", "nothing", "[]", "{}", '{"serial": null, "keys": []}', '{"serial": 1, "keys": 5}'])
def test_a_request_that_makes_no_sense_gets_nothing(services: Services, request_text: str) -> None:
    assert Reader(CardList(services).draw_previews(request_text)).attributes == ["0", "{}"]


def test_a_picture_is_made_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, opened = tmp_path / "a.png", [0]
    Image.new("RGB", (300, 200), "red").save(file)
    small = thumbnails._small

    def count(picture: Path, side: int) -> bytes:
        opened[0] += 1
        return small(picture, side)

    monkeypatch.setattr(thumbnails, "_small", count)
    assert thumbnails.address(file) == thumbnails.address(file)
    assert opened == [1]
    Image.new("RGB", (300, 200), "blue").save(file)
    thumbnails.address(file)
    assert opened == [2]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "CMYK"])
def test_pictures_of_every_kind(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (30, 20)).save(file)
    assert thumbnails.address(file)
    assert len(thumbnails.portrait(file)) >= len(thumbnails.address(file))


def broken(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.png" for name in ("text", "cut", "huge")}
    files["text"].write_bytes(b"no picture")
    Image.effect_noise((64, 64), 90).save(files["cut"])
    files["cut"].write_bytes(files["cut"].read_bytes()[:500])
    Image.new("1", (4097, 4096)).save(files["huge"])
    return files


@pytest.mark.parametrize("kind", ["text", "cut", "huge"])
def test_a_file_that_cannot_be_shown_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    file = broken(tmp_path)[kind]
    assert thumbnails.address(file) == ""
    assert file.name in caplog.text


def test_a_page_may_ask_for_the_picture_of_what_has_been_deleted(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    services.library.create("cat", "red")
    data = io.BytesIO()
    Image.new("RGB", (9, 9)).save(data, "PNG")
    preview = services.library.set_preview("cat", data.getvalue()).preview
    assert preview is not None
    card_list = CardList(services)
    card_list.at_version("a-1")
    services.library.delete("cat")
    answer = Reader(card_list.draw_previews(json.dumps({"serial": 3, "keys": ["cat.pt"]}))).attributes
    assert answer == ["3", '{"cat.pt": ""}']
    assert thumbnails.portrait(preview) == ""
    assert caplog.text == ""
