"""Pickle virtual machine for plain data: no opcode imports or calls anything, or trusts a size that the pickle claims."""

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
from train_embedding.messages import msg

MAX_OPCODES = 20_000
"The pickle of an embedding has about a hundred."

_MAX_LINE = 4096
_TOO_LONG = msg("its pickle is too long for an embedding")
_NOT_THERE = msg("its pickle is invalid: it uses a missing value")
_FRAME = msg("its pickle has frames that different programs read differently")
_CUT_SHORT = msg("its pickle is cut short")
_EXTERNAL = msg("its pickle refers to external data")


class Stream(io.BytesIO):
    """A stream of at most `limit` bytes from `start` on. Reading past the limit raises NotData, unless the data ends there."""

    def __init__(self, data: bytes, start: int, limit: int) -> None:
        super().__init__(data)
        self.seek(start)
        self._last = min(len(data), start + limit)
        self._complete = self._last == len(data)

    @property
    def at_end(self) -> bool:
        """Whether all the data has been read."""
        return self._complete and self.tell() >= self._last

    def read(self, size: int | None = -1) -> bytes:
        if not self._complete and size is not None and size > self._last - self.tell():
            raise NotData(_TOO_LONG)
        return super().read(size)

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line of limited length, so that no number is as long as the file."""
        line = super().readline(_MAX_LINE)
        if not line.endswith(b"\n") and not self.at_end:
            raise NotData(msg("its pickle is invalid: a line is too long"))
        return line


class Machine:
    """The machine, whose methods are opcodes or steps of them.

    Attributes:
        disallowed: Dotted names of the globals that the pickle uses although they are not allowed.
        frame_end: Position where the current frame ends; 0 outside frames.
    """

    def __init__(self, stream: Stream, rules: Rules) -> None:
        self.stream = stream
        self.rules = rules
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.disallowed: list[str] = []
        self.frame_end = 0

    def run(self) -> object:
        """Execute the pickle and return its value.

        Raises:
            NotData: The pickle is damaged, or contains more than the rules allow.
        """
        for _ in range(MAX_OPCODES):
            self.check_frame()
            code = self.stream.read(1).decode("latin-1")
            if code not in _CODES:
                raise CutShort(_CUT_SHORT)
            if code == _STOP:
                if self.frame_end and self.stream.tell() != self.frame_end:
                    raise NotData(_FRAME)
                (made,) = self.last(1)
                return made
            opcode, act = _ACTIONS.get(code, (None, None))
            if opcode is None or act is None:
                raise NotData(msg("its pickle contains the opcode {code}, which no saved tensor needs", code=repr(code)))
            act(self, None if opcode.arg is None or code in _READ_BY_ACTION else opcode.arg.reader(self.stream))
        raise NotData(_TOO_LONG)

    def frame(self, size: int) -> None:
        """FRAME: allow one frame at a time; readers disagree about data in a frame after its pickle."""
        if self.frame_end:
            raise NotData(_FRAME)
        self.frame_end = self.stream.tell() + size

    def check_frame(self) -> None:
        """Check that a frame ends between two opcodes; after its end, opcodes need no frame."""
        if self.frame_end and self.stream.tell() >= self.frame_end:
            if self.stream.tell() > self.frame_end:
                raise NotData(_FRAME)
            self.frame_end = 0

    def since_mark(self) -> list[Any]:
        """Pop the values above the top mark, and the mark."""
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
        """Pop the top values."""
        taken = tuple(self.stack[len(self.stack) - count :])
        if len(taken) < count:
            raise CutShort(_NOT_THERE)
        del self.stack[len(self.stack) - count :]
        return taken

    def pop(self) -> None:
        """POP: discard the top mark if nothing was pushed since, else the top value."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.last(1)

    def name(self, text: str) -> None:
        """Push a global, given by its dotted name."""
        rules = self.rules
        if text not in rules.functions and text not in rules.classes and not rules.names(text):
            if not rules.skip_disallowed:
                raise UnsafePickle(text)
            self.disallowed.append(text)
            self.push(DisallowedGlobal(text))
        else:
            self.push(Name(text))

    def stacked_name(self) -> None:
        """STACK_GLOBAL: a global by two texts on the stack. Every reader rejects other values."""
        module, name = self.last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise CutShort(msg("its pickle is invalid: a name is not text"))
        if len(module) + len(name) > _MAX_LINE:
            raise NotData(msg("a name in its pickle is too long"))
        self.name(f"{module}.{name}")

    def spelled_name(self) -> None:
        """GLOBAL: a global by two lines of text."""
        module, name = self.stream.readline().decode("latin-1"), self.stream.readline().decode("latin-1")
        if name.endswith("\n"):
            self.name(f"{module[:-1]}.{name[:-1]}")
            return
        # The data ends here. Readers treat the line as complete, drop its last character and import the module.
        known = {known.rpartition(".")[0] for known in (*self.rules.functions, *self.rules.classes)}
        if not (module[:-1] in known if name else any(each.startswith(module[:-1]) for each in known)):
            self.name(f"{module[:-1]}.{name[:-1]}")
        raise CutShort(_CUT_SHORT)

    def reduce(self) -> None:
        """REDUCE: call a function; here, its replacement."""
        function, arguments = self.last(2)
        if isinstance(function, DisallowedGlobal):
            self.push(function)
            return
        if not isinstance(function, Name) or function.text not in self.rules.functions or not isinstance(arguments, tuple):
            raise NotData(msg("its pickle calls something that is not a function"))
        self.push(self.call(function.text, self.rules.functions[function.text], *cast("tuple[object, ...]", arguments)))

    def call(self, name: str, function: Callable[..., object], *arguments: object) -> object:
        """Call the replacement of a function; unsafe arguments count as a disallowed global."""
        try:
            return function(*arguments)
        except UnsafeArguments:
            if not self.rules.skip_disallowed:
                raise
            self.disallowed.append(name)
            return DisallowedGlobal(name)

    def new(self, cls: object, arguments: object) -> None:
        """NEWOBJ: create an object of a class; here, an Instance."""
        if isinstance(cls, DisallowedGlobal):
            self.push(cls)
            return
        if not isinstance(cls, Name) or cls.text not in self.rules.classes or arguments != ():
            raise NotData(msg("its pickle creates an object of something that is not a class"))
        self.push(Instance(cls.text))

    def instance(self) -> None:
        """INST: the arguments are on the stack, and the class follows as two lines of text."""
        arguments = tuple(cast("list[object]", self.since_mark()))
        self.spelled_name()
        self.new(self.last(1)[0], arguments)

    def object(self) -> None:
        """OBJ: the class is on the stack, below the arguments."""
        items = cast("list[object]", self.since_mark())
        if not items:
            raise CutShort(_NOT_THERE)
        cls, *arguments = items
        self.new(cls, tuple(arguments))

    def build(self) -> None:
        """BUILD: give a state to an object."""
        (state,) = self.last(1)
        target = self.top()
        if isinstance(target, Instance):
            target.state = state
        elif isinstance(target, Described):
            self.stack[-1] = self.call(target.name, target.take, state)
        elif not isinstance(target, dict | DisallowedGlobal):  # an OrderedDict may have attributes, which are ignored
            raise NotData(msg("its pickle gives a state to plain data"))

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, DisallowedGlobal):
            return
        if not isinstance(target, dict):
            raise NotData(msg("its pickle adds items to something that is not a dictionary"))
        cast("dict[object, object]", target).update(mapping(pairs_of(items)))

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, DisallowedGlobal):
            return
        if not isinstance(target, list):
            raise NotData(msg("its pickle adds items to something that is not a list"))
        cast("list[object]", target).extend(items)

    def persistent(self, reference: object) -> None:
        """BINPERSID: push the replacement for an object that is stored outside the pickle."""
        if isinstance(reference, str):  # torch rejects texts
            raise CutShort(_EXTERNAL)
        if self.rules.persistent is None or not isinstance(reference, tuple):
            raise NotData(_EXTERNAL)
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
    # A set is read as a list, so that its items need not be hashed.
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
    "BINPERSID": lambda machine, argument: machine.persistent(machine.last(1)[0]),
    "PERSID": lambda machine, argument: machine.persistent(argument),
}
_READ_BY_ACTION = ("c", "i")
"GLOBAL and INST, which read their argument themselves."
_ACTIONS = {opcode.code: (opcode, _BY_NAME[opcode.name]) for opcode in pickletools.opcodes if opcode.name in _BY_NAME}
