"""Python's pickle machine over plain data: no opcode imports or calls anything, or believes a size that it is told."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any, cast

from train_embedding.embeddings.formats.containers.pickle_rules import (
    CutShort,
    Described,
    DisallowedGlobal,
    Instance,
    Name,
    NotData,
    Rules,
    UnsafeArguments,
    UnsafePickle,
    mapping,
    pairs_of,
)

MAX_OPCODES = 20_000
"A saved embedding has about a hundred."

_MAX_LINE = 4096
_TOO_LONG = "its pickle is longer than that of any embedding"
_NOT_THERE = "its pickle makes no sense, and takes what is not there"
_FRAME = "its pickle has frames that programs may read in different ways"


class Stream(io.BytesIO):
    """The bytes from `start` on, of which at most `limit` are read: what ends there was not cut short, but is too long."""

    def __init__(self, data: bytes, start: int, limit: int) -> None:
        super().__init__(data)
        self.seek(start)
        self._last = min(len(data), start + limit)
        self._complete = self._last == len(data)

    @property
    def at_end(self) -> bool:
        """Whether all bytes that there are have been read."""
        return self._complete and self.tell() >= self._last

    def read(self, size: int | None = -1) -> bytes:
        if not self._complete and size is not None and size > self._last - self.tell():
            raise NotData(_TOO_LONG)
        return super().read(size)

    def readline(self, size: int | None = -1) -> bytes:
        """At most a line's worth, so that no number is as long as the file."""
        line = super().readline(_MAX_LINE)
        if not line.endswith(b"\n") and not self.at_end:
            raise NotData("its pickle makes no sense (a line is too long)")
        return line


class Machine:
    def __init__(self, stream: Stream, rules: Rules) -> None:
        self.stream = stream
        self.rules = rules
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.disallowed: list[str] = []
        self.frame_end = 0

    def run(self) -> object:
        for _ in range(MAX_OPCODES):
            self.check_frame()
            code = self.stream.read(1).decode("latin-1")
            if code not in _CODES:
                raise CutShort("its pickle is cut short")
            if code == _STOP:
                if self.frame_end and self.stream.tell() != self.frame_end:
                    raise NotData(_FRAME)
                (made,) = self.last(1)
                return made
            opcode, act = _ACTIONS.get(code, (None, None))
            if opcode is None or act is None:
                raise NotData(f"its pickle has the opcode {code!r}, which no saved tensor needs")
            act(self, None if opcode.arg is None or code in _READ_BY_ACTION else opcode.arg.reader(self.stream))
        raise NotData(_TOO_LONG)

    def frame(self, size: int) -> None:
        """FRAME: what a frame holds besides its pickle is lost to some readers, and the next pickle to others."""
        if self.frame_end:
            raise NotData(_FRAME)
        self.frame_end = self.stream.tell() + size

    def check_frame(self) -> None:
        """A frame ends between two opcodes; past its end, opcodes may stand without one."""
        if self.frame_end and self.stream.tell() >= self.frame_end:
            if self.stream.tell() > self.frame_end:
                raise NotData(_FRAME)
            self.frame_end = 0

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise CutShort(_NOT_THERE)
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def top(self) -> Any:
        if not self.stack:
            raise CutShort(_NOT_THERE)
        return self.stack[-1]

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise CutShort(_NOT_THERE)
        self.push(self.memo[index])

    def push(self, value: object) -> None:
        self.stack.append(value)

    def last(self, count: int) -> tuple[Any, ...]:
        """Takes the last values off the stack."""
        taken = tuple(self.stack[len(self.stack) - count :])
        if len(taken) < count:
            raise CutShort(_NOT_THERE)
        del self.stack[len(self.stack) - count :]
        return taken

    def pop(self) -> None:
        """Takes a mark off where that is what comes last."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.last(1)

    def name(self, text: str) -> None:
        rules = self.rules
        if text not in rules.functions and text not in rules.classes and not rules.names(text):
            if not rules.skip_disallowed:
                raise UnsafePickle(text)
            self.disallowed.append(text)
            self.push(DisallowedGlobal(text))
        else:
            self.push(Name(text))

    def stacked_name(self) -> None:
        """STACK_GLOBAL: no reader takes anything but texts, and of tuples in tuples the text would have no end."""
        module, name = self.last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise CutShort("its pickle has a name that is no text")
        if len(module) + len(name) > _MAX_LINE:
            raise NotData("its pickle has a name that is too long")
        self.name(f"{module}.{name}")

    def spelled_name(self) -> None:
        """GLOBAL: a name in two lines."""
        module, name = self.stream.readline().decode("latin-1"), self.stream.readline().decode("latin-1")
        if name.endswith("\n"):
            self.name(f"{module[:-1]}.{name[:-1]}")
            return
        # The file ends here. Readers take the last line for complete, without its last letter, and import the module.
        known = {known.rpartition(".")[0] for known in (*self.rules.functions, *self.rules.classes)}
        if not (module[:-1] in known if name else any(each.startswith(module[:-1]) for each in known)):
            self.name(f"{module[:-1]}.{name[:-1]}")
        raise CutShort("its pickle is cut short")

    def reduce(self) -> None:
        function, arguments = self.last(2)
        if isinstance(function, DisallowedGlobal):
            self.push(function)
            return
        if not isinstance(function, Name) or function.text not in self.rules.functions or not isinstance(arguments, tuple):
            raise NotData("its pickle calls something that is no function")
        self.push(self.made(function.text, self.rules.functions[function.text], *cast("tuple[object, ...]", arguments)))

    def made(self, name: str, function: Callable[..., object], *arguments: object) -> object:
        """What the function makes of the arguments; unsafe arguments count as a disallowed global."""
        try:
            return function(*arguments)
        except UnsafeArguments:
            if not self.rules.skip_disallowed:
                raise
            self.disallowed.append(name)
            return DisallowedGlobal(name)

    def new(self, made: object, arguments: object) -> None:
        if isinstance(made, DisallowedGlobal):
            self.push(made)
            return
        if not isinstance(made, Name) or made.text not in self.rules.classes or arguments != ():
            raise NotData("its pickle makes an object of something that is no class")
        self.push(Instance(made.text))

    def instance(self) -> None:
        """INST: the class is named last, behind what it is made of."""
        arguments = tuple(cast("list[object]", self.since_mark()))
        self.spelled_name()
        self.new(self.last(1)[0], arguments)

    def object(self) -> None:
        """OBJ: the class stands first, before what it is made of."""
        items = cast("list[object]", self.since_mark())
        if not items:
            raise CutShort(_NOT_THERE)
        made, *arguments = items
        self.new(made, tuple(arguments))

    def build(self) -> None:
        (state,) = self.last(1)
        target = self.top()
        if isinstance(target, Instance):
            target.state = state
        elif isinstance(target, Described):
            self.stack[-1] = self.made(target.name, target.take, state)
        elif not isinstance(target, dict | DisallowedGlobal):  # an OrderedDict may have attributes, which mean nothing here
            raise NotData("its pickle gives a state to plain data")

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, DisallowedGlobal):
            return
        if not isinstance(target, dict):
            raise NotData("its pickle fills something that is no dictionary")
        cast("dict[object, object]", target).update(mapping(pairs_of(items)))

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, DisallowedGlobal):
            return
        if not isinstance(target, list):
            raise NotData("its pickle fills something that is no list")
        cast("list[object]", target).extend(items)

    def outside(self, reference: object) -> None:
        if isinstance(reference, str):  # which torch does not take for one of its storages
            raise CutShort("its pickle refers to something outside")
        if self.rules.persistent is None or not isinstance(reference, tuple):
            raise NotData("its pickle refers to something outside")
        self.push(self.rules.persistent(cast("tuple[object, ...]", reference)))


_STOP = "."
_CODES = frozenset(opcode.code for opcode in pickletools.opcodes)
_Action = Callable[[Machine, Any], object]
_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_BY_NAME: dict[str, _Action] = {
    **{name: lambda machine, argument: machine.push(argument) for name in _VALUES},
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: machine.frame(argument),
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "MARK": lambda machine, argument: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, argument: machine.pop(),
    "POP_MARK": lambda machine, argument: machine.since_mark(),
    "DUP": lambda machine, argument: machine.push(machine.top()),
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
    "DICT": lambda machine, argument: machine.push(mapping(pairs_of(machine.since_mark()))),
    "SETITEM": lambda machine, argument: machine.set_items(list(machine.last(2))),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.since_mark()),
    "APPEND": lambda machine, argument: machine.append(list(machine.last(1))),
    "APPENDS": lambda machine, argument: machine.append(machine.since_mark()),
    "PUT": lambda machine, argument: machine.remember(argument),
    "BINPUT": lambda machine, argument: machine.remember(argument),
    "LONG_BINPUT": lambda machine, argument: machine.remember(argument),
    "MEMOIZE": lambda machine, argument: machine.remember(len(machine.memo)),
    "GET": lambda machine, argument: machine.recall(argument),
    "BINGET": lambda machine, argument: machine.recall(argument),
    "LONG_BINGET": lambda machine, argument: machine.recall(argument),
    "GLOBAL": lambda machine, argument: machine.spelled_name(),
    "STACK_GLOBAL": lambda machine, argument: machine.stacked_name(),
    "REDUCE": lambda machine, argument: machine.reduce(),
    "NEWOBJ": lambda machine, argument: machine.new(*machine.last(2)),
    "NEWOBJ_EX": lambda machine, argument: machine.new(*machine.last(3)[:2]),
    "INST": lambda machine, argument: machine.instance(),
    "OBJ": lambda machine, argument: machine.object(),
    "BUILD": lambda machine, argument: machine.build(),
    "BINPERSID": lambda machine, argument: machine.outside(machine.last(1)[0]),
    "PERSID": lambda machine, argument: machine.outside(argument),
}
_READ_BY_ACTION = ("c", "i")
"GLOBAL and INST."
_ACTIONS = {opcode.code: (opcode, _BY_NAME[opcode.name]) for opcode in pickletools.opcodes if opcode.name in _BY_NAME}
