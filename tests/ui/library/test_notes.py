"""The table of the notes' fields: none forgotten, and what the widgets give reaches the service."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("gradio")

from train_embedding.services.sidecars.notes import Notes, checked_changes
from train_embedding.ui.library.notes import NOTES, notes_changes, notes_values


def test_every_field_has_one_widget() -> None:
    assert sorted(field.name for field in NOTES) == sorted(field.name for field in dataclasses.fields(Notes))


def test_what_is_shown_is_what_is_saved() -> None:
    notes = Notes("a cat", "line\nline", "striped", "dog", 0.8, "SD1")
    changes = notes_changes(notes_values(notes))
    assert Notes(**changes) == notes
    checked_changes(changes)


def test_emptied_fields_are_none() -> None:
    assert Notes(**notes_changes({field.name: None for field in NOTES})) == Notes()
