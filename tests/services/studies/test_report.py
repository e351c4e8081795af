"""The report of a study: everything is in one file, and nothing in it comes alive."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from train_embedding.messages import verbatim
from train_embedding.services.run_records import RunState
from train_embedding.services.studies.plan import PlannedRun, Study
from train_embedding.services.studies.report import write_report
from train_embedding.services.studies.results import Results, RunProgress, RunResult

EVIL = "\"><img src=x onerror=alert(1)></title><script>alert('2')</script>&amp;"


class Elements(HTMLParser):
    """Collects the start tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(folder: Path, name: str = "study", **values: str) -> tuple[Elements, Path]:
    run = PlannedRun(**{"embedding": "anna", "dataset": "/images/anna", "recipe": "Fast", **values})
    results = Results(folder, Study(name, (run, replace(run, options={"seed": 1}))))
    images = results.run_folder(run) / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (512, 512), "red").save(images / "1.png")
    Image.new("RGB", (64, 64), "blue").save(images / "2.png")
    (images / "3.png").write_bytes(b"no image")
    state = RunState(
        "id", run.embedding, folder, replace(run, dataset="/images").spec(), step=9, steps=9, losses=((1, 0.3), (9, 0.1))
    )
    state = replace(state, evaluations=((0, 1.0, 0.3), (9, 0.8, 0.2)), notes=(verbatim(name),))
    result = RunResult("finished", 9, 0.1, 0.8, images=("images/1.png", "images/2.png", "images/3.png"), worker=name)
    failed = RunResult("failed", error=verbatim(name))
    progress = [RunProgress(run, "finished", state, result), RunProgress(results.study.runs[1], "failed", None, failed)]
    file = Path(write_report(results, progress, {"Minutes": name}))
    return Elements(file.read_text(encoding="utf-8")), file


def test_the_file_contains_its_images_curves_and_settings(tmp_path: Path) -> None:
    page, file = report(tmp_path)
    sources = [str(values["src"]) for tag, values in page.tags if tag == "img"]
    assert [source[:22] for source in sources] == ["data:image/jpeg;base64", "data:image/png;base64,"]
    assert "images/3.png cannot be read" in page.text
    assert len([tag for tag, _ in page.tags if tag == "polyline"]) == 2
    assert [tag for tag, _ in page.tags if tag == "details"] == ["details"] * 2
    assert not re.search(r"(src|href)=\"(?!data:|#)", file.read_text())
    assert [run["status"] for run in json.loads((tmp_path / "results.json").read_text())["runs"]] == ["finished", "failed"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    page, _file = report(tmp_path, EVIL, recipe=EVIL, init_text=EVIL, dataset=EVIL, checkpoint=EVIL)
    usual, _file = report(tmp_path / "usual")
    assert [tag for tag, _ in page.tags if tag not in ("br", "tr", "th", "td")] == [
        tag for tag, _ in usual.tags if tag not in ("br", "tr", "th", "td")
    ]
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, values in page.tags for name in values)
    assert page.text.count(EVIL) >= 5
    assert any("default-src 'none'" in str(values.get("content")) for _, values in page.tags)
