"""Files that torch saved: both layouts are read, and nothing in them is run."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from train_embedding.embeddings.formats.containers import torch_file
from train_embedding.embeddings.formats.containers.torch_file import LEGACY_MAGIC
from train_embedding.embeddings.formats.content import Content
from train_embedding.errors import UnreadableFile


def load(data: bytes, name: str) -> Mapping[str, object]:
    return torch_file.read(data, f"{name}.pt").values


class Payload:
    """Runs a shell command when it is unpickled by pickle itself."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def saved(values: object, zipped: bool, protocol: int = 2) -> bytes:
    packed = io.BytesIO()
    torch.save(values, packed, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return packed.getvalue()


def legacy_around(pickled: bytes) -> bytes:
    """A file of the old layout, whose fourth pickle is the given one."""
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(parts) + pickled + pickle.dumps([], 2)


def zip_around(pickled: bytes, **others: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for name, content in others.items():
            archive.writestr(name.replace("__", "/"), content)
    return packed.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_both_layouts(zipped: bool) -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    read = load(saved({"*": tensor, "step": 3}, zipped), "sword")
    assert torch.equal(read["*"], tensor)
    assert read["step"] == 3


DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
]
TENSORS = {
    **{str(dtype): torch.arange(12).reshape(3, 4).to(dtype) for dtype in DTYPES},
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(1.5),
    "empty": torch.zeros(0, 4),
    "transposed": torch.arange(12.0).reshape(3, 4).T,
    "view": torch.arange(12.0)[5:9],
    "every other": torch.arange(12.0)[::2],
    "repeated": torch.ones(1, 1).expand(3, 4),
    "parameter": torch.nn.Parameter(torch.ones(2, 3)),
    "float parameter without gradient": torch.nn.Parameter(torch.ones(2, 3), requires_grad=False),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_torch_reads(zipped: bool) -> None:
    """Beside torch's own reader."""
    data = saved(TENSORS, zipped)
    ours, theirs = load(data, "sword"), torch.serialization.load(io.BytesIO(data), weights_only=True)
    assert list(ours) == list(theirs) == list(TENSORS)
    for name, tensor in theirs.items():
        read = ours[name]
        assert isinstance(read, torch.Tensor)
        assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(read, tensor)


def test_tensors_that_shared_their_numbers() -> None:
    base = torch.arange(8.0)
    read = load(saved({"a": base[:4], "b": base[4:]}, False), "sword")
    assert torch.equal(torch.cat((read["a"], read["b"])), base)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", ["bare", "legacy", "zip", "torch legacy", "torch zip"])
def test_a_payload_never_runs(tmp_path: Path, wrap: str, protocol: int) -> None:
    marker = tmp_path / "ran"
    hostile = {"string_to_param": {"*": Payload(marker)}}
    pickled = pickle.dumps(hostile, protocol)
    data = {
        "bare": lambda: pickled,
        "legacy": lambda: legacy_around(pickled),
        "zip": lambda: zip_around(pickled),
        "torch legacy": lambda: saved(hostile, False, protocol),
        "torch zip": lambda: saved(hostile, True, protocol),
    }[wrap]()
    with pytest.raises(UnreadableFile) as caught:
        load(data, "evil")
    assert not marker.exists()
    if wrap in ("legacy", "zip", "torch zip"):
        assert f"{os.name}.system" in caught.value.message
        assert "nothing in the file was executed" in caught.value.message


def test_the_payload_is_a_true_one(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


@pytest.mark.parametrize("position", [0, 1, 2, 4])
def test_a_payload_in_any_of_the_five_pickles(tmp_path: Path, position: int) -> None:
    marker = tmp_path / "ran"
    parts: list[object] = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, []]
    parts[position] = Payload(marker)
    data = b"".join(pickle.dumps(part, 2) for part in parts)
    assert data.startswith(LEGACY_MAGIC) == (position != 0)
    with pytest.raises(UnreadableFile):
        load(data, "evil")
    assert not marker.exists()


@pytest.mark.parametrize("function", [eval, bytearray, torch.load, torch.jit.load, getattr, torch.nn.Linear])
def test_whatever_else_it_calls_is_named(function: object) -> None:
    class Calls:
        def __reduce__(self) -> tuple[object, tuple[int]]:
            return function, (2**40,)

    with pytest.raises(UnreadableFile, match=r"imports .*(eval|bytearray|load|getattr|Linear|encode)"):
        load(zip_around(pickle.dumps({"*": Calls()}, 2)), "evil")


def test_a_torchscript_archive_is_refused() -> None:
    """torch before 2.6 executes one even with weights_only (CVE-2025-32434)."""
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), packed)
    with pytest.raises(UnreadableFile, match="which torch does not save with tensors"):
        load(packed.getvalue(), "evil")


def test_a_zip_bomb_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(65 * 2**20))
    assert len(packed.getvalue()) < 2**20
    with pytest.raises(UnreadableFile, match="unpacks to more than 32 MB"):
        load(packed.getvalue(), "bomb")


def test_a_storage_shorter_than_it_claims_is_refused() -> None:
    with zipfile.ZipFile(io.BytesIO(saved({"*": torch.ones(100, 100)}, True))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:64] if name.endswith("data/0") else content)
    with pytest.raises(UnreadableFile, match="damaged"):
        load(packed.getvalue(), "short")


@pytest.mark.parametrize(
    "data",
    [
        zip_around(pickle.dumps({}, 2), other__data__pkl=b""),
        zip_around(pickle.dumps({}, 2), **{"other/data.pkl": pickle.dumps({}, 2)}),
        zip_around(pickle.dumps({}, 2), **{"archive/code/x.py": b""}),
        zip_around(pickle.dumps({}, 2), **{"../../evil": b""}),
    ],
    ids=range(4),
)
def test_members_that_do_not_belong_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        load(data, "odd")


def as_parameter_dict(zipped: bool) -> bytes:
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.full((2, 8), 0.5))})
    return saved({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}, zipped)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_parameter_dict_is_read(zipped: bool) -> None:
    """As the original textual inversion code saved it; torch's old layout keeps the source of the class beside it."""
    read = load(as_parameter_dict(zipped), "sword")
    parameters = read["string_to_param"]
    assert isinstance(parameters, dict)
    assert torch.equal(parameters["*"], torch.full((2, 8), 0.5))
    assert read["string_to_token"] == {"*": torch.tensor(265)}


def test_one_dictionary_under_thousands_of_keys_is_made_once() -> None:
    """Made anew for each, it would take minutes and gigabytes."""
    shared = dict.fromkeys(map(str, range(3000)), 1)
    read = load(saved(dict.fromkeys(map(str, range(3000)), shared), True), "sword")
    assert read["0"] == shared
    assert read["0"] is read["2999"]


def test_a_replaced_torch_load_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The WebUI puts a function of its own there, which returns None for the old layout from memory."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: None)
    assert load(saved({"step": 1}, False), "sword") == {"step": 1}


def test_what_a_big_endian_machine_saved_is_refused() -> None:
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": False}, {}, [])]
    for data in (b"".join(parts), zip_around(pickle.dumps({}, 2), archive__byteorder=b"big")):
        with pytest.raises(UnreadableFile, match="big-endian"):
            load(data, "sword")


def test_written_as_torch_writes() -> None:
    values = {"a": torch.ones(2), "b": {"c": torch.zeros(1)}, "d": "text"}
    data = torch_file.write(Content(values, {"left": "out"}), ".pt")
    theirs = torch.serialization.load(io.BytesIO(data), weights_only=True)
    assert list(theirs) == ["a", "b", "d"]
