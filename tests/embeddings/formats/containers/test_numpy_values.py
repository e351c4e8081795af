"""Tensors from devices without storages, and numpy's numbers: read as plain data, and every lie refused in a sentence."""

from __future__ import annotations

import codecs
import io
import itertools
import math
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._utils

from benchmarks.hostile_cases import Calls, array_pickle, legacy_file, zip_file
from tests.failures import Failures
from train_embedding.embeddings.embedding import MAX_ELEMENTS
from train_embedding.embeddings.format_names import FORMAT_NAMES, suffixes_of
from train_embedding.embeddings.formats import encode, read_bytes, read_embedding, read_sanitized
from train_embedding.embeddings.formats.containers import torch_file
from train_embedding.embeddings.formats.unsafe import unsafe_reason
from train_embedding.errors import UnreadableFile

RECONSTRUCT: Callable[..., object] = np.ones(1).__reduce__()[0]  # pyright: ignore[reportAssignmentType]
SCALAR: Callable[..., object] = np.float64(1).__reduce__()[0]  # pyright: ignore[reportAssignmentType]
LITTLE = (3, "<", None, None, None, -1, -1, 0)
DTYPES = [torch.float32, torch.float16, torch.float64, torch.bfloat16]
CORES = ("core", "_core")
"How numpy 1 and numpy 2 name the module of their functions."
DEVICES = ["cpu", "mps:0", "privateuseone:0"]
WIDTHS = {"clip_g": 1280, "clip_l": 768}
ARRAYS = {
    **{kind: np.arange(12).reshape(3, 4).astype(kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1")},
    "bool": np.array([True, False, True]),
    "scalar": np.array(1.5, "f4"),
    "Fortran": np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4)),
    "Fortran, three dimensions": np.asfortranarray(np.arange(24, dtype="f4").reshape(2, 3, 4)),
    "every byte": np.arange(-128, 128, dtype="i1"),
}


class FromDevice:
    """Is saved as torch saves a tensor from such a device."""

    def __init__(
        self, array: object, dtype: object = torch.float32, device: object = "cpu", requires_grad: object = False
    ) -> None:
        self.parts = (array, dtype, device, requires_grad)

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_device_tensor_from_numpy, self.parts  # pyright: ignore[reportPrivateUsage]


class Built(Calls):
    """Something that a pickle makes by a call, and then gives a state."""

    def __init__(self, function: Any, arguments: tuple[object, ...], state: object) -> None:
        super().__init__(function, *arguments)
        self.state = state

    def __reduce__(self) -> Any:
        return *self.call, self.state


def saved(values: object, zipped: bool, core: str = "", protocol: int = 2) -> bytes:
    """What torch saves; core: the name that numpy's module has in it, where another than here."""
    packed = io.BytesIO()
    torch.save(values, packed, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    data = packed.getvalue()
    if not core:
        return data
    if not zipped:
        return spelled(data, core)
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as read, zipfile.ZipFile(packed, "w") as written:
        for name in read.namelist():
            written.writestr(name, spelled(read.read(name), core) if name.endswith("data.pkl") else read.read(name))
    return packed.getvalue()


def spelled(pickled: bytes, core: str) -> bytes:
    """In protocol 2 no length stands before a name."""
    for name in (b"core", b"_core"):
        pickled = pickled.replace(b"cnumpy." + name + b".multiarray\n", f"cnumpy.{core}.multiarray\n".encode())
    return pickled


def load(data: bytes, skip_disallowed: bool = False) -> Any:
    return torch_file.read(data, "sword.pt", skip_disallowed).values


def tensor_of(array: np.ndarray[Any, Any], dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape).to(dtype)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_array_as_every_dtype(zipped: bool) -> None:
    with Failures() as failures:
        for (name, array), core in itertools.product(ARRAYS.items(), CORES):
            with failures.of((name, core)):
                read = load(saved({str(dtype): FromDevice(array, dtype) for dtype in DTYPES}, zipped, core))
                for dtype in DTYPES:
                    tensor = read[str(dtype)]
                    assert tensor.dtype == dtype
                    assert tensor.is_contiguous()
                    assert torch.equal(tensor, tensor_of(array, dtype))


@pytest.mark.parametrize(("zipped", "protocol"), [(True, 2), (True, 3), (True, 4), (False, 2), (False, 3)])
def test_reads_what_torch_reads(zipped: bool, protocol: int) -> None:
    data = saved({name: FromDevice(array) for name, array in ARRAYS.items()}, zipped, protocol=protocol)
    ours = load(data)
    theirs = torch.serialization.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    assert list(ours) == list(theirs) == list(ARRAYS)
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ARRAYS)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_bit_of_random_numbers(zipped: bool) -> None:
    """SDXL's widths, as many vectors as a prompt's chunk has room for."""
    arrays = {key: np.random.default_rng(1).standard_normal((75, width)).astype("f4") for key, width in WIDTHS.items()}
    read = read_bytes(saved({key: FromDevice(array) for key, array in arrays.items()}, zipped), "sword.pt")
    assert all(torch.equal(read.vectors[key], torch.from_numpy(array)) for key, array in arrays.items())


def webui_values(device: str, order: Any = "C", kind: str = "f4", dtype: torch.dtype = torch.float32) -> dict[str, object]:
    vectors = np.arange(2 * 768, dtype=kind).reshape(2, 768) / 1024
    return {
        "string_to_token": {"*": FromDevice(np.array(265), torch.int64, device)},
        "string_to_param": {"*": FromDevice(np.asarray(vectors.astype(kind), order=order), dtype, device, True)},
        "name": "sword",
        "step": np.int64(1500),
        "sd_checkpoint": "cc6cb27103",
        "sd_checkpoint_name": "v1-5",
        "loss": np.float32(0.125),
        "history": np.arange(3.0),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_an_embedding_of_the_webui(tmp_path: Path, zipped: bool) -> None:
    kinds = (("f4", torch.float32), ("f2", torch.float16), ("f8", torch.float64), ("f4", torch.bfloat16))
    path = tmp_path / "sword.pt"
    with Failures() as failures:
        for (kind, dtype), order, device, core in itertools.product(kinds, "CF", DEVICES, CORES):
            with failures.of((kind, dtype, order, device, core)):
                is_read_and_sanitized(path, saved(webui_values(device, order, kind, dtype), zipped, core), dtype)


def is_read_and_sanitized(path: Path, data: bytes, dtype: torch.dtype) -> None:
    path.write_bytes(data)
    read = read_embedding(path)
    expected = (torch.arange(2 * 768).reshape(2, 768) / 1024).to(dtype).float()
    assert torch.equal(read.vectors["clip_l"], expected)
    assert (read.step, read.checkpoint_hash, read.checkpoint_name) == (1500, "cc6cb27103", "v1-5")
    assert read.metadata["loss"] == "0.125"
    assert read_bytes(data, path.name).format == "webui"
    assert unsafe_reason(data, path.name) == ""
    assert torch.equal(read_sanitized(data, path.name).vectors["clip_l"], expected)


@pytest.mark.parametrize(("form", "suffix"), [(name, suffixes_of(name)[0]) for name in FORMAT_NAMES])
def test_into_every_form(form: str, suffix: str) -> None:
    read = read_bytes(saved(webui_values("privateuseone:0"), False), "sword.pt")
    again = read_bytes(encode(read, form, suffix), f"sword{suffix}")
    assert torch.equal(again.vectors["clip_l"], read.vectors["clip_l"])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_parameter_from_such_a_device(zipped: bool) -> None:
    parameter = Calls(torch._utils._rebuild_parameter, FromDevice(ARRAYS["f4"]), True, {})  # pyright: ignore[reportPrivateUsage]
    values = torch.nn.ParameterDict()
    values.__dict__["_parameters"] = {"*": parameter}
    assert torch.equal(load(saved({"string_to_param": values}, zipped))["string_to_param"]["*"], torch.from_numpy(ARRAYS["f4"]))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_numbers_of_numpy_become_pythons(protocol: int) -> None:
    kinds = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")
    with Failures() as failures:
        for kind, core in itertools.product(kinds, CORES if protocol == 2 else ("",)):
            number = np.array([201 if kind != "i1" else -55]).astype(kind)[0]
            with failures.of((kind, core)):
                read = load(saved({"step": number}, True, core, protocol))["step"]
                assert (read, type(read)) == (number.item(), type(number.item()))


def test_no_number_that_is_not_finite_is_unsafe() -> None:
    read = load(saved({"loss": np.float64("nan"), "most": np.float64("inf")}, True))
    assert math.isnan(read["loss"])
    assert read["most"] == math.inf


def test_an_empty_tensor() -> None:
    """Before protocol 3, no bytes at all are a call that only a tensor without numbers needs."""
    data = saved({"*": FromDevice(np.zeros((0, 4), "f4"), torch.float16)}, True, protocol=3)
    assert (load(data)["*"].shape, load(data)["*"].dtype) == ((0, 4), torch.float16)


def test_the_same_tensor_stays_one() -> None:
    one = FromDevice(ARRAYS["f4"])
    read = load(saved({"a": one, "b": one}, True))
    assert read["a"] is read["b"]


def test_what_is_no_dictionary_is_called_what_it_is() -> None:
    for value, called in ((FromDevice(ARRAYS["f4"]), "tensor"), (ARRAYS["f4"], "numpy.ndarray"), (b"x", "bytes")):
        with pytest.raises(UnreadableFile, match=f"contains a {called} instead of a dictionary"):
            load(saved(value, True))


# --- lies ---


def number_type(kind: object = "f4", state: object = LITTLE, flags: tuple[object, ...] = (False, True)) -> Built:
    return Built(np.dtype, (kind, *flags), state)


def array(
    size: object = (2, 2),
    kind: object = None,
    content: object = bytes(16),
    version: object = 1,
    columns_first: object = False,
    made: tuple[object, ...] = (np.ndarray, (0,), b"b"),
    state: object = None,
) -> Built:
    return Built(RECONSTRUCT, made, state or (version, size, kind or number_type(), columns_first, content))


def from_array(**changes: Any) -> FromDevice:
    return FromDevice(array(**changes))


def inner(value: object) -> bytes:
    """What puts a value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def in_dictionary(pushes: bytes) -> bytes:
    return b"\x80\x02}" + inner("*") + pushes + b"s."


def tensor_around(pushes: bytes) -> bytes:
    tensor = b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n(" + pushes + inner(torch.float32) + inner("cpu") + b"\x89tR"
    return in_dictionary(tensor)


LIES: dict[str, object] = {
    "too few bytes": from_array(content=bytes(15)),
    "too many bytes": from_array(content=bytes(17)),
    "no bytes": from_array(content=None),
    "text for bytes": from_array(content="x" * 16),
    "a list for bytes": from_array(content=[0] * 16),
    "letters that are no bytes": from_array(content=Calls(codecs.encode, "剣" * 16, "latin1")),
    "below zero": from_array(size=(-2, -2)),
    "one below zero": from_array(size=(-4,)),
    "huge": from_array(size=(2**40, 2**40)),
    "beyond any": from_array(size=(2**80,)),
    "more than an embedding": from_array(size=(MAX_ELEMENTS + 1,)),
    "halves": from_array(size=(2.0, 2.0)),
    "text for a size": from_array(size=("2", "2")),
    "a list for a size": from_array(size=[2, 2]),
    "nine dimensions": from_array(size=(2, 2, *[1] * 7)),
    "a million dimensions": from_array(size=(1,) * 10_000),
    "another version": from_array(version=0),
    "a number for the order": from_array(columns_first=2),
    "no kind of numbers": from_array(kind="f4"),
    "a class for the kind": from_array(kind=np.dtype),
    "objects": from_array(kind=number_type("O", (3, "|", None, None, None, -1, -1, 63)), content=[1, 2, 3, 4]),
    "bytes for objects": from_array(kind=number_type("O8", (3, "|", None, None, None, -1, -1, 0)), content=bytes(32)),
    "numbers that are objects": from_array(kind=number_type("f4", (3, "|", None, None, None, -1, -1, 63))),
    "fields": from_array(kind=number_type("V4", (3, "|", None, ("a",), {"a": (number_type(), 0)}, 4, 1, 16))),
    "fields of plain numbers": from_array(kind=number_type("f4", (3, "<", None, ("a",), {"a": (number_type(), 0)}, 4, 1, 0))),
    "a kind in a kind": from_array(kind=number_type("f4", (3, "<", (number_type(), (2,)), None, None, -1, -1, 0))),
    "another width": from_array(kind=number_type("f4", (3, "<", None, None, None, 8, -1, 0))),
    "more in the state": from_array(kind=number_type("f4", (*LITTLE, {}))),
    "no state that is one": from_array(kind=number_type("f4", {"a": 1})),
    "texts": from_array(kind=number_type("U1", (3, "<", None, None, None, 4, 4, 8))),
    "dates": from_array(kind=number_type("M8")),
    "complex numbers": from_array(kind=number_type("c8"), size=(2,)),
    "a longer float": from_array(kind=number_type("f16"), size=(1,)),
    "numbers of no torch": from_array(kind=number_type("u4")),
    "no kind at all": from_array(kind=number_type(7)),
    "a kind that is shared": from_array(kind=number_type(flags=(False, False))),
    "a kind that is aligned": from_array(kind=number_type(flags=(True, True))),
    "a kind of one word": from_array(kind=number_type(flags=())),
    "no order": from_array(kind=number_type("f4", (3, "|", None, None, None, -1, -1, 0))),
    "an unknown order": from_array(kind=number_type("f4", (3, "<>", None, None, None, -1, -1, 0))),
    "big-endian": from_array(kind=number_type("f4", (3, ">", None, None, None, -1, -1, 0))),
    "another class": from_array(made=(torch.FloatStorage, (0,), b"b")),
    "a class that is a text": from_array(made=("numpy.ndarray", (0,), b"b")),
    "room from the start": from_array(made=(np.ndarray, (2**40,), b"b")),
    "objects from the start": from_array(made=(np.ndarray, (0,), b"O")),
    "nothing to make it of": from_array(made=()),
    "one more to make it of": from_array(made=(np.ndarray, (0,), b"b", 1)),
    "an array without a state": FromDevice(Calls(RECONSTRUCT, np.ndarray, (0,), b"b")),
    "an array that is a list": FromDevice([1.0]),
    "a dtype that is a text": FromDevice(ARRAYS["f4"], "torch.float32"),
    "a dtype of numpy": FromDevice(ARRAYS["f4"], np.dtype("f4")),
    "a dtype that is a class": FromDevice(ARRAYS["f4"], torch.FloatStorage),
    "a dtype that is a function": FromDevice(ARRAYS["f4"], RECONSTRUCT),
    "a device that is a number": FromDevice(ARRAYS["f4"], torch.float32, 0),
    "a gradient that is a list": FromDevice(ARRAYS["f4"], torch.float32, "cpu", []),
    "a number of objects": Calls(SCALAR, number_type("O", (3, "|", None, None, None, -1, -1, 63)), "x"),
    "a number without bytes": Calls(SCALAR, number_type()),
    "a number of too few bytes": Calls(SCALAR, number_type(), bytes(3)),
    "a number of too many bytes": Calls(SCALAR, number_type(), bytes(5)),
    "a number of text": Calls(SCALAR, number_type(), "xxxx"),
    "a number of no kind": Calls(SCALAR, "f4", bytes(4)),
    "a number of an array": Calls(SCALAR, array(), bytes(4)),
    "a text of numpy": Calls(SCALAR, number_type("U1", (3, "<", None, None, None, 4, 4, 8)), bytes(4)),
}
CODECS = ["latin-1", "rot13", "zip", "bz2", "hex", "utf-8", "unicode_escape", "antigravity", 1, None]
SOUND, AGAIN = inner(array()), inner((1, (2, 2), number_type(), False, bytes(16))) + b"b"
KIND = inner(number_type())
ROLES = {
    "an array with two states": tensor_around(SOUND + AGAIN),
    "a kind of numbers with two states": in_dictionary(KIND + inner(LITTLE) + b"b"),
    "an array with another state once it is a tensor": in_dictionary(
        b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n("
        + SOUND
        + b"q\xff"
        + inner(torch.float32)
        + inner("cpu")
        + b"\x89tR0h\xff"
        + AGAIN
    ),
    "a state for the class": in_dictionary(b"cnumpy\nndarray\n" + AGAIN),
    "a state for the kind's class": in_dictionary(b"cnumpy\ndtype\n" + inner(LITTLE) + b"b"),
    "a state for a function": in_dictionary(b"c_codecs\nencode\n}b"),
    "the class called": in_dictionary(b"cnumpy\nndarray\n" + inner(((2, 2), "f4")) + b"R"),
    "the class called for a terabyte": in_dictionary(b"cnumpy\nndarray\n" + inner(((2**40,),)) + b"R"),
    "an object of the class": in_dictionary(b"cnumpy\nndarray\n" + inner(((2, 2), "f4")) + b"\x81"),
    "an object of the class by names": in_dictionary(
        b"cnumpy\nndarray\n)" + inner({"shape": (2,), "dtype": "O"}) + b"\x92" + AGAIN
    ),
    "an object of the class, in the oldest way": in_dictionary(b"(cnumpy\nndarray\n" + inner((2, 2)) + b"o"),
    "an instance of the class": in_dictionary(b"(" + inner((2, 2)) + b"inumpy\nndarray\n"),
    "a kind of numbers that is an object": in_dictionary(b"cnumpy\ndtype\n" + inner(("f4",)) + b"\x81"),
    "a kind of numbers by names": in_dictionary(b"cnumpy\ndtype\n)" + inner({"dtype": "O"}) + b"\x92" + inner(LITTLE) + b"b"),
    "an object of a function": in_dictionary(b"c_codecs\nencode\n" + inner(("x", "latin1")) + b"\x81"),
    "an array that is filled": in_dictionary(SOUND + inner([1]) + b"a"),
    "an array with keys": in_dictionary(SOUND + inner("a") + inner("b") + b"s"),
}


def is_refused(pickled: bytes) -> None:
    """In a sentence, soon, in both layouts."""
    for data in (zip_file(pickled), legacy_file(pickled, pickle.dumps([], 2))):
        began = time.process_time()
        with pytest.raises(UnreadableFile) as caught:
            read_bytes(data, "evil.pt")
        assert caught.value.message.startswith('"evil.pt" is damaged or not an embedding: ')
        assert caught.value.message.endswith(".")
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 200
        assert time.process_time() - began < 1


def test_a_lie_is_refused() -> None:
    with Failures() as failures:
        for (name, lie), core in itertools.product(LIES.items(), CORES):
            with failures.of((name, core)):
                pickled = pickle.dumps({"string_to_param": {"*": FromDevice(ARRAYS["f4"])}, "more": lie}, 2)
                is_refused(spelled(pickled, core))


TOLD_TO_TORCH = [
    name for name in LIES if name.startswith(("a dtype", "a device", "a gradient")) or name.endswith(("a list", "a state"))
]
"Such a tensor is no more than data to a program that trusts files; torch refuses it."
UNSEEN = ("letters that are no bytes",)
"Lies that show when the tensor is made."


def test_a_lie_is_told_and_left_out() -> None:
    """numpy itself could be led anywhere by some of them; what is beside them is saved all the same."""
    with Failures() as failures:
        for name in (name for name in LIES if name not in UNSEEN):
            with failures.of(name):
                data = saved({"string_to_param": {"*": FromDevice(np.ones((2, 768), "f4"))}, "more": LIES[name]}, False)
                assert ("imports" in unsafe_reason(data, "evil.pt")) == (name not in TOLD_TO_TORCH)
                assert torch.equal(read_sanitized(data, "evil.pt").vectors["clip_l"], torch.ones(2, 768))


@pytest.mark.parametrize("codec", CODECS)
def test_no_other_codec(codec: object) -> None:
    lie = from_array(content=Calls(codecs.encode, "x" * 16, codec))
    is_refused(pickle.dumps({"*": lie}, 2))
    assert 'imports "_codecs.encode"' in unsafe_reason(saved({"*": lie}, True), "evil.pt")
    is_refused(pickle.dumps({"*": from_array(content=Calls(codecs.encode, "x" * 16))}, 2))


def test_a_name_has_one_role() -> None:
    with Failures() as failures:
        for name, pickled in ROLES.items():
            with failures.of(name):
                is_refused(pickled)
                assert unsafe_reason(zip_file(pickled), "evil.pt")


def test_also_at_the_end_of_the_file() -> None:
    """A reader has done it by then, though it gets no further."""
    with Failures() as failures:
        for name, pickled in ROLES.items():
            with failures.of(name):
                assert unsafe_reason(zip_file(pickled.removesuffix(b"s.")), "evil.pt")


def test_what_had_a_state_that_lies_is_of_no_further_use() -> None:
    """numpy keeps one kind of numbers for all arrays: the next one would be read in the wrong order."""
    kind = number_type("f4", (3, ">", None, None, None, -1, -1, 0))
    values = {"a": from_array(kind=kind), "b": from_array(kind=kind), "c": Calls(SCALAR, kind, bytes(4))}
    assert load(saved(values, True), skip_disallowed=True) == {}


def test_one_array_named_often_takes_no_more_than_there_is() -> None:
    data = zip_file(array_pickle((350_000,), "i1", times=1000, content=bytes(350_000)))
    with pytest.raises(UnreadableFile, match="more numbers than the file"):
        read_bytes(data, "evil.pt")


@pytest.mark.parametrize("core", CORES)
def test_cut_short_anywhere_it_is_refused_and_is_not_unsafe(core: str) -> None:
    pickled = array_pickle((1, 4), core=core)
    assert read_bytes(zip_file(pickled), "sword.pt").widths == {"clip_l": 4}
    assert {unsafe_reason(zip_file(pickled[:length]), "sword.pt") for length in range(len(pickled) + 1)} == {""}
    for length in range(len(pickled)):
        with pytest.raises(UnreadableFile):
            read_bytes(zip_file(pickled[:length]), "sword.pt")


def test_made_by_hand_as_numpy_makes_it() -> None:
    theirs = pickle.dumps({"00000": FromDevice(np.arange(4, dtype="f4").reshape(2, 2), torch.float32, "privateuseone:0")}, 2)
    assert torch.equal(load(zip_file(array_pickle()))["00000"], load(zip_file(theirs))["00000"])
