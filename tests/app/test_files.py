"""No file is served or read but what was uploaded and what the app shows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import PREFIX, Client, client_of, upload_value
from train_embedding.services import Services
from train_embedding.testing import FakeHost

SECRET = b"the secret of somebody else"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret.txt"
    file.write_bytes(SECRET)
    return file


@pytest.mark.parametrize("button", ["te_library_import", "te_library_picture"])
def test_a_path_in_place_of_an_upload_is_not_read(client: Client, secret: Path, button: str) -> None:
    value: Any = upload_value(secret)
    answer = client.press(button, [[value], ""] if button == "te_library_import" else ["", value])
    assert answer.status_code == 500
    assert list(client.folder.rglob(secret.name)) == [], "from there it would be served"


def test_a_path_in_place_of_a_text_is_not_copied(client: Client, secret: Path) -> None:
    client.press("te_create_button", [upload_value(secret), "", "1", False, "tokens"])
    assert list(client.folder.rglob(secret.name)) == [], "from there it would be served"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/", "https://example.com/a.pt", "file:///etc/passwd"])
def test_an_address_in_place_of_an_upload_is_not_fetched(client: Client, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_values: Any, **_more: Any) -> Any:
        raise AssertionError("it was fetched")

    for name in ("save_url_to_cache", "async_save_url_to_cache", "async_ssrf_protected_download", "ssrf_protected_download"):
        monkeypatch.setattr(f"gradio.processing_utils.{name}", fetched, raising=False)
    assert client.press("te_library_import", [[upload_value(address)], ""]).status_code == 500
    assert "it was fetched" not in client.press("te_create_button", [upload_value(address), "", "1", False, "tokens"]).text


def test_the_folder_that_the_program_was_started_in_is_not_served(
    secret: Path, monkeypatch: pytest.MonkeyPatch, fake_host: FakeHost
) -> None:
    monkeypatch.chdir(secret.parent)
    with client_of(Services(fake_host)) as client:
        for path in (secret, secret.name, f"../{secret.parent.name}/{secret.name}"):
            assert client.file(path).status_code in (403, 404)


def test_an_upload_is_read_and_served(client: Client) -> None:
    path = client.upload("holiday.txt", b"sun").json()[0]
    answer = client.press("te_library_import", [[upload_value(path)], ""])
    assert answer.status_code == 200
    assert "holiday.txt" in answer.text, "what became of it"
    assert client.file(path).content == b"sun"


def test_what_is_uploaded_lies_in_a_folder_of_this_process(client: Client) -> None:
    path = Path(client.upload("holiday.txt", b"sun").json()[0])
    folder = next(parent for parent in path.parents if parent.name.startswith("train-embedding-"))
    assert folder.stat().st_mode & 0o077 == 0, "others may look into it"


def test_files_of_other_gradio_programs_are_not_served(client: Client) -> None:
    with tempfile.TemporaryDirectory(prefix="other-", dir=tempfile.gettempdir()) as folder:
        other = Path(folder) / "picture.png"
        other.write_bytes(SECRET)
        assert client.file(other).status_code in (403, 404)
        assert client.http.get(f"{PREFIX}/file/{other}").status_code in (403, 404)
