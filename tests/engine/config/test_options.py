"""How an option is declared, and what its declaration allows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pytest

from train_embedding.engine.config.options import GROUP_LABELS, Group, Option, option, options_of
from train_embedding.engine.config.rules import check_option, requirement
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec, choice_label, label_of
from train_embedding.errors import InvalidOption
from train_embedding.messages import Message, msg


@dataclass(frozen=True)
class Example:
    name: str = field(metadata=option(msg("Name"), msg("Its name."), "Basics"))
    count: int = field(
        default=2, metadata=option(msg("Count"), msg("How many."), "Basics", low=1, high=4000, multiple_of=2, unit="cats")
    )
    share: float = field(default=0.5, metadata=option(msg("Share"), msg("How much."), "Images", low=0.0, high=0.99))
    fast: bool = field(default=True, metadata=option(msg("Fast"), msg("Whether it is fast."), "Images"))
    lines: tuple[str, ...] = field(default=("a",), metadata=option(msg("Lines"), msg("What it says."), "Captions"))
    colour: Literal["red", "blue"] = field(
        default="red", metadata=option(msg("Colour"), msg("Which."), "Images", choice_labels=(msg("R"), msg("B")))
    )


EXAMPLE = {each.name: each for each in options_of(Example)}


def test_an_option_is_its_declaration_with_name_type_and_default() -> None:
    assert [each.kind for each in EXAMPLE.values()] == ["text", "integer", "number", "flag", "lines", "choice"]
    assert [each.default for each in EXAMPLE.values()] == [None, 2, 0.5, True, ("a",), "red"]
    assert (EXAMPLE["count"].label, EXAMPLE["count"].help, EXAMPLE["count"].group) == ("Count", "How many.", "Basics")
    assert EXAMPLE["colour"].labelled_choices() == [("R", "red"), ("B", "blue")]
    assert EXAMPLE["colour"].flag == "--colour"


@pytest.mark.parametrize(
    ("name", "sentence", "allowed", "refused"),
    [
        ("name", "text", ["", "cat"], [None, 5, ["cat"]]),
        ("count", "a multiple of 2 from 1 to 4,000", [2, 4000], [0, 3, 4002, True, 2.0, "2", None]),
        ("share", "a number from 0 to 0.99", [0, 0.5, 0.99], [-0.1, 1, float("nan"), float("inf"), False, "0.5"]),
        ("fast", "true or false", [True, False], [0, 1, "true", None]),
        ("lines", "text or a list of lines", [(), ("a", "b")], ["a", ["a"], ("a", 5)]),
        ("colour", "one of red, blue", ["red", "blue"], ["green", "", None, 5, []]),
    ],
)
def test_the_type_and_the_bounds_decide_what_is_allowed(name: str, sentence: str, allowed: list[Any], refused: list[Any]) -> None:
    assert requirement(EXAMPLE[name]) == sentence
    for value in allowed:
        check_option(EXAMPLE[name], value)
    for value in refused:
        with pytest.raises(InvalidOption) as caught:
            check_option(EXAMPLE[name], value)
        assert caught.value.option == name
        assert caught.value.message.endswith(f"; it must be {sentence}.")


def test_an_error_can_name_the_option_as_the_reader_knows_it() -> None:
    with pytest.raises(InvalidOption) as caught:
        check_option(EXAMPLE["count"], 3)
    shown = caught.value.shown_as(msg('"Count"'))
    assert shown.message == '"Count" is 3; it must be a multiple of 2 from 1 to 4,000.'
    assert shown.option == "count"


def test_a_type_that_cannot_be_shown_is_refused() -> None:
    made = dataclasses.make_dataclass(
        "Made", [("when", dict, field(default=None, metadata=option(msg("When"), msg("When."), "Basics")))]
    )
    with pytest.raises(TypeError, match="The option when has an unsupported type"):
        options_of(made)


def test_labels_must_match_the_choices() -> None:
    facts = option(msg("Which"), msg("Which one."), "Basics", choice_labels=(msg("One"),))
    made = dataclasses.make_dataclass("Made", [("which", Literal["a", "b"], field(default="a", metadata=facts))])
    with pytest.raises(TypeError, match="2 choices and 1 labels"):
        options_of(made)


def test_a_number_must_have_bounds() -> None:
    facts = option(msg("Many"), msg("How many."), "Basics", low=1)
    made = dataclasses.make_dataclass("Made", [("many", int, field(default=1, metadata=facts))])
    with pytest.raises(TypeError, match="The option many is a number without bounds"):
        options_of(made)


def test_every_option_of_a_run_is_declared_with_all_that_is_shown() -> None:
    assert [each.name for each in OPTIONS] == [each.name for each in dataclasses.fields(TrainingSpec)]
    assert [each.name for each in OPTIONS if not each.label or not each.help] == []
    assert len({each.label for each in OPTIONS}) == len(OPTIONS)
    assert [each.name for each in OPTIONS if each.default is not None and not _allows(each, each.default)] == []


def test_every_text_of_an_option_can_be_translated() -> None:
    texts = [text for each in OPTIONS for text in (each.label, each.help, *each.choice_labels, GROUP_LABELS[each.group])]
    assert [text for text in texts if not (isinstance(text, Message) and text.key == text)] == []
    assert [each.name for each in OPTIONS if each.kind == "choice" and not each.choice_labels] == []
    assert list(GROUP_LABELS) == list(get_args(Group))


def test_labels_are_found_by_name() -> None:
    assert (label_of("steps"), choice_label("encoders", "clip_g")) == ("Steps", "OpenCLIP-bigG")
    assert choice_label("encoders", "clip_h") == "clip_h"


def _allows(declared: Option, value: Any) -> bool:
    try:
        check_option(declared, value)
    except InvalidOption:
        return False
    return True
