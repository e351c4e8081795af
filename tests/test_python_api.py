"""The public Python API: the code of docs/python-api.md runs as it is written there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import train_embedding

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python-api.md"
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "train_embedding" / "demo" / "samples" / "lime" / "train", tmp_path / "my-images")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, code in enumerate(CODE.findall(PAGE.read_text(encoding="utf-8")), start=1):
        exec(compile(code, f"{PAGE.name}, block {number}", "exec"), names)
    assert names["run"].status == "finished"
    assert names["run"].result == tmp_path.resolve() / "my-data" / "embeddings" / "my-cat.pt"
    assert names["spec"].preset == "Quality"
    assert train_embedding.read_embedding(Path("my-cat.safetensors")).count == 2
    assert Path("my-cat.png").stat().st_size > 0
    assert 'There is no embedding "my-dog".' in capsys.readouterr().out


def test_every_public_name_exists_and_no_other() -> None:
    assert [name for name in train_embedding.__all__ if not hasattr(train_embedding, name)] == []
    with pytest.raises(AttributeError):
        _ = train_embedding.open_library  # pyright: ignore[reportAttributeAccessIssue]
