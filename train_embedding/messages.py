"""Texts for people: an English sentence that remembers its template and values, so that a front end can translate it.

A `Message` is a `str`, the English text, and works wherever text works: logs, the command line, the API. A front end that
shows another language passes it to `translations.translate`, which fills in the translated template.

    msg("{name} is already taken.", name="my-cat")
    plural("{count} image", "{count} images", 8)
    joined([msg("Finished"), plural("{count} step", "{count} steps", 306)], DOT)
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_SPEC = re.compile(r"[<>]?\d{0,2},?(\.\d)?[degfs%]?")
"Format specifications that a template may use: none that makes a text of any length."


class Message(str):
    """A text for people in English, with what is needed to say it in another language.

    Attributes:
        key: The English template, such as "{name} is already taken."; what catalogues are looked up by. Empty for text that is
            the same in every language.
        plural_key: The template for other counts than 1; empty where no count matters.
        values: What the template's fields stand for. Values that are messages are translated too.
        parts: For a text that `joined` has made: its pieces, with `key` as the separator.
    """

    key: str
    plural_key: str
    values: Mapping[str, object]
    parts: Sequence[str]

    def __new__(
        cls, text: str = "", *, key: str = "", plural_key: str = "", values: Mapping[str, object] | None = None,
        parts: Sequence[str] = (),
    ) -> Message:  # fmt: skip
        """Make a message from its English text; `msg`, `plural` and `joined` do so from a template."""
        message = super().__new__(cls, text)
        message.key, message.plural_key, message.values, message.parts = key, plural_key, values or {}, tuple(parts)
        return message

    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> tuple[Callable[..., Message], tuple[object, ...]]:
        return _restore, (str(self), self.key, self.plural_key, dict(self.values), tuple(self.parts))


class _Formatter(string.Formatter):
    """`str.format` for named fields with short format specifications only: templates may come from a file."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        if not field_name.isidentifier():
            raise ValueError(f"{field_name!r} is no plain name")
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if not _SPEC.fullmatch(format_spec):
            raise ValueError(f"{format_spec!r} is not a format that messages use")
        return format(value, format_spec)


_FORMATTER = _Formatter()


def fill(template: str, values: Mapping[str, object]) -> str:
    """Put values into the fields of a template; without values, braces are literal.

    Raises:
        ValueError: The template has a field that is no plain name, or a format that could make a text of any length.
        KeyError: A value is missing.
    """
    return _FORMATTER.vformat(template, (), values) if values else template


def _message(key: str, plural_key: str, values: Mapping[str, object]) -> Message:
    values = {name: value if isinstance(value, str | int | float) else str(value) for name, value in values.items()}
    template = plural_key if plural_key and values.get("count") != 1 else key
    return Message(fill(template, values), key=key, plural_key=plural_key, values=values)


NOTHING = Message()
"No text at all."


def msg(key: LiteralString, /, **values: object) -> Message:
    """Make a message from a template.

    Args:
        key: The English sentence, a literal, with a field such as `{name}` or `{loss:.4f}` for each value. Without values,
            braces are literal.
        values: What the fields stand for: text, numbers, paths, or further messages.
    """
    return _message(key, "", values)


def plural(singular: LiteralString, others: LiteralString, count: int, /, **values: object) -> Message:
    """Make a message that depends on a count, which is the value of `{count}`.

    Args:
        singular: The English template for 1.
        others: The English template for every other count.
        count: How many there are.
        values: Further values.
    """
    return _message(singular, others, {**values, "count": count})


def verbatim(text: str) -> Message:
    """Make a message from text that no language changes: a name, a number, or what another program has said."""
    return Message(text)


COMMA = msg(", ")
SPACE = verbatim(" ")
"Between sentences; languages that have no space there leave it out."
DOT = verbatim(" · ")
COLON = msg(": ")


def joined(parts: Iterable[str], separator: Message = COMMA) -> Message:
    """Join texts, leaving out empty ones; messages among them stay translatable, and so does the separator."""
    pieces = tuple(part for part in parts if part)
    return Message(separator.join(pieces), key=separator.key or str(separator), parts=pieces)


def map_values(message: str, change: Callable[[str], str]) -> Message:
    """Change the texts that are the values of a message, such as names and the words of other programs; templates stay."""
    if not isinstance(message, Message) or not (message.key or message.parts):
        return verbatim(change(str(message)))
    if message.parts:
        return joined([map_values(part, change) for part in message.parts], Message(message.key, key=message.key))
    values = {name: map_values(value, change) if isinstance(value, str) else value for name, value in message.values.items()}
    return _message(message.key, message.plural_key, values)


def replace_labels(message: str, names: Mapping[str, str]) -> Message:
    """Replace the labels that a message quotes by other names, such as those of command-line options.

    Args:
        message: Its labels are values that are messages themselves.
        names: By the templates of the labels.
    """
    if not isinstance(message, Message):
        return verbatim(message)
    if message.parts:
        return joined([replace_labels(part, names) for part in message.parts], Message(message.key, key=message.key))
    if not message.values:
        return verbatim(names[message.key]) if message.key in names else message
    values = {name: replace_labels(value, names) if isinstance(value, str) else value for name, value in message.values.items()}
    return _message(message.key, message.plural_key, values)


def encode(message: str) -> Any:
    """Convert a text to JSON values, from which `decode` makes the same message."""
    if not isinstance(message, Message) or not (message.key or message.parts):
        return str(message)
    encoded: dict[str, Any] = {"text": str(message), "key": message.key}
    if message.plural_key:
        encoded["plural_key"] = message.plural_key
    if message.values:
        encoded["values"] = {name: _encode_value(value) for name, value in message.values.items()}
    if message.parts:
        encoded["parts"] = [encode(part) for part in message.parts]
    return encoded


def decode(value: Any) -> Message:
    """Convert JSON values to the message that was encoded. A template that does not give the recorded text is ignored.

    Raises:
        ValueError: The values are not those of a text.
    """
    if isinstance(value, str):
        return verbatim(value)
    fields = _mapping(value)
    text = fields.get("text")
    if not isinstance(text, str):
        raise ValueError("a message has no text")
    message = _decoded(fields)
    return message if message == text else verbatim(text)


def _restore(text: str, key: str, plural_key: str, values: dict[str, object], parts: tuple[str, ...]) -> Message:
    return Message(text, key=key, plural_key=plural_key, values=values, parts=parts)


def _encode_value(value: object) -> Any:
    return encode(value) if isinstance(value, str) else value


def _decoded(fields: Mapping[str, Any]) -> Message:
    key, plural_key = str(fields.get("key", "")), str(fields.get("plural_key", ""))
    if "parts" in fields:
        parts = fields["parts"]
        if not isinstance(parts, list):
            raise ValueError("the parts of a message are not a list")
        return joined([decode(part) for part in cast("list[Any]", parts)], Message(key, key=key))
    values = {
        name: decode(value) if isinstance(value, str | dict) else value
        for name, value in _mapping(fields.get("values", {})).items()
    }
    try:
        return _message(key, plural_key, values)
    except (KeyError, ValueError, TypeError):
        return NOTHING


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a message is neither text nor an object")
    return {str(name): item for name, item in cast("dict[Any, Any]", value).items()}
