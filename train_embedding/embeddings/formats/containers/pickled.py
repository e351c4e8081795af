"""A pickle read as plain data: nothing is imported, nothing is called, and no size that it names is believed.

Python's unpickler and torch's reserve what a pickle asks them to: nine bytes can claim a memo of four billion entries, a
storage of a terabyte. Here a name stays a name, and the few functions that a tensor needs are given by the caller. Work
and memory are bounded by the number of opcodes and by the bytes there are.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

MAX_OPCODES = 20_000
"A saved embedding has about a hundred."
MAX_PICKLE = 2 * 2**20
"Bytes. torch's old layout keeps the source code of a ParameterDict, some 30 KB."

_MAX_LINE = 4096
_MAX_KEY = 2**63


class NotData(Exception):
    """A pickle that is damaged, or is more than data."""


class AsksFor(NotData):
    """A pickle that asks for something that no data needs; the message is its dotted name."""


@dataclass(frozen=True)
class Name:
    """Something that a pickle names, such as "torch.FloatStorage". It is never looked up."""

    text: str


@dataclass
class Instance:
    """What a pickle takes for an object of that class: its state, and nothing of the class."""

    name: str
    state: object = None


@dataclass(frozen=True)
class Rules:
    """What a pickle may contain besides plain values."""

    functions: Mapping[str, Callable[..., object]]
    "What stands in for a function of that name."
    classes: Collection[str] = ()
    "Names whose objects become an Instance."
    names: Callable[[str], bool] = lambda name: False
    "Whether another name may stand as a value."
    persistent: Callable[[object], object] | None = None
    "What stands in for an object that lies outside the pickle."


def read_pickle(data: bytes, rules: Rules, start: int = 0) -> tuple[object, int]:
    """The value that begins at `start`, and where it ends. Raises NotData."""
    machine = _Machine(_Stream(data[start : start + MAX_PICKLE]), rules)
    try:
        return machine.run(), start + machine.stream.tell()
    except NotData:
        raise
    except Exception as error:  # whatever is amiss: a missing operand, a wrong type, bytes that end
        raise NotData(f"its pickle makes no sense ({type(error).__name__})") from error


def mapping(pairs: Iterable[Any] = ()) -> dict[object, object]:
    """A dictionary of pairs, its keys texts or numbers. Raises NotData: other keys can take forever to hash."""
    made: dict[object, object] = {}
    for key, value in pairs:
        if not isinstance(key, str | bytes) and not (isinstance(key, int) and abs(key) < _MAX_KEY):
            raise NotData(f"its pickle has a {type(key).__name__} for a key")
        made[key] = value
    return made


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


class _Stream(io.BytesIO):
    def readline(self, size: int | None = -1) -> bytes:
        """At most a line's worth, so that no number is as long as the file."""
        return super().readline(_MAX_LINE)


class _Machine:
    def __init__(self, stream: _Stream, rules: Rules) -> None:
        self.stream = stream
        self.rules = rules
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        for _ in range(MAX_OPCODES):
            code = self.stream.read(1).decode("latin-1")
            if not code:
                raise NotData("its pickle is cut short")
            if code == _STOP:
                return self.stack.pop()
            opcode, act = _ACTIONS.get(code, (None, None))
            if opcode is None or act is None:
                raise NotData(f"its pickle has the opcode {code!r}, which no saved tensor needs")
            act(self, None if opcode.arg is None else opcode.arg.reader(self.stream))
        raise NotData("its pickle is longer than that of any embedding")

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def push(self, value: object) -> None:
        self.stack.append(value)

    def last(self, count: int) -> tuple[Any, ...]:
        """Takes the last values off the stack."""
        taken = tuple(self.stack[len(self.stack) - count :])
        if len(taken) < count:
            raise NotData("its pickle takes what is not there")
        del self.stack[len(self.stack) - count :]
        return taken

    def name(self, text: str) -> None:
        rules = self.rules
        if text not in rules.functions and text not in rules.classes and not rules.names(text):
            raise AsksFor(text)
        self.push(Name(text))

    def reduce(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, Name) or function.text not in self.rules.functions or not isinstance(arguments, tuple):
            raise NotData("its pickle calls something that is no function")
        self.push(self.rules.functions[function.text](*cast("tuple[object, ...]", arguments)))

    def new(self) -> None:
        made, arguments = self.last(2)
        if not isinstance(made, Name) or made.text not in self.rules.classes or arguments != ():
            raise NotData("its pickle makes an object of something that is no class")
        self.push(Instance(made.text))

    def build(self) -> None:
        (state,) = self.last(1)
        target = self.stack[-1]
        if isinstance(target, Instance):
            target.state = state
        elif not isinstance(target, dict):  # an OrderedDict may have attributes, which mean nothing here
            raise NotData("its pickle gives a state to plain data")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise NotData("its pickle fills something that is no dictionary")
        cast("dict[object, object]", target).update(mapping(_pairs(items)))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise NotData("its pickle fills something that is no list")
        cast("list[object]", target).extend(items)

    def outside(self, reference: object) -> None:
        if self.rules.persistent is None:
            raise NotData("its pickle refers to something outside")
        self.push(self.rules.persistent(reference))


_STOP = "."
_Action = Callable[[_Machine, Any], object]
_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_BY_NAME: dict[str, _Action] = {
    **{name: lambda machine, argument: machine.push(argument) for name in _VALUES},
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "MARK": lambda machine, argument: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, argument: machine.last(1),
    "DUP": lambda machine, argument: machine.push(machine.stack[-1]),
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "EMPTY_LIST": lambda machine, argument: machine.push([]),
    "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
    # A set is read as the list of what it holds, which need not be hashed then.
    "EMPTY_SET": lambda machine, argument: machine.push([]),
    "ADDITEMS": lambda machine, argument: machine.append(machine.since_mark()),
    "LIST": lambda machine, argument: machine.push(machine.since_mark()),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, argument: machine.push(machine.last(1)),
    "TUPLE2": lambda machine, argument: machine.push(machine.last(2)),
    "TUPLE3": lambda machine, argument: machine.push(machine.last(3)),
    "DICT": lambda machine, argument: machine.push(mapping(_pairs(machine.since_mark()))),
    "SETITEM": lambda machine, argument: machine.set_items(list(machine.last(2))),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.since_mark()),
    "APPEND": lambda machine, argument: machine.append(list(machine.last(1))),
    "APPENDS": lambda machine, argument: machine.append(machine.since_mark()),
    "PUT": lambda machine, argument: machine.memo.update({argument: machine.stack[-1]}),
    "BINPUT": lambda machine, argument: machine.memo.update({argument: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, argument: machine.memo.update({argument: machine.stack[-1]}),
    "MEMOIZE": lambda machine, argument: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    "GET": lambda machine, argument: machine.push(machine.memo[argument]),
    "BINGET": lambda machine, argument: machine.push(machine.memo[argument]),
    "LONG_BINGET": lambda machine, argument: machine.push(machine.memo[argument]),
    "GLOBAL": lambda machine, argument: machine.name(".".join(str(argument).split(" "))),
    "STACK_GLOBAL": lambda machine, argument: machine.name(".".join(str(part) for part in machine.last(2))),
    "REDUCE": lambda machine, argument: machine.reduce(),
    "NEWOBJ": lambda machine, argument: machine.new(),
    "BUILD": lambda machine, argument: machine.build(),
    "BINPERSID": lambda machine, argument: machine.outside(machine.last(1)[0]),
}
_ACTIONS = {opcode.code: (opcode, _BY_NAME[opcode.name]) for opcode in pickletools.opcodes if opcode.name in _BY_NAME}
