"""Malicious files for `benchmarks.hostile_files` and the tests of the formats."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save

from train_embedding.embeddings.formats.containers.png_text import KEYWORD
from train_embedding.embeddings.formats.containers.torch_file import LEGACY_MAGIC
from train_embedding.images.png import SIGNATURE, make_chunk

MEBI = 2**20
_ZEROS = bytes(MEBI)


@dataclass(frozen=True)
class Case:
    """A malicious file; `make` returns its bytes, given the path of a file that the payload would create if it ran."""

    name: str
    suffix: str
    make: Callable[[str], bytes]
    reads: bool = False
    "Whether it is odd but sound, so that it reads."
    hidden: bool = False
    "Whether what it runs stands where a careful reader does not go, so that it can only be told that nothing is proved of it."


def cases() -> list[Case]:
    """Return all malicious files."""
    return [*_calls(), *_hidden(), *_pickles(), *_tensors(), *_arrays(), *_zips(), *_safetensors(), *_texts(), *_images()]


# --- files that would run something ---


class Calls:
    """An object that calls a function when Python's pickle reads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def legacy_file(*parts: bytes) -> bytes:
    """Make a file of torch's old layout with the given pickles and storages, from the fourth pickle on."""
    return LEGACY_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + b"".join(parts)


def zip_file(pickled: bytes, storages: tuple[bytes, ...] = (), compression: int = zipfile.ZIP_STORED) -> bytes:
    """Make a file of torch's new layout with the given pickle and storages."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for number, content in enumerate(storages):
            archive.writestr(f"archive/data/{number}", content)
    return packed.getvalue()


def vectors_and_call(marker: str, zipped: bool) -> bytes:
    """Make an embedding as the WebUI saves it, 2 vectors of 768 ones, that also calls `touch`."""
    values = {
        "string_to_param": {"*": torch.ones(2, 768)},
        "name": "evil",
        "step": 7,
        "more": Calls(os.system, f"touch '{marker}'"),
    }
    packed = io.BytesIO()
    torch.save(values, packed, _use_new_zipfile_serialization=zipped)
    return packed.getvalue()


def _calls() -> Iterator[Case]:
    def touches(marker: str, protocol: int) -> bytes:
        return pickle.dumps({"string_to_param": {"*": Calls(os.system, f"touch '{marker}'")}}, protocol)

    for protocol in range(6):
        yield Case(f"`os.system`, protocol {protocol}, zip", ".pt", lambda m, p=protocol: zip_file(touches(m, p)))
        yield Case(
            f"`os.system`, protocol {protocol}, old layout",
            ".pt",
            lambda m, p=protocol: legacy_file(touches(m, p), pickle.dumps([])),
        )
    yield Case("`builtins.eval`", ".bin", lambda m: zip_file(pickle.dumps({"*": Calls(eval, f"open({m!r}, 'w')")}, 2)))
    yield Case("`os.system` in the last of the five pickles", ".pt", lambda m: legacy_file(pickle.dumps({}, 2), touches(m, 2)))
    yield Case(
        "`os.system` inside what another call is given",
        ".pt",
        lambda m: zip_file(pickle.dumps(Calls(getattr, Calls(os.system, f"touch '{m}'"), "x"), 2)),
    )
    yield Case("`os.system` beside sound vectors, zip", ".pt", lambda m: vectors_and_call(m, True))
    yield Case("`os.system` beside sound vectors, old layout", ".bin", lambda m: vectors_and_call(m, False))
    yield Case("an import alone (`import antigravity`)", ".pt", lambda m: zip_file(b"\x80\x02cantigravity\ngeohash\n."))
    yield Case("the opcode INST", ".pt", lambda m: zip_file(f"(S'touch {m}'\nios\nsystem\n.".encode()))
    yield Case("the opcode EXT1", ".pt", lambda m: zip_file(b"\x80\x02\x82\x01."))
    yield Case("the opcode NEWOBJ_EX", ".pt", lambda m: zip_file(b"\x80\x04)}\x92."))
    yield Case("a state for `__setstate__`", ".pt", lambda m: zip_file(b"\x80\x02ctorch\nFloatStorage\n}b."))
    yield Case("a TorchScript archive (CVE-2025-32434)", ".pt", lambda m: _torchscript())


def _torchscript() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__/evil.py", "version"):
            archive.writestr(f"archive/{name}", b"\x80\x02}.")
    return packed.getvalue()


def _hidden() -> Iterator[Case]:
    def touches(marker: str) -> bytes:
        return f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()

    pad = 2 * MEBI - 8
    long = b"\x80\x02X" + struct.pack("<I", pad) + b"a" * pad + b"0"
    yield Case("`os.system` behind 2 MB of pickle, bare", ".pt", lambda m: long + touches(m), hidden=True)
    yield Case("`os.system` behind 2 MB of pickle, zip", ".pt", lambda m: zip_file(long + touches(m)), hidden=True)
    yield Case("`os.system` in the last of two members of one name", ".pt", lambda m: _twice(touches(m)), hidden=True)


def _twice(pickled: bytes) -> bytes:
    packed = io.BytesIO(zip_file(tensor_pickle(), (bytes(16),)))
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "a") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of the name that is there twice
        archive.writestr("archive/data.pkl", pickled)
    return packed.getvalue()


# --- pickles that would fill the memory or never end ---


def _pickles() -> Iterator[Case]:
    yield Case("a memo of 4 billion entries", ".pt", lambda m: zip_file(b"\x80\x02}r\xff\xff\xff\xff."))
    yield Case("a text of 2⁶² bytes", ".pt", lambda m: zip_file(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x."))
    yield Case("bytes of 2⁶² bytes", ".pt", lambda m: zip_file(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x."))
    yield Case("a frame of 2⁶² bytes", ".pt", lambda m: zip_file(b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}."))
    yield Case("a number of 2³¹ bytes", ".pt", lambda m: zip_file(b"\x80\x02\x8b\xff\xff\xff\x7f\x01."))
    yield Case("a number of a million digits", ".pt", lambda m: zip_file(b"L" + b"9" * 10**6 + b"L\n."))
    yield Case("lists nested 15,000 deep", ".pt", lambda m: zip_file(b"\x80\x02" + b"]" * 15_000 + b"a" * 14_999 + b"."))
    nested = b"\x80\x04)" + b"2\x86" * 60 + b"2\x93."
    yield Case("a name of tuples 60 deep, each twice", ".pt", lambda m: zip_file(nested))
    yield Case("a key that takes 2⁶⁰ steps to hash", ".pt", lambda m: zip_file(b"\x80\x02})" + b"2\x86" * 60 + b"Ns."))
    yield Case("keys that collide", ".pt", lambda m: zip_file(_colliding()))
    yield Case("one dictionary under 5,000 keys", ".pt", lambda m: zip_file(_shared()))
    yield Case("a list copied again and again", ".pt", lambda m: zip_file(_copying()))
    yield Case("20 million opcodes", ".pt", lambda m: zip_file(b"\x80\x02" + b"N0" * 10**7 + b"}.", (), zipfile.ZIP_DEFLATED))
    yield Case("a pickle of 30 MB of text", ".pt", lambda m: zip_file(pickle.dumps({"x": "x" * 30 * MEBI}, 2)))
    yield Case("9,900 keys of one text of 4 kB", ".pt", lambda m: zip_file(_one_text()))
    names = b"X" + struct.pack("<I", MEBI) + b"a" * MEBI + b"q\0" + b"h\0\x930" * 4_000
    yield Case("4,000 names of 2 MB each, of one text", ".pt", lambda m: zip_file(b"\x80\x04" + names + b"."))
    key = b"B" + struct.pack("<I", MEBI) + b"\xff" * MEBI + b"q\x000"
    keys = b"".join(b"M" + struct.pack("<H", number) + b"}h\0Ns" for number in range(3_000))
    yield Case("3,000 dictionaries with one key of 1 MB", ".pt", lambda m: zip_file(b"\x80\x03" + key + b"}(" + keys + b"u."))
    yield Case("the operand of an opcode missing", ".pt", lambda m: zip_file(b"\x80\x02R."))


def _colliding() -> bytes:
    keys = b"".join(b"\x8a\x08" + struct.pack("<q", number << 40) + b"N" for number in range(1, 9_000))
    return b"\x80\x02}(" + keys + b"u."


def _shared() -> bytes:
    keys = [b"M" + struct.pack("<H", number) for number in range(4_900)]
    return b"\x80\x02}(K\0}q\0(" + b"N".join(keys) + b"Nu" + b"h\0".join(keys) + b"h\0u."


def _one_text() -> bytes:
    text = b"X" + struct.pack("<I", 4096) + b"x" * 4096 + b"q\x010"
    return b"\x80\x02}" + text + b"(" + b"".join(b"M" + struct.pack("<H", number) + b"h\x01" for number in range(9_900)) + b"u."


def _copying() -> bytes:
    pair = b"K\x01N\x86"
    return b"\x80\x02(" + pair * 2_000 + b"l\x85q\x000" + b"ccollections\nOrderedDict\nh\x00R" * 2_000 + b"."


# --- tensors that lie about themselves ---


def tensor_pickle(
    count: int = 4,
    size: str = "(K\x02K\x02t",
    stride: str = "(K\x02K\x01t",
    function: str = "_rebuild_tensor_v2",
    times: int = 1,
    apart: bool = False,
) -> bytes:
    """The pickle of a dictionary with a tensor [2, 2] in fp32, or with what is asked for instead.

    count: of the numbers in its storage; times: how many such tensors; apart: whether each has a storage of its own.
    """
    items = b""
    for number in range(times):
        key = _text(str(number if apart else 0))
        storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + key + _text("cpu") + _number(count) + b"tQ"
        built = f"ctorch._utils\n{function}\n(".encode() + storage + b"K\x00" + (size + stride).encode("latin-1")
        items += _text(f"{number:05}") + built + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}(" + items + b"u."


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def _long(*values: int) -> str:
    return (b"(" + b"".join(_number(value) for value in values) + b"t").decode("latin-1")


def _tensors() -> Iterator[Case]:
    plain = torch.arange(4.0).numpy().tobytes()

    def both(name: str, pickled: Callable[[], bytes], reads: bool = False) -> Iterator[Case]:
        tail = lambda: pickle.dumps(["0"], 2) + struct.pack("<q", 4) + plain  # noqa: E731
        yield Case(f"{name}, zip", ".pt", lambda m: zip_file(pickled(), (plain,)), reads)
        yield Case(f"{name}, old layout", ".pt", lambda m: legacy_file(pickled(), tail()), reads)

    yield from both("a tensor as it should be", tensor_pickle, reads=True)
    yield from both("a storage that claims a terabyte", lambda: tensor_pickle(count=2**38))
    yield from both("a storage of fewer than no numbers", lambda: tensor_pickle(count=-4))
    yield from both("a tensor larger than its storage", lambda: tensor_pickle(size=_long(2**20, 2)))
    yield from both("a tensor of 2⁴⁰ × 2⁴⁰ numbers", lambda: tensor_pickle(size=_long(2**40, 2**40), stride=_long(0, 0)))
    yield from both("one number, repeated a billion times", lambda: tensor_pickle(size=_long(10**6, 1000), stride=_long(0, 0)))
    yield from both("one number as 3,000 vectors", lambda: tensor_pickle(size=_long(3000, 768), stride=_long(0, 0)))
    yield from both("strides that go backwards", lambda: tensor_pickle(stride=_long(-2, -1)))
    yield from both("400 tensors over one storage", lambda: tensor_pickle(times=400))
    many, storages = tensor_pickle(times=600, apart=True), (plain,) * 600
    yield Case("600 tensors, each with a storage", ".pt", lambda m: zip_file(many, storages))
    yield from both("a sparse tensor", lambda: tensor_pickle(function="_rebuild_sparse_tensor"))
    yield from both("a quantised tensor", lambda: tensor_pickle(function="_rebuild_qtensor"))
    one, endless = pickle.dumps(["0"], 2), pickle.dumps(["0"] * 9000, 2)
    yield Case("old layout, a storage cut short", ".pt", lambda m: legacy_file(tensor_pickle(), one, plain[:8]))
    yield Case("old layout, storages without end", ".pt", lambda m: legacy_file(tensor_pickle(), endless))


# --- tensors from devices without storages, whose numbers are an array of numpy in the pickle ---

ENCODED_B = b"c_codecs\nencode\nX\x01\0\0\0bX\x06\0\0\0latin1\x86R"
"The bytes b'b', as pickles before protocol 3 have them."


def array_pickle(
    size: tuple[int, ...] = (2, 2),
    kind: str = "f4",
    state: str = "(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
    times: int = 1,
    encoding: str = "latin1",
    columns_first: bool = False,
    content: bytes = struct.pack("<4f", 0, 1, 2, 3),
    core: str = "core",
) -> bytes:
    """The pickle of a dictionary with such a tensor, [2, 2] in fp32, or with what is asked for instead.

    state: of the kind of numbers, with the opcode that gives it; times: how many tensors name the array; core: or `_core`.
    """
    number_type = b"cnumpy\ndtype\n" + _text(kind) + b"\x89\x88\x87R" + state.encode("latin-1")
    numbers = b"c_codecs\nencode\n" + _text(content.decode("latin-1")) + _text(encoding) + b"\x86R"
    flag = b"\x88" if columns_first else b"\x89"
    empty = f"cnumpy.{core}.multiarray\n_reconstruct\n".encode() + b"cnumpy\nndarray\nK\0\x85" + ENCODED_B + b"\x87R"
    array = empty + b"(K\1(" + b"".join(map(_number, size)) + b"t" + number_type + flag + numbers + b"tb"
    tensor = b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n(%sctorch\nfloat32\n" + _text("privateuseone:0") + b"\x89tR"
    items = b"".join(
        _text(f"{number:05}") + tensor.replace(b"%s", b"h\x01" if number else array + b"q\x01") for number in range(times)
    )
    return b"\x80\x02}(" + items + b"u."


def _arrays() -> Iterator[Case]:
    def case(name: str, make: Callable[[], bytes], reads: bool = False) -> Case:
        return Case(name, ".pt", lambda m: zip_file(make()), reads)

    objects = "(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    yield case("an array of numpy as it should be", array_pickle, reads=True)
    yield case("a NumPy array without a shape", lambda: b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.")
    yield case("an array that takes bytes for objects", lambda: array_pickle((2,), "O8", objects))
    yield case("an array of 2⁴⁰ × 2⁴⁰ numbers", lambda: array_pickle((2**40, 2**40)))
    yield case("an array of fewer than no numbers", lambda: array_pickle((-2, -2)))
    yield case("an array larger than its bytes", lambda: array_pickle((2, 3)))
    yield case("an array whose bytes a codec makes", lambda: array_pickle(encoding="unicode_escape"))
    long = 350_000
    yield case("1000 tensors of one array of 350 kB", lambda: array_pickle((long,), "i1", times=1000, content=bytes(long)))


# --- zips ---


def _zips() -> Iterator[Case]:
    yield Case("a zip that unpacks to 1 GB and says so", ".pt", lambda m: _bomb(honest=True))
    yield Case("a zip that unpacks to 1 GB and says 16 bytes", ".pt", lambda m: _bomb(honest=False))
    for name, compression in (("bzip2", zipfile.ZIP_BZIP2), ("LZMA", zipfile.ZIP_LZMA)):
        yield Case(f"a zip compressed by {name}", ".pt", lambda m, c=compression: zip_file(tensor_pickle(), (_ZEROS,), c))
    yield Case("a zip of 200,000 members", ".pt", lambda m: _many_members())
    yield Case("990 members with 8,000 extra fields each", ".pt", lambda m: _many_extra_fields())
    yield Case("a member above the folder (`../../evil`)", ".pt", lambda m: _with_member("../../evil"))
    yield Case("a member at the root (`/etc/evil`)", ".pt", lambda m: _with_member("/etc/evil"))
    yield Case("two members of one name", ".pt", lambda m: _with_member("archive/data/1").replace(b"data/1", b"data/0"))
    yield Case("two pickles", ".pt", lambda m: _with_member("other/data.pkl"))
    sound, most = zip_file(tensor_pickle(), (bytes(16),)), b"\xff\xff\xff\x7f"
    yield Case("an encrypted zip", ".pt", lambda m: _patched(sound, b"PK\x01\x02", 8, b"\x01"))
    yield Case("a zip that claims 2 GB", ".pt", lambda m: _patched(sound, b"PK\x01\x02", 20, most * 2))
    yield Case("a zip64 that claims 2⁶² bytes", ".pt", lambda m: _zip64())
    yield Case("a zip with its directory elsewhere", ".pt", lambda m: _patched(sound, b"PK\x05\x06", 16, most))


def _bomb(honest: bool) -> bytes:
    raw = deflate_bomb(1024)[2:] + b"\x03\0"  # without zlib's header, with an end
    data = zip_file(tensor_pickle(count=2**28 if honest else 4), (raw,))
    data = _patched(data, b"PK\x01\x02", 24, struct.pack("<I", 2**30 if honest else 16))
    return _patched(_patched(data, b"PK\x01\x02", 10, b"\x08"), b"PK\x03\x04", 8, b"\x08")


def _many_members() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", tensor_pickle())
        archive.writestr("archive/data/0", bytes(16))
    data = packed.getvalue()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    directory = data[start:end] * 100_000
    return data[:start] + directory + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)


def _many_extra_fields() -> bytes:
    extra = struct.pack("<HH", 9, 0) * 8_000
    members, directory = b"", b""
    for number in range(990):
        name = f"archive/data/{number}".encode()
        entry = struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, *[0] * 7, len(name), len(extra), 0, 0, 0, 0, len(members)
        )
        directory += entry + name + extra
        members += struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, *[0] * 7, len(name), 0) + name
    return members + directory + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 990, 990, len(directory), len(members), 0)


def _with_member(name: str) -> bytes:
    packed = io.BytesIO(zip_file(tensor_pickle(), (bytes(16),)))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"evil")
    return packed.getvalue()


def _zip64() -> bytes:
    data = zip_file(tensor_pickle(), (bytes(16),))
    at, end = data.rindex(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    extra = struct.pack("<HHQQ", 1, 16, 2**62, 2**62)
    entry = bytearray(data[at:end] + extra)
    entry[20:28] = b"\xff" * 8
    entry[30:32] = struct.pack("<H", len(extra))
    size = struct.unpack("<I", data[end + 12 : end + 16])[0] + len(extra)
    return data[:at] + bytes(entry) + data[end : end + 12] + struct.pack("<I", size) + data[end + 16 :]


def _patched(data: bytes, marker: bytes, offset: int, change: bytes) -> bytes:
    at = data.rindex(marker) + offset
    return data[:at] + change + data[at + len(change) :]


# --- safetensors ---


def safetensors_file(header: object, data: bytes = bytes(64)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _safetensors() -> Iterator[Case]:
    def one(**changes: Any) -> dict[str, Any]:
        return {"emb_params": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64], **changes}}

    def case(name: str, make: Callable[[], bytes], reads: bool = False) -> Case:
        return Case(f"safetensors, {name}", ".safetensors", lambda m: make(), reads)

    yield case("as it should be", lambda: safetensors_file(one()), reads=True)
    yield case("a header of 2⁶⁰ bytes", lambda: struct.pack("<Q", 2**60) + b"{}" + bytes(64))
    yield case("a header of 30 MB", lambda: safetensors_file(b"{" + b" " * 30 * MEBI + b"}"))
    yield case("a header that claims a million vectors", lambda: safetensors_file(one(shape=[10**6, 768])))
    yield case("600,000 dimensions", lambda: safetensors_file(one(shape=[1] * 600_000 + [4, 4])))
    yield case("a shape whose product overflows", lambda: safetensors_file(one(shape=[2**40, 2**40])))
    yield case("an offset of 2⁶³", lambda: safetensors_file(one(data_offsets=[0, 2**63])))
    yield case("offsets that go backwards", lambda: safetensors_file(one(data_offsets=[64, 0])))
    yield case("offsets below zero", lambda: safetensors_file(one(data_offsets=[-64, 0])))
    two = {"clip_l": one()["emb_params"], "clip_g": one()["emb_params"]}
    yield case("two tensors over the same bytes", lambda: safetensors_file(two))
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    yield case("25,000 tensors", lambda: safetensors_file({f"{number}": entry for number in range(25_000)}, b""))
    yield case("JSON nested 500,000 deep", lambda: safetensors_file(b'{"a":' * 500_000 + b"1" + b"}" * 500_000))
    yield case("an unknown type of numbers", lambda: safetensors_file(one(dtype="F31")))
    yield case("NaN", lambda: save({"emb_params": torch.full((2, 4), float("nan"))}))
    yield case("metadata that is no text", lambda: safetensors_file({"__metadata__": {"a": {"b": 1}}, **one()}))


# --- PNG with a text ---


def png(*chunks: bytes, size: tuple[int, int] = (8, 8)) -> bytes:
    """Make a gray PNG with further chunks after its header."""
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\x80" * 24) * 8)
    return b"".join([SIGNATURE, header, *chunks, make_chunk(b"IDAT", rows), make_chunk(b"IEND", b"")])


def text_chunk(values: object) -> bytes:
    """Make the chunk that holds an embedding."""
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    return make_chunk(b"tEXt", KEYWORD + b"\0" + base64.b64encode(text))


def deflate_bomb(mebibytes: int) -> bytes:
    """Make compressed data that unpacks to a number of MB of zeros, without compressing them all."""
    pack = zlib.compressobj(9)
    first = pack.compress(_ZEROS) + pack.flush(zlib.Z_FULL_FLUSH)
    again = pack.compress(_ZEROS) + pack.flush(zlib.Z_FULL_FLUSH)
    return first + again * (mebibytes - 1)


def _texts() -> Iterator[Case]:
    def case(name: str, make: Callable[[], bytes], reads: bool = False) -> Case:
        return Case(f"PNG, {name}", ".png", lambda m: make(), reads)

    def vectors(numbers: object) -> dict[str, Any]:
        return {"string_to_param": {"*": {"TORCHTENSOR": numbers}}}

    yield case("as it should be", lambda: png(text_chunk(vectors([[0.5, 1.5]]))), reads=True)
    yield case("a text chunk of 2 GB", lambda: png()[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt" + KEYWORD + b"\0" + png()[33:])
    yield case("a text of 30 MB", lambda: png(make_chunk(b"tEXt", KEYWORD + b"\0" + b"A" * 30 * MEBI)))
    yield case("a packed text of 2 GB (zTXt)", lambda: png(make_chunk(b"zTXt", KEYWORD + b"\0\0" + deflate_bomb(2048))))
    yield case("a packed text of 2 GB (iTXt)", lambda: png(make_chunk(b"iTXt", KEYWORD + b"\0\1\0\0\0" + deflate_bomb(2048))))
    yield case("a text that is not base64", lambda: png(make_chunk(b"tEXt", KEYWORD + b"\0*!")))
    yield case("JSON nested a million deep", lambda: png(text_chunk(b"[" * 10**6)))
    yield case("a million empty lists", lambda: png(text_chunk(b'{"a":[' + b"[]," * 10**6 + b"[]]}")))
    yield case("a number of three million digits", lambda: png(text_chunk(b'{"a":' + b"9" * 3 * 10**6 + b"}")))
    yield case("rows of different lengths", lambda: png(text_chunk(vectors([[1.0, 2.0], [3.0]]))))
    yield case("texts for numbers", lambda: png(text_chunk(vectors([["1.0"]]))))
    yield case("infinity", lambda: png(text_chunk(vectors([[float("inf")]]))))
    yield case("a list instead of a dictionary", lambda: png(text_chunk([1])))
    yield case("two million empty chunks", lambda: png(make_chunk(b"tEXt", b"") * 2 * 10**6))


# --- pixels ---


def _images() -> Iterator[Case]:
    def case(name: str, suffix: str, make: Callable[[], bytes]) -> Case:
        return Case(f"{suffix[1:].upper()}, {name}", suffix, lambda m: make())

    yield case("60,000 × 60,000 pixels", ".png", lambda: png(size=(60_000, 60_000)))
    yield case("2³¹ × 2³¹ pixels", ".png", lambda: png(size=(2**31 - 1, 2**31 - 1)))
    yield case("6,000,000 × 1 pixels", ".png", lambda: flat_png(6_000_000, 1))
    yield case("1 × 6,000,000 pixels", ".png", lambda: flat_png(1, 6_000_000))
    yield case("16,384 × 380 pixels, all of them gaps", ".png", lambda: flat_png(16_384, 380))
    yield case("pixels in 4,700 pieces", ".png", lambda: flat_png(16_384, 380, pieces=4_000))
    yield case("6 million pixels, interlaced", ".png", lambda: flat_png(2500, 2500, interlaced=True))
    yield case("no pixels", ".png", lambda: png(size=(0, 0)))
    yield case("pixels that unpack to 2 GB", ".png", lambda: png(make_chunk(b"IDAT", deflate_bomb(2048)), size=(2500, 2500)))
    yield case("a colour profile that unpacks to 2 GB", ".png", lambda: png(make_chunk(b"iCCP", b"x\0\0" + deflate_bomb(2048))))
    yield case("100,000 frames of animation", ".png", lambda: png(make_chunk(b"acTL", struct.pack(">II", 10**5, 0))))
    yield case("pixels that carry 1 GB", ".png", lambda: _carrying(deflate_bomb(1024)))
    yield case("pixels that carry 2 million empty lists", ".png", lambda: _carrying(zlib.compress(b"[" + b"[]," * 2 * 10**6)))
    yield case("6 million random pixels", ".png", lambda: _saved(_noise(2500, 2500), "PNG"))
    yield case("no images, only its first bytes", ".webp", lambda: b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f")
    yield case("16,384 × 16,384 pixels", ".webp", lambda: b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f" + b"\xff" * 19)
    yield case("6 million random pixels", ".webp", lambda: _saved(_noise(2500, 2500), "WEBP", lossless=True, method=0, quality=0))
    if "AVIF" in _kinds():
        yield case("36 million pixels that says 64 × 64", ".avif", _lying_avif)
    yield case("no pixels, only its first bytes", ".avif", lambda: b"\0\0\0\x1cftypavif" + bytes(200))
    yield case("no pixels, only its first bytes", ".jxl", lambda: b"\xff\x0a" + b"\xff" * 200)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"Of an interlaced PNG's passes: the first column and row, and the steps from one to the next."


def flat_png(width: int, height: int, *, pieces: int = 1, interlaced: bool = False) -> bytes:
    """Make an image of one colour without the bits that hold values, with its pixels split into chunks."""
    packed, parts = zlib.compressobj(9), list[bytes]()
    for x, y, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        row = b"\0" + b"\x60" * (3 * -(-(width - x) // across))
        parts += [packed.compress(row) for _ in range(y, height, down)]
    data = b"".join([*parts, packed.flush()])
    size = len(data) // pieces
    pixels = [make_chunk(b"IDAT", data[start : start + size]) for start in range(0, len(data), size)]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, int(interlaced))
    return b"".join([SIGNATURE, make_chunk(b"IHDR", header), *pixels, make_chunk(b"IEND", b"")])


def _kinds() -> dict[str, Any]:
    Image.init()
    return Image.SAVE


def _noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), os.urandom(width * height * 3))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


def _carrying(packed: bytes) -> bytes:
    from train_embedding.embeddings.formats.containers import images, pixels

    return images.encode(pixels.within(torch.full((1024, 64, 3), 0x81, dtype=torch.uint8), packed), ".png")


def _lying_avif() -> bytes:
    data = _saved(Image.new("RGB", (6000, 6000), (90, 90, 90)), "AVIF", speed=10, quality=10)
    return data.replace(struct.pack(">II", 6000, 6000), struct.pack(">II", 64, 64))
