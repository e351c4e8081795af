"""What the Library panel says of one embedding, of files, and of the inside: facts, and text that stays text."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from PIL import Image

from tests.entries import entry
from tests.ui.reading import EVIL, OWN_TAGS, Reader
from train_embedding.services.inspection.inspection import PromptTokens, Report
from train_embedding.services.inspection.prompt_view import PromptPart
from train_embedding.services.inspection.reports import EncoderReport, NearestToken, Neighbour, VectorFigures
from train_embedding.services.library.entries import Imported
from train_embedding.services.sidecars.notes import Notes
from train_embedding.services.store.trash import Trashed
from train_embedding.ui.library.details import (
    download_link,
    entry_details,
    import_message,
    restore_message,
    size,
    trash_label,
    undoable_message,
)
from train_embedding.ui.library.inspection import inspection_report, prompt_tokens

VECTORS = (
    VectorFigures(0.4, -0.1, 0.2, (NearestToken(1, EVIL, 0.9), NearestToken(2, "cat", 0.5)), 0.75),
    VectorFigures(0.5, -0.2, 0.1, (), None),
)
REPORT = Report(
    EVIL, "SD1", 2, {"clip_l": 768}, 10, None, None, {EVIL: EVIL}, EVIL,
    (EncoderReport("clip_l", 768, VECTORS, ((1.0, 0.5), (0.5, 1.0)), 0.39, 0.02, 0.6),), (Neighbour(EVIL, 2, 0.9),), (EVIL,),
)  # fmt: skip
EVIL_PIECES = {
    "details": entry_details(
        entry(name=EVIL, family=EVIL, checkpoint=EVIL, widths={EVIL: 1}, file=Path(EVIL), warnings=(EVIL,), hash=EVIL,
              format=EVIL, notes=Notes(EVIL, EVIL, EVIL, notes=EVIL))
    ),
    "left out": entry_details(entry(name=EVIL, loaded=False, reason=EVIL)),
    "imported": import_message([Imported(EVIL, problem=EVIL), Imported(EVIL, entry(name=EVIL), note=EVIL)]),
    "deleted": undoable_message(EVIL, EVIL),
    "restored": restore_message([entry(name=EVIL)]),
    "download": download_link(EVIL, b"abc"),
    "report": inspection_report(REPORT, None),
    "tokens": prompt_tokens(PromptTokens((PromptPart(EVIL, 1.0, (), 3),), 3, 75, 72, (EVIL,), (EVIL,), (EVIL,))),
}  # fmt: skip


@pytest.mark.parametrize("piece", EVIL_PIECES)
def test_text_from_people_stays_text(piece: str) -> None:
    read = Reader(EVIL_PIECES[piece])
    assert read.tags <= OWN_TAGS
    assert "onerror" not in read.names
    assert EVIL in read.text


def test_details() -> None:
    notes = Notes(activation_text="striped", negative_text="dog", preferred_weight=0.8)
    read = Reader(entry_details(entry(folder="cats", notes=notes, size=3456)))
    assert "Model familySD1Vectors2Widthclip_l 768Trained steps400 stepsCheckpointv1-5" in read.text
    assert "Hash0123456789Size3.5 KB" in read.text
    assert {"cats/my-cat.pt", "striped", "dog", "0.8", "txt2img_prompt", "img2img_neg_prompt"} <= set(read.attributes)


def test_a_button_says_what_it_does_in_one_text() -> None:
    """A translation of each word alone would also change those words where a person has written them."""
    assert ">txt2img negative prompt</button>" in entry_details(entry())


def test_details_of_a_file_that_cannot_be_used_offer_no_prompt() -> None:
    read = Reader(entry_details(entry(loaded=False, vectors=0, family="", widths={}, reason="It is cut short.")))
    assert "te-send" not in read.attributes
    assert "Not loadedIt is cut short." in read.text
    assert "Vectors" not in read.text


def test_details_show_the_picture(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (512, 512)).save(file)
    assert any(value.startswith("data:image/jpeg") for value in Reader(entry_details(entry(preview=file))).attributes)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (3456, "3.5 KB"), (345_600, "346 KB"), (2_500_000, "2.5 MB")]
)
def test_size(count: int, shown: str) -> None:
    assert size(count) == shown


def test_what_became_of_files() -> None:
    good, bad = Imported("a.pt", entry()), Imported("b.pt", problem="It is cut short.")
    assert Reader(import_message([good, bad])).text == "1 embedding imported. 1 file was rejected.b.pt: It is cut short."
    named = Imported("b.pt", problem='"b.pt" is cut short.')
    assert Reader(import_message([named])).text == 'No embedding was imported."b.pt" is cut short.', "not named twice"
    assert "te-bad" in import_message([bad])
    assert "No embedding was imported." in import_message([bad])
    assert "No file was received." in import_message([])


def test_a_download_holds_the_file() -> None:
    address = next(value for value in Reader(download_link("c++.pt", b"abc")).attributes if value.startswith("data:"))
    assert base64.b64decode(address.split(",")[1]) == b"abc"


def test_what_lies_in_the_trash() -> None:
    label = trash_label(Trashed("cat.1", "cat", "cat.pt", "", ("cat.pt",), ("cat.pt",), 5.0, 100))
    assert label.startswith("cat.pt · 19")
    assert label.endswith(" · 100 bytes · cat.1")


def test_the_inside() -> None:
    read = Reader(inspection_report(REPORT, Image.new("RGB", (8, 8))))
    assert "clip_l, width 768. Norm of the tokens in the vocabulary: 0.390 ± 0.020." in read.text
    assert "NormMinMaxSimilarity to startNearest tokens10.400-0.1000.2000.75" in read.text
    assert "20.500-0.2000.100–" in read.text
    assert any(value.startswith("data:image/png") for value in read.attributes)
