"""The tab's upload buttons, also in a host whose gradio reads any path that a request names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

import gradio as gr

from tests.ui.conftest import inside_a_loop
from train_embedding.ui.gradio_compat import MAJOR, upload_button


def button_of(count: str) -> Any:
    def make() -> Any:
        with gr.Blocks(analytics_enabled=False):
            return upload_button("Import", file_count=count)

    return inside_a_loop(make)


def value_of(path: Path, count: str) -> Any:
    """What reaches the button for a file, as gradio hands it over."""
    if MAJOR < 4:
        one: Any = {"name": str(path), "data": "", "is_file": True}
        return [one] if count == "multiple" else one
    from gradio.data_classes import FileData, ListFiles

    one = FileData(path=str(path), orig_name=path.name)
    return ListFiles(root=[one]) if count == "multiple" else one


@pytest.mark.parametrize("count", ["single", "multiple"])
def test_they_take_uploads_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    uploads = tmp_path / "uploads"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    button = button_of(count)
    uploaded, secret, link = uploads / "0a1b" / "mine.pt", tmp_path / "secret.txt", uploads / "0a1b" / "link.pt"
    uploaded.parent.mkdir(parents=True)
    uploaded.write_bytes(b"mine")
    secret.write_bytes(b"secret")
    link.symlink_to(secret)
    assert button.preprocess(None) is None
    assert button.preprocess(value_of(uploaded, count))
    for path in (secret, link, uploads / ".." / "secret.txt", uploads, Path("secret.txt")):
        with pytest.raises(gr.Error, match="Only uploaded files"):
            button.preprocess(value_of(path, count))
    assert list(uploads.rglob("secret.txt")) == []
