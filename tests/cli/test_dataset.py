"""`train-embedding dataset` does what the tab and the API do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.caption_models import make_tagger
from train_embedding.cli import main


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    made: list[str] = []
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.linear_gradient("L").resize((64, 64)).convert("RGB").rotate(90 if name == "a" else 0).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"a {colour} square")
        made += [str(tmp_path / f"{name}.png"), str(tmp_path / f"{name}.txt")]
    return made


def test_a_dataset_from_its_first_image_to_the_trash(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        assert main(["dataset", *words, "--data", str(tmp_path / "data")]) == 0
        return capsys.readouterr().out

    folder = tmp_path / "data" / "datasets" / "squares"
    assert run("create", "squares", *files[:2]) == f"Added 2 files to {folder}\n"
    run("add", "squares", *files[2:])
    assert json.loads(run("list", "--json")) == [{"name": "squares", "folder": str(folder), "images": 2}]
    run("caption", "squares", "a.png", "--set", "my-square, red")
    assert run("caption", "squares", "--prefix", "new, ") == "Changed 2 captions.\n"
    assert (folder / "a.txt").read_text() == "new, my-square, red"
    assert run("caption", "squares", "--undo") == "Changed 2 captions.\n"
    assert json.loads(run("caption", "squares", "--tags", "--json"))[0] == {"tag": "a blue square", "images": 1}
    assert "my-square, red" in run("caption", "squares")
    assert run("exclude", "squares", "b.png") == "Training leaves out 1 image.\n"
    found = json.loads(run("check", "squares", "--json", "--width", "64", "--height", "64", "--no-buckets"))
    assert (found["images"], found["used"], found["measured"]) == (2, 1, 2)
    assert "Excluded from training." in run("check", "squares", "--template", "[name], [filewords]")
    run("include", "squares", "b.png")
    assert run("remove", "squares", "b.png") == "Moved 2 files to the trash.\n"
    assert json.loads(run("restore", "squares", "--list", "--json"))[0]["files"] == ["b.png", "b.txt"]
    assert run("restore", "squares") == "Restored 2 files.\n"
    assert run("delete", "squares") == "squares is in the trash.\n"
    assert not folder.exists()
    assert json.loads(run("undelete", "--list", "--json"))[0]["name"] == "squares"
    assert run("undelete") == "Restored the dataset squares.\n"
    assert (folder / "b.png").is_file()


def test_crops_and_masks(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str, code: int = 0) -> str:
        assert main(["dataset", *words, "--data", str(tmp_path / "data")]) == code
        found = capsys.readouterr()
        return found.out if code == 0 else found.err

    folder = tmp_path / "data" / "datasets" / "squares"
    run("create", "squares", *files)
    assert run("crop", "squares") == "No image has a crop.\n"
    assert run("crop", "squares", "a.png", "--box", "8,0,32,64") == "Changed 1 crop.\n"
    assert json.loads(run("crop", "squares", "--json")) == [{"image": "a.png", "size": [64, 64], "crop": [8, 0, 32, 64]}]
    assert "8,0,32,64" in run("crop", "squares", "a.png", "b.png")
    assert "2 images are centred" in run("crop", "squares", "--centre", "--width", "64", "--height", "32", "--no-buckets")
    run("crop", "squares", "--undo")
    assert "64 × 64 pixels" in run("crop", "squares", "a.png", "--box", "8,0,64,64", code=2)
    assert run("crop", "squares", "--reset") == "Changed 1 crop.\n"
    assert not (folder / "crops-for-training.json").exists()
    assert run("mask", "squares", "a.png", "--file", files[2]) == "Changed 1 mask file.\n"
    assert (folder / "a-masklabel.png").is_file()
    assert "already has a mask file" in run("mask", "squares", "a.png", "--file", files[0], code=4)
    assert run("mask", "squares", "a.png", "--file", files[0], "--replace").endswith("In the trash: a-masklabel.png.\n")
    run("mask", "squares", "a.png", "--remove")
    assert not (folder / "a-masklabel.png").exists()
    assert run("mask", "squares", "--undo") == "Changed 1 mask file.\n"
    assert (folder / "a-masklabel.png").is_file()


def test_captions_are_generated_and_undone(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str:
        assert main(["dataset", *words, "--data", str(tmp_path / "data")]) == 0
        return capsys.readouterr().out

    Image.new("RGB", (16, 16), "blue").save(tmp_path / "blue.png")
    model = str(make_tagger(tmp_path / "tagger"))
    run("create", "squares", *files[:2], str(tmp_path / "blue.png"))
    assert (
        run("autocaption", "squares", "--model", model, "--prefix", "my-square, ")
        == "Wrote 1 caption. 1 image kept the caption.\n"
    )
    captions = {item["image"]: item["caption"] for item in json.loads(run("caption", "squares", "--json"))}
    assert captions == {"a.png": "a red square", "blue.png": "my-square, blue sky"}
    run("caption", "squares", "--undo")
    job = json.loads(run("autocaption", "squares", "blue.png", "--model", model, "--existing", "replace", "--json"))
    assert (job["status"], job["written"], job["last"]) == ("finished", 1, {"image": "blue.png", "caption": "blue sky"})


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", "nowhere", "--data", str(tmp_path)]) == 3
    assert main(["dataset", "create", "a/b", "--data", str(tmp_path)]) == 2
    assert main(["dataset", "create", "empty", "--data", str(tmp_path)]) == 0
    assert main(["dataset", "autocaption", "empty", "--model", str(tmp_path / "none"), "--data", str(tmp_path)]) == 3
    assert main(["dataset", "autocaption", "empty", "--model", str(tmp_path), "--threshold", "2", "--data", str(tmp_path)]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error"] * 4
