"""The tab's HTML: what it says, and that text from people stays text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from tests.ui.reading import EVIL, OWN_TAGS, Reader
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import InvalidExpression, TrainEmbeddingError
from train_embedding.services.datasets.datasets import DatasetReport
from train_embedding.services.library.library import Budget
from train_embedding.services.run_records import STATUSES, RunState
from train_embedding.ui import html

SPEC = TrainingSpec("my-cat", "/pictures")


def state(**changes: object) -> RunState:
    run = RunState("1", "my-cat", Path("/runs/1"), SPEC, status="running", step=100, steps=400, loss=0.12345, eta_seconds=75.2)
    return replace(run, **changes)  # type: ignore[arg-type]


REPORT = {
    "folder": EVIL,
    "sizes": [{"size": [576, 448], "images": 1}, {"size": [512, 512], "images": 2}],
    "used": [
        {"file": "a.png", "size": [1024, 768], "trained_at": [576, 448], "caption": "a cat", "mask": "alpha", "mask_counts": True,
         "repeats": 1},
        {"file": "b.png", "size": [512, 512], "trained_at": [512, 512], "caption": EVIL, "mask": "file", "mask_counts": False,
         "repeats": 3},
        {"file": EVIL, "size": [64, 64], "trained_at": [512, 512], "caption": "", "mask": None, "mask_counts": False,
         "repeats": 1},
    ],
    "skipped": [{"file": EVIL, "reason": EVIL}],
}  # fmt: skip
EVIL_PIECES = {
    "message": html.message("bad", EVIL, EVIL),
    "error": html.error(TrainEmbeddingError(EVIL, EVIL)),
    "dataset": html.dataset(DatasetReport(Path(EVIL), 1, ((EVIL, EVIL),))),
    "images": html.image_report(REPORT),
    "start words": html.start_words([(EVIL, 0.1, 16), ("", 0.2, 4)]),
    "progress": html.progress(state(embedding=EVIL, id=EVIL)),
    "active": html.run_status(state(notes=(EVIL,))),
    "failed": html.run_status(state(status="failed", error=EVIL, hint=EVIL, notes=(EVIL,))),
    "finished": html.run_status(state(status="finished", embedding=EVIL, files=(Path("/x") / EVIL,), notes=(EVIL,))),
    "formula": html.error(InvalidExpression(EVIL, expression=EVIL, column=1)),
}


@pytest.mark.parametrize("piece", EVIL_PIECES)
def test_text_from_people_stays_text(piece: str) -> None:
    read = Reader(EVIL_PIECES[piece])
    assert read.tags <= OWN_TAGS
    assert "onerror" not in read.names
    assert EVIL in read.text


@pytest.mark.parametrize(
    ("tokens", "vectors", "sentence"),
    [
        (3, 3, "3 tokens. The embedding uses 3 of the 75 tokens of a prompt."),
        (1, 4, "1 token. The embedding uses 4 of the 75 tokens of a prompt."),
        (0, 1, "0 tokens. The embedding uses 1 of the 75 tokens of a prompt."),
    ],
)
def test_budget(tokens: int, vectors: int, sentence: str) -> None:
    assert Reader(html.budget(Budget(tokens, vectors))).text == sentence


def test_a_folder_in_words() -> None:
    report = DatasetReport(Path("/pictures"), 8, (("a.png", "It is empty."),), captions=5, masks=2)
    assert Reader(html.dataset(report)).text == "8 images, 5 with a text file, 2 with a mask, 1 skippeda.png: It is empty."
    assert Reader(html.dataset(replace(report, notes=(EVIL,)))).text.endswith(EVIL)
    assert Reader(html.dataset(replace(report, images=1, captions=0, masks=0, skipped=()))).text == "1 image"


def test_what_became_of_the_pictures() -> None:
    text = Reader(html.image_report(REPORT)).text
    assert text.startswith("3 images: 1 at 576 × 448, 2 at 512 × 512 · 1 skipped")
    assert "a.png1024 × 768 → 576 × 448, mask from transparencya cat" in text
    assert "b.png512 × 512, uniform mask (not used), used 3 times as often" in text


def test_the_starts_that_were_tried() -> None:
    text = Reader(html.start_words([("cat, dog", 0.12345, 16), ("", 0.2, 4), ("tree", 0.5, 1)])).text
    rows = ("cat, dog", "0.1235", "16 items", "the embedding as it was", "0.2000", "4 items", "tree", "0.5000", "1 item")
    assert text == "".join(("3 starts tried", *rows))
    assert html.start_words([]) == ""


def test_very_many_pictures_are_not_all_shown() -> None:
    read = html.image_report({**REPORT, "used": REPORT["used"][:1] * 150})
    assert read.count("<tr>") == html.SHOWN_IMAGES
    assert "… and 51 more" in Reader(read).text


@pytest.mark.parametrize("status", STATUSES)
def test_progress_says_whether_the_run_goes_on(status: str) -> None:
    read = Reader(html.progress(state(status=status)))
    assert ("true" in read.attributes) == state(status=status).active
    assert status in read.attributes


def test_progress_in_words() -> None:
    assert html.progress_text(state()) == "step 100 of 400 · 1:15 left · loss 0.1235"
    assert html.progress_text(state(status="preparing", step=0, loss=None, eta_seconds=None)) == "Reading the images"
    assert html.progress_text(state(status="finished", step=400)) == "Finished · step 400 of 400 · loss 0.1235"


def test_no_run_yet() -> None:
    assert Reader(html.progress(None)).text == "No training run yet."
    assert html.run_status(None) == ""


def test_the_end_names_the_file() -> None:
    run = state(status="finished", step=400, seconds=65.0, files=(Path("/embeddings/my-cat.pt"), Path("/snapshot.pt")))
    assert Reader(html.run_status(run)).text == "Finished my-cat: 400 steps in 1:05.Saved to /embeddings/my-cat.pt"


def test_a_failure_keeps_what_was_written() -> None:
    run = state(status="failed", error="The disk is full.", hint="Make room.", files=(Path("/embeddings/my-cat.pt"),))
    assert Reader(html.run_status(run)).text == "The disk is full.Make room.Saved to /embeddings/my-cat.pt"


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (725, "12:05"), (3723, "1:02:03")])
def test_duration(seconds: float, shown: str) -> None:
    assert html.duration(seconds) == shown


def test_a_wrong_formula_is_shown_with_a_mark_below() -> None:
    problem = InvalidExpression("a number is missing.", expression="a + * 2", column=5)
    assert Reader(html.error(problem)).text == "Column 5: a number is missing.a + * 2\n    ^"
