"""Notes in the WebUI's own file, beside whatever others keep there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from train_embedding.errors import InvalidInput, UnreadableFile
from train_embedding.services.json_values import to_json
from train_embedding.services.sidecars.notes import MAX_TEXT, Notes, check_changes, edit_notes_file, parse_notes


def test_the_keys_of_the_webui() -> None:
    values = {
        "description": "d", "notes": "n", "activation text": "a", "negative text": "x", "preferred weight": 1,
        "sd version": "SD1", "sha256": "…",
    }  # fmt: skip
    notes = parse_notes(json.dumps(values).encode("utf-8-sig"))
    assert notes == Notes("d", "a", "x", 1.0, "SD1", "n")
    assert json.loads(json.dumps(to_json(notes)))["preferred_weight"] == 1.0


def test_values_of_the_wrong_kind_count_as_none() -> None:
    values = {"description": 3, "notes": None, "activation text": [], "preferred weight": "much", "sd version": True}
    assert parse_notes(json.dumps(values).encode()) == Notes()
    assert parse_notes(b'{"preferred weight": NaN}') == Notes()
    assert parse_notes(b'{"preferred weight": true}') == Notes()


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"nothing", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_file_of_notes(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_notes(data)
    with pytest.raises(UnreadableFile, match=r"cat\.json"):
        edit_notes_file(data, {"notes": "new"}, "cat.json")


def test_other_keys_stay_as_they_are_and_in_their_place() -> None:
    data = json.dumps({"z": [1, {"deep": None}], "notes": "old", "a": "é"}, ensure_ascii=False).encode()
    changed = edit_notes_file(data, check_changes({"notes": "new", "description": "here"}), "cat.json")
    assert changed is not None
    assert list(json.loads(changed).items()) == [
        ("z", [1, {"deep": None}]), ("notes", "new"), ("a", "é"), ("description", "here"),
    ]  # fmt: skip
    assert "é".encode() in changed


def test_nothing_to_write() -> None:
    assert edit_notes_file(None, check_changes({"notes": "", "preferred_weight": 0}), "cat.json") is None
    assert edit_notes_file(b'{"notes": "same"}', check_changes({"notes": "same"}), "cat.json") is None
    assert edit_notes_file(b'{"notes": "old"}', check_changes({"notes": ""}), "cat.json") == b'{\n    "notes": ""\n}'


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"}, {"notes": None}, {"notes": 3}, {"notes": "x" * (MAX_TEXT + 1)}, {"preferred_weight": "1"},
        {"preferred_weight": True}, {"preferred_weight": float("nan")}, {"preferred_weight": 1e9}, {"preferred weight": 1},
    ],
)  # fmt: skip
def test_changes_that_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check_changes(changes)
