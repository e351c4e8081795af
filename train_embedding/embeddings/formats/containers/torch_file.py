"""`.pt` and `.bin`: what `torch.save` wrote, in either of its layouts, read without torch's unpickler."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch

from train_embedding.embeddings.embedding import MAX_ELEMENTS
from train_embedding.embeddings.formats.containers import zip_members
from train_embedding.embeddings.formats.containers.pickle_rules import AsksFor, Instance, Name, NotData, Rules, Stranger, mapping
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE, read_pickle
from train_embedding.embeddings.formats.content import Content, first_line, shown, unreadable
from train_embedding.errors import UnreadableFile

SUFFIXES: tuple[str, ...] = (".pt", ".bin")
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"The first of the five pickles that the layout before torch 1.6 begins with."

_PARAMETER_DICT = "torch.nn.modules.container.ParameterDict"
_STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_MAX_DIMENSIONS = 8
_MAX_PAIRS = 100


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    count: int

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the pickle describes it."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def sniff(data: bytes) -> bool:
    """Whether torch saved this, in either of its layouts."""
    return data.startswith((ZIP_MAGIC, LEGACY_MAGIC))


def read(data: bytes, file: str, leave_out: bool = False) -> Content:
    """The dictionary that was saved, with its tensors on the CPU. Raises UnreadableFile; nothing in the file is run.

    leave_out: reads a file that asks for more than data too, without what it asks for.
    """
    try:
        saved, bytes_of = _from_zip(data, file, leave_out) if data.startswith(ZIP_MAGIC) else _from_legacy(data, leave_out)
        if not isinstance(saved, dict):
            raise unreadable(file, f"holds a {_kind(saved)}, not the dictionary that an embedding is.")
        values = _plain(cast("dict[object, object]", saved), bytes_of)
    except UnreadableFile:
        raise
    except AsksFor as error:
        needed = shown(str(error))
        hint = "Delete it unless you trust where it came from."
        raise unreadable(file, f"asks for {needed}, which no embedding needs; nothing in it was run.", hint) from error
    except NotData as error:
        raise unreadable(file, f"is damaged or no embedding: {error}.") from error
    except Exception as error:  # what is amiss in a zip comes as nearly anything
        raise unreadable(file, f"is damaged or incomplete: {first_line(error)}") from error
    return Content(values, values)


def write(content: Content, suffix: str) -> bytes:
    """The bytes of a file that WebUI 1.10.1 reads, whatever torch is installed here or there; `metadata` has no place in it.

    The layout is that of torch before 1.6: the WebUI's safe unpickler takes the zip of torch 2.6 and newer for malicious.
    """
    packed = io.BytesIO()
    torch.save(dict(content.values), packed, _use_new_zipfile_serialization=False)
    return packed.getvalue()


def _from_legacy(data: bytes, leave_out: bool) -> tuple[object, Callable[[_Storage], bytes]]:
    """Four pickles (a magic number, a version, what kind of machine, the object), a fifth with the storages' keys, and these."""
    storages: dict[str, _Storage] = {}
    rules = _rules(storages, leave_out)
    position = len(LEGACY_MAGIC)
    _, position = read_pickle(data, rules, position)
    machine, position = read_pickle(data, rules, position)
    if isinstance(machine, dict) and cast("dict[object, object]", machine).get("little_endian") is False:
        raise NotData("it was saved on a big-endian machine")
    saved, position = read_pickle(data, rules, position)
    keys, position = read_pickle(data, rules, position)
    places: dict[str, tuple[int, int]] = {}
    for key in cast("list[str]", keys):
        storage = storages[key]
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        position += 8
        if count != storage.count or key in places:
            raise NotData("it is cut short, or holds other amounts of numbers than it says")
        places[key] = (position, position + storage.size)
        position += storage.size
    return saved, lambda storage: data[slice(*places[storage.key])]


def _from_zip(data: bytes, file: str, leave_out: bool) -> tuple[object, Callable[[_Storage], bytes]]:
    """A folder with the pickled object, its storages one by one, and what kind of machine it was."""
    archive = zip_members.opened(data, file)
    names = archive.namelist()
    pickled = next(name for name in names if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    saved, _ = read_pickle(zip_members.content(archive, pickled, MAX_PICKLE), _rules({}, leave_out))
    order = folder + "byteorder"
    if order in names and zip_members.content(archive, order, 16) != b"little":
        raise NotData("it was saved on a big-endian machine")
    return saved, lambda storage: zip_members.content(archive, f"{folder}data/{storage.key}", storage.size)


def _rules(storages: dict[str, _Storage], leave_out: bool) -> Rules:
    """What the pickle of a saved tensor may contain; the storages it names are put into `storages`."""

    def persistent(reference: Any) -> object:
        kind, *details = reference
        if kind == "module":  # a class beside its source code, as the old layout keeps it
            return details[0]
        if kind != "storage" or (len(details) == 5 and details[4] is not None):
            raise NotData("it refers to something else than a storage")
        name, key, _, count = details[:4]
        if not isinstance(name, Name) or not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise NotData("it names a storage that makes no sense")
        storage = _Storage(key, _STORAGES[name.text], count)
        if storages.setdefault(key, storage) != storage:
            raise NotData("it names one storage in two ways")
        return storage

    return Rules(_FUNCTIONS, (_PARAMETER_DICT,), lambda name: name in _STORAGES or name in _DTYPES, persistent, leave_out)


def _rebuilt(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> _Tensor:
    numbers = (offset, *size[:_MAX_DIMENSIONS], *stride[:_MAX_DIMENSIONS])
    sound = isinstance(storage, _Storage) and len(size) == len(stride) <= _MAX_DIMENSIONS
    if not sound or not all(isinstance(number, int) and 0 <= number < 2**62 for number in numbers):
        raise NotData("a tensor's size makes no sense")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_: object) -> object:
    return data


def _as_it_is(items: Any = ()) -> object:
    return items


def _ordered(pairs: Any = ()) -> object:
    if len(pairs) > _MAX_PAIRS:
        raise NotData("its pickle copies long lists")
    return mapping(pairs)


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _as_it_is,
    "builtins.set": _as_it_is,
    "__builtin__.set": _as_it_is,
    "collections.OrderedDict": _ordered,
}
_DTYPES = frozenset(str(dtype) for dtype in _STORAGES.values())
HARMLESS = frozenset({*_FUNCTIONS, *_STORAGES, *_DTYPES, _PARAMETER_DICT})
"Names that saved tensors ask for, and that do nothing but make them."


def _plain(saved: dict[object, object], bytes_of: Callable[[_Storage], bytes]) -> dict[str, object]:
    """The saved values with true tensors in them, one dictionary deep: no layout goes deeper."""
    loaded: dict[str, torch.Tensor] = {}

    def storage(of: _Storage) -> torch.Tensor:
        if of.key not in loaded:
            content = bytes_of(of)
            if len(content) < of.size:
                raise NotData("it is cut short")
            loaded[of.key] = torch.frombuffer(bytearray(content), dtype=of.dtype)
        return loaded[of.key]

    def tensor(described: _Tensor) -> torch.Tensor:
        if math.prod(described.size) > MAX_ELEMENTS:
            raise NotData(f"it claims a tensor of {' × '.join(map(str, described.size))} numbers, which is too many")
        if 0 in described.size:
            return torch.empty(described.size, dtype=described.storage.dtype)
        steps = zip(described.size, described.stride, strict=True)
        if described.offset + sum((count - 1) * step for count, step in steps) >= described.storage.count:
            raise NotData("a tensor of it reaches beyond the numbers that there are")
        return storage(described.storage).as_strided(described.size, described.stride, described.offset)

    def plain(value: object, deeper: bool) -> object:
        if isinstance(value, _Tensor):
            return tensor(value)
        if isinstance(value, Instance):  # a ParameterDict keeps what it holds in this attribute
            state = value.state
            value = cast("dict[object, object]", state).get("_parameters") if isinstance(state, dict) else None
        if deeper and isinstance(value, dict):
            return values(cast("dict[object, object]", value), False)
        return value

    def values(of: dict[object, object], deeper: bool) -> dict[str, object]:
        return {str(key): plain(each, deeper) for key, each in of.items() if not isinstance(each, Stranger)}

    return values(saved, True)


def _kind(saved: object) -> str:
    return "tensor" if isinstance(saved, _Tensor) else saved.name if isinstance(saved, Instance) else type(saved).__name__
