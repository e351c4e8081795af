"""Messages: English text that keeps its template and values, also through JSON and copies."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from train_embedding.messages import (
    COMMA,
    SPACE,
    Message,
    decode,
    encode,
    joined,
    map_values,
    msg,
    plural,
    replace_labels,
    verbatim,
)

TAKEN = msg("{name} is already taken.", name="my-cat")
NESTED = msg("Not saved: {problem}", problem=TAKEN)
JOINED = joined([TAKEN, plural("{count} image", "{count} images", 8), verbatim("cat.png")], COMMA)


def test_a_message_is_its_english_text() -> None:
    assert TAKEN == "my-cat is already taken."
    assert f"{NESTED}" == "Not saved: my-cat is already taken."
    assert json.dumps({"error": TAKEN}) == '{"error": "my-cat is already taken."}'


def test_a_count_chooses_the_template() -> None:
    assert [plural("{count} image", "{count} images", count) for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_values_are_formatted_and_braces_without_values_are_literal() -> None:
    assert msg("loss {loss:.4f} of {file}", loss=0.123456, file=Path("a") / "b") == f"loss 0.1235 of {Path('a') / 'b'}"
    assert msg("Write {name} in braces.") == "Write {name} in braces."
    assert msg("{name} in braces", name="{odd}") == "{odd} in braces"


def test_joined_leaves_out_empty_texts() -> None:
    assert joined(["a", "", "b"]) == "a, b"
    assert joined(["a.", "b."], SPACE) == "a. b."


def test_texts_in_values_change_and_templates_stay() -> None:
    message = joined([msg("Not saved: {problem}", problem=msg("{name} is taken.", name="cat")), verbatim("dog")], SPACE)
    changed = map_values(message, str.upper)
    assert changed == "Not saved: CAT is taken. DOG"
    assert decode(encode(changed)).parts == changed.parts
    assert map_values(plural("{count} image in {folder}", "{count} images in {folder}", 2, folder="a"), str.upper).plural_key


def test_labels_in_values_are_replaced_and_equal_names_are_not() -> None:
    hint = msg('Use "{option}" for "{name}".', option=msg("Overwrite"), name="Overwrite")
    replaced = replace_labels(joined([msg("Taken."), hint], SPACE), {"Overwrite": "--overwrite"})
    assert replaced == 'Taken. Use "--overwrite" for "Overwrite".'
    assert decode(encode(replaced)).parts == replaced.parts


@pytest.mark.parametrize("message", [TAKEN, NESTED, JOINED, verbatim("as it is"), Message()])
def test_json_and_copies_keep_the_message(message: Message) -> None:
    for same in (decode(json.loads(json.dumps(encode(message)))), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert (same, same.key, same.plural_key, len(same.parts)) == (
            message, message.key, message.plural_key, len(message.parts)
        )  # fmt: skip
        assert {name: str(value) for name, value in same.values.items()} == {
            name: str(value) for name, value in message.values.items()
        }


@pytest.mark.parametrize(
    "template", ["{name.__class__}", "{name[0]}", "{name!r}", "{name:>999999999}", "{other}", "{", "another text"]
)
def test_a_template_from_a_file_that_does_not_give_its_text_is_ignored(template: str) -> None:
    message = decode({"text": "my-cat is taken.", "key": template, "values": {"name": "my-cat"}})
    assert message == "my-cat is taken."
    assert message.key == ""


@pytest.mark.parametrize("value", [None, 3, [], {}, {"text": 3}, {"text": "a", "values": 3}, {"text": "a", "parts": "b"}])
def test_values_that_are_no_message_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="message"):
        decode(value)
