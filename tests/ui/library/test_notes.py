"""The widgets of notes: one for each field, and what they hold reaches the service."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("gradio")

from train_embedding.services.sidecars.notes import Notes, check_changes
from train_embedding.ui.library.notes import build_notes, notes_changes, notes_values


def test_every_field_has_one_widget() -> None:
    assert list(build_notes()) == [field.name for field in dataclasses.fields(Notes)]


def test_what_is_shown_is_what_is_saved() -> None:
    notes = Notes("a cat", "striped", "dog", 0.8, "SD1", "line\nline")
    changes = notes_changes(notes_values(notes))
    assert Notes(**changes) == notes
    check_changes(changes)


def test_emptied_fields_are_none() -> None:
    assert Notes(**notes_changes(dict.fromkeys(build_notes()))) == Notes()
