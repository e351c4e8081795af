"""The last values of the tab's fields."""

from __future__ import annotations

import errno
import logging
import os

import pytest

from train_embedding.errors import InvalidInput, StorageFailed
from train_embedding.services.settings import Settings
from train_embedding.testing import FakeHost


def test_nothing_saved_yet(fake_host: FakeHost) -> None:
    assert Settings(fake_host).load() == {}


def test_round_trip(fake_host: FakeHost) -> None:
    values = {"name": "剣", "steps": 400, "rate": 5e-3, "overwrite": False, "template": ["[name]"], "none": None}
    Settings(fake_host).save(values)
    assert Settings(fake_host).load() == values
    assert Settings(fake_host).file == fake_host.info().runs_folder / "settings.json"


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\xff"])
def test_a_damaged_file_starts_afresh_and_is_logged(fake_host: FakeHost, caplog: pytest.LogCaptureFixture, text: str) -> None:
    settings = Settings(fake_host)
    settings.file.write_bytes(text.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert settings.load() == {}
    assert "are reset" in caplog.text
    settings.save({"steps": 1})
    assert settings.load() == {"steps": 1}


def test_values_that_json_cannot_hold(fake_host: FakeHost) -> None:
    settings = Settings(fake_host)
    settings.save({"steps": 1})
    with pytest.raises(InvalidInput):
        settings.save({"steps": object()})
    assert settings.load() == {"steps": 1}


def test_a_full_disk_keeps_the_old_values(fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(fake_host)
    settings.save({"steps": 1})

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFailed, match="disk is full"):
        settings.save({"steps": 2})
    assert settings.load() == {"steps": 1}
