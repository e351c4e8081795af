"""The commands that manage the library."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.hostile_cases import vectors_and_call
from train_embedding.cli import main
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding


@pytest.fixture
def cat(data: Path) -> Path:
    return put(data / "embeddings" / "cat.pt")


def put(file: Path, value: float = 1.0) -> Path:
    write_embedding(Embedding(file.stem, {"clip_l": torch.full((2, 768), value)}, 400, "v1-5"), file)
    return file


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main([*arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_list(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(cat.parent / "old" / "concat-qzx.safetensors")
    titles, *rows = output(capsys, "list", "--warnings").splitlines()
    assert " ".join(titles.split()) == "name family vectors step checkpoint folder format KB modified hash not loaded"
    assert rows[0].split()[:5] == ["cat", "SD1", "2", "400", "v1-5"]
    assert rows[1].split()[:7] == ["concat-qzx", "SD1", "2", "400", "v1-5", "old", "kohya"]
    assert 'cat.pt: "old/concat-qzx.safetensors" has the same vectors.' in rows
    assert 'old/concat-qzx.safetensors: Its name contains the name of "cat".' in rows
    (entry, _) = json.loads(output(capsys, "list", "--json"))
    assert len(entry["hash"]) == 12
    assert entry["notes"]["description"] == ""


def test_an_unsafe_file_is_listed_and_sanitized(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = cat.with_name("evil.pt")
    evil.write_bytes(vectors_and_call(str(cat.with_name("ran")), zipped=True))
    assert 'evil.pt: "evil.pt" imports "posix.system". Nothing in it is executed here' in output(capsys, "list")
    assert output(capsys, "sanitize", "evil") == f"Sanitized evil: {evil}\n"
    assert "imports" not in output(capsys, "list")
    assert "does not need to be sanitized" in output(capsys, "sanitize", "cat", code=4)
    assert not cat.with_name("ran").exists()


def test_rename_copy_delete_restore(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "rename", "cat", "dog").startswith("Renamed cat to dog: ")
    assert output(capsys, "copy", "dog", "ünï 剣").startswith("Copied dog to ünï 剣: ")
    assert output(capsys, "delete", "dog", "ünï 剣").splitlines() == ["Moved dog to the trash.", "Moved ünï 剣 to the trash."]
    assert not list(cat.parent.iterdir())
    titles, *rows = output(capsys, "trash").splitlines()
    assert titles.split() == ["id", "name", "folder", "deleted", "files", "KB"]
    assert sorted(row.split()[1] for row in rows if "dog" in row) == ["dog"]
    items = json.loads(output(capsys, "trash", "list", "--json"))
    assert output(capsys, "trash", "restore", *(item["id"] for item in items)).count("Restored") == 2
    assert output(capsys, "trash") == "The trash is empty.\n"
    assert sorted(path.name for path in cat.parent.iterdir()) == ["dog.pt", "ünï 剣.pt"]
    output(capsys, "delete", "dog")
    assert output(capsys, "trash", "empty") == "Deleted 1 item permanently.\n"


def test_restoring_onto_a_taken_name(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output(capsys, "copy", "cat", "dog")
    output(capsys, "delete", "cat")
    output(capsys, "rename", "dog", "cat")
    (item,) = json.loads(output(capsys, "trash", "--json"))
    said = output(capsys, "trash", "restore", item["id"], code=4)
    assert said == 'error: There is already an embedding "cat". Use "--as" or "--replace".\n'
    assert "for one item" in output(capsys, "trash", "restore", item["id"], "other", "--as", "x", code=2)
    assert "`trash restore`" in output(capsys, "trash", "empty", "--replace", code=2)
    assert output(capsys, "trash", "restore", item["id"], "--as", "old-cat").startswith("Restored old-cat: ")
    output(capsys, "delete", "old-cat")
    output(capsys, "rename", "cat", "old-cat")
    (item,) = json.loads(output(capsys, "trash", "--json"))
    assert output(capsys, "trash", "restore", item["id"], "--replace").startswith("Restored old-cat: ")
    (other,) = json.loads(output(capsys, "trash", "--json"))
    assert other["name"] == "old-cat"


def test_one_of_several(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(cat.parent / "sub" / "cat.pt", 2.0)
    output(capsys, "delete", "cat", "--file", "cat.pt")
    assert not cat.exists()
    assert 'There is no embedding "cat"' in output(capsys, "delete", "cat", "--file", "cat.pt", code=3)


def test_import_and_export(cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    assert "cat.safetensors" in output(capsys, "export", "cat", str(target), "--format", "safetensors")
    assert str(target / "other.bin") in output(capsys, "export", "cat", str(target / "other.bin"), "--format", "webui")
    assert "already exists" in output(capsys, "export", "cat", str(target / "other.bin"), code=4)
    output(capsys, "export", "cat", str(target / "other.bin"), "--overwrite")
    (target / "bad.pt").write_bytes(b"garbage")
    said = output(capsys, "import", str(target / "other.bin"), str(target / "bad.pt"), "--folder", "new", code=6)
    assert f"Imported other: {cat.parent / 'new' / 'other.bin'}" in said
    assert "bad.pt: " in said
    assert "cat.safetensors: There is already an embedding" in output(capsys, "import", str(target / "cat.safetensors"), code=6)
    (done,) = json.loads(output(capsys, "import", str(target / "cat.safetensors"), "--overwrite", "--json"))
    assert done["entry"]["format"] == "kohya"
    assert "Imported tom: " in output(capsys, "import", str(target / "cat.safetensors"), "--name", "tom")


def test_the_suffix_of_an_export_decides(cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix, form in ((".safetensors", "kohya"), (".bin", "webui"), (".png", "png"), (".webp", "image"), (".PT", "webui")):
        output(capsys, "export", "cat", f"out{suffix}")
        assert read_embedding(tmp_path / f"out{suffix}").format == form
    assert "nor the name of an embedding file" in output(capsys, "export", "cat", "out.txt", code=2)
    assert 'The format "webui" has no ".png" files' in output(capsys, "export", "cat", "o.png", "--format", "webui", code=2)


def test_an_export_for_a_program(cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output(capsys, "rename", "cat", "My Cat")
    assert output(capsys, "export", "My Cat", "--for", "comfyui").splitlines() == [
        "Exported My Cat: My_Cat.safetensors",
        'Put My_Cat.safetensors into the folder "models/embeddings".',
        "Trigger: embedding:My_Cat",
    ]
    made = json.loads(output(capsys, "export", "My Cat", "zork.safetensors", "--for", "diffusers", "--json"))
    assert made == {
        "path": "zork.safetensors",
        "trigger": "zork",
        "usage": 'Load it with pipe.load_textual_inversion("zork.safetensors", token="zork").',
    }
    assert "Exports for InvokeAI are" in output(capsys, "export", "My Cat", "--for", "invokeai", "--format", "webui", code=2)


def test_an_export_to_share(cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "export", "cat", "--for", "card").splitlines()[::2] == ["Exported cat: cat.png", "Trigger: cat"]
    assert read_embedding(tmp_path / "cat.png").step == 400
    output(capsys, "export", "cat", "my.zip", "--for", "civitai", "--license", "CC0 1.0")
    with zipfile.ZipFile(tmp_path / "my.zip") as archive:
        assert b"## License\n\nCC0 1.0" in archive.read("cat/README.md")
    assert "a file name that ends with .zip" in output(capsys, "export", "cat", "cat.pt", "--for", "civitai", code=2)


def test_paths_in_quotes(cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my cats").mkdir()
    output(capsys, "export", "cat", f'"{tmp_path / "my cats"}"')
    file = tmp_path / "my cats" / "cat.pt"
    assert "Imported dog: " in output(capsys, "import", f"'{file}'", "--name", "dog")
    Image.new("RGB", (4, 4)).save(tmp_path / "my cats" / "a.png")
    assert "preview: " in output(capsys, "notes", "cat", "--preview", f' "{tmp_path / "my cats" / "a.png"}"')
    assert "dog" in output(capsys, "list", "--data", f'"{cat.parents[1]}"')
    assert "does not exist" in output(capsys, "list", "--checkpoint", '"none.pt"', code=3)


def test_notes(cat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "notes", "cat") == "cat has no notes.\n"
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.jpg")
    said = output(
        capsys, "notes", "cat", "--description", "a cat", "--preferred-weight", "0.8", "--preview", str(tmp_path / "picture.jpg")
    )
    assert said.splitlines() == [
        "description: a cat",
        "preferred weight: 0.8",
        f"preview: {cat.with_name('cat.preview.jpg')}",
    ]
    assert json.loads(cat.with_suffix(".json").read_text())["preferred weight"] == 0.8
    assert "description" not in output(capsys, "notes", "cat", "--description", "")
    assert json.loads(output(capsys, "notes", "cat", "--preview-prompt", "a [name]", "--json"))["preview"].endswith(".png")
    assert "does not exist" in output(capsys, "notes", "cat", "--preview", "none.png", code=3)
    assert 'no run "none"' in output(capsys, "notes", "cat", "--preview-run", "none", code=3)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["rename", "cat", "a/b"], 2),
        (["rename", "nobody", "new"], 3),
        (["copy", "cat", "cat"], 4),
        (["delete", "nobody"], 3),
        (["trash", "restore"], 2),
        (["trash", "restore", "nothing"], 3),
        (["trash", "empty", "x"], 2),
        (["export", "cat", "--suffix", ".exe"], 2),
        (["notes", "cat", "--preferred-weight", "1000"], 2),
    ],
)
def test_errors_are_one_line(cat: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> None:
    said = output(capsys, *arguments, code=code)
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert cat.exists()
