"""Files that programs with a bare `torch.load` would run something of: what they ask for is told, and their vectors are saved."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.hostile_cases import Calls, Case, cases, vectors_and_call, zip_file
from train_embedding.embeddings.formats import MAX_FILE_SIZE, read_sanitized
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE
from train_embedding.embeddings.formats.unsafe import AMBIGUOUS, PROGRAM, UNVERIFIABLE, unsafe_reason
from train_embedding.errors import UnreadableFile

BARE_LOAD = """
import sys, warnings, torch
warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    try:
        torch.load(path, map_location="cpu", weights_only=False)
    except BaseException:
        pass
"""
"What Forge does with each file of its embeddings folder, on a torch before 2.6."
RUNS = [
    case for case in cases() if case.make("a-marker-to-find").find(b"a-marker-to-find") >= 0 and case.suffix in (".pt", ".bin")
]


def saved(values: object, zipped: bool = True) -> bytes:
    packed = io.BytesIO()
    torch.save(values, packed, _use_new_zipfile_serialization=zipped)
    return packed.getvalue()


SOUND = saved({"string_to_param": {"*": torch.ones(2, 8)}})


def test_what_runs_is_told(tmp_path: Path) -> None:
    """The judge is torch's own loader, in a process of its own: each of these files did run there what it holds."""
    assert len(RUNS) > 15
    files = [tmp_path / f"{number}{case.suffix}" for number, case in enumerate(RUNS)]
    for file, case in zip(files, RUNS, strict=True):
        file.write_bytes(case.make(str(file.with_suffix(".ran"))))
    subprocess.run([sys.executable, "-c", BARE_LOAD, *map(str, files)], check=True, timeout=120)
    assert [case.name for file, case in zip(files, RUNS, strict=True) if not file.with_suffix(".ran").exists()] == []
    told = {case.name: unsafe_reason(file.read_bytes(), file.name) for file, case in zip(files, RUNS, strict=True)}
    assert [case.name for case in RUNS if not told[case.name]] == []
    assert [case.name for case in RUNS if not case.hidden and "imports" not in told[case.name]] == []


@pytest.mark.parametrize("case", [case for case in cases() if case.reads], ids=lambda case: case.name)
def test_sound_files_are_not_unsafe(case: Case) -> None:
    assert unsafe_reason(case.make(""), f"sword{case.suffix}") == ""


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_short_anywhere_it_is_not_unsafe(zipped: bool) -> None:
    data = saved({"string_to_param": {"*": torch.ones(1, 8)}, "name": "sword"}, zipped)
    assert {unsafe_reason(data[:length], "sword.pt") for length in range(len(data) + 1)} == {""}


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + bytes(50), b"hello, this is text", b"{}", bytes(100), b""], ids=repr)
def test_what_no_loader_gets_through_is_not_unsafe(data: bytes) -> None:
    assert unsafe_reason(data, "sword.pt") == ""


def test_only_what_torch_loads_is_unsafe() -> None:
    evil = vectors_and_call("x", True)
    assert unsafe_reason(evil, "evil.PT") == 'imports "posix.system"'
    assert unsafe_reason(evil, "evil.safetensors") == ""


def test_a_bare_pickle() -> None:
    assert unsafe_reason(b"cos\nsystem\n(S'x'\ntR.", "evil.pt") == 'imports "os.system"'


def test_many_names_are_not_all_listed() -> None:
    data = zip_file(b"".join(f"cos\nf{number}\n".encode() for number in range(9)) + b".")
    assert unsafe_reason(data, "evil.pt") == 'imports "os.f0", "os.f1", "os.f2" and 6 more'


def test_a_name_found_before_the_end_of_sense() -> None:
    """A reader has run it by then."""
    assert unsafe_reason(zip_file(b"cos\nsystem\n(S'x'\ntR\xff"), "evil.pt") == 'imports "os.system"'


@pytest.mark.parametrize(
    "pickled",
    [b"I0x10\ncos\nsystem\n.", b"\x80\x02\x82\x01.", b"V" + b"x" * 5000 + b"\ncos\nsystem\n.", b"N" * 30_000 + b"cos\nsystem\n."],
    ids=["a number that only C reads", "an extension", "a long line", "many opcodes"],
)
def test_in_doubt_it_is_told(pickled: bytes) -> None:
    assert unsafe_reason(zip_file(pickled), "evil.pt") == UNVERIFIABLE


def test_a_name_in_a_torch_file_of_other_spelling() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/DATA.PKL", pickle.dumps(Calls(print, "x")))
    assert unsafe_reason(packed.getvalue(), "evil.pt") == 'imports "builtins.print"'


def test_a_program() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(()))
    assert unsafe_reason(packed.getvalue(), "evil.pt") == PROGRAM


def test_a_tar_archive() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    assert unsafe_reason(packed.getvalue(), "evil.pt") == UNVERIFIABLE


@pytest.mark.parametrize("data", [b"PK\x03\x04" + b"x" * 40 + SOUND, SOUND + b"more"], ids=["before", "behind"])
def test_an_archive_with_something_around_it(data: bytes) -> None:
    assert unsafe_reason(data, "evil.pt") == AMBIGUOUS


def test_too_large_to_be_looked_through() -> None:
    assert unsafe_reason(bytes(MAX_FILE_SIZE + 1), "evil.pt") == UNVERIFIABLE


@pytest.mark.parametrize("zipped", [True, False])
def test_vectors_are_saved_and_nothing_runs(tmp_path: Path, zipped: bool) -> None:
    embedding = read_sanitized(vectors_and_call(str(tmp_path / "ran"), zipped), "evil.pt")
    assert torch.equal(embedding.vectors["clip_l"], torch.ones(2, 768))
    assert embedding.step == 7
    assert not list(tmp_path.iterdir())


def test_what_is_built_of_it_is_left_out_too() -> None:
    values = {"string_to_param": {"*": torch.ones(1, 768)}, "list": Calls(list, [Calls(print, "x")]), "name": Calls(str, "x")}
    assert torch.equal(read_sanitized(saved(values), "evil.pt").vectors["clip_l"], torch.ones(1, 768))


@pytest.mark.parametrize("values", [Calls(print, "x"), {"string_to_param": {"*": Calls(print, "x")}}], ids=["all", "the vectors"])
def test_where_nothing_is_left(values: object) -> None:
    with pytest.raises(UnreadableFile):
        read_sanitized(saved(values), "evil.pt")


def test_only_torch_files_are_sanitized() -> None:
    with pytest.raises(UnreadableFile, match="was not saved by torch"):
        read_sanitized(b"cos\nsystem\n.", "evil.pt")


# --- what torch and Python's zipfile, or two pickle readers, find different things in ---

MAGIC, VERSION, MACHINE = (pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
GOOD = b"\x80\x02}."


def touch(marker: str) -> bytes:
    return b"\x80\x02" + f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()


def rezipped(*first: tuple[str, bytes], last: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    """A sound archive with members before and behind its own."""
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        with zipfile.ZipFile(io.BytesIO(SOUND)) as sound, zipfile.ZipFile(packed, "w") as archive:
            own = [(name, sound.read(name)) for name in sound.namelist()]
            for name, content in (*first, *own, *last):
                archive.writestr(name, content)
    return packed.getvalue()


def moved_aside(marker: str) -> bytes:
    """The directory names another place than the first one, where a header with other bytes lies."""
    hidden, plain = rezipped(("archive/data.pkl", touch(marker))), bytearray(rezipped())
    evil = hidden[: hidden.index(b"PK", 4)]
    entry, end = plain.index(b"PK\x01\x02"), plain.index(b"PK\x05\x06")
    directory = bytearray(plain[entry:end])
    struct.pack_into("<I", directory, 42, entry)
    directory[16:28] = evil[14:26]
    tail = plain[end:]
    struct.pack_into("<I", tail, 16, entry + len(evil))
    return bytes(plain[:entry] + evil + directory + tail)


def with_a_unicode_name(marker: str) -> bytes:
    """An entry whose extra field gives it another name (0x7075), which newer releases of zipfile take."""
    plain = rezipped(("archive/x.pkl", touch(marker)))
    at, end = plain.index(b"PK\x01\x02"), plain.index(b"PK\x05\x06")
    name = b"archive/data.pkl"
    field = struct.pack("<HHBI", 0x7075, 5 + len(name), 1, zlib.crc32(b"archive/x.pkl")) + name
    entry = bytearray(plain[at : at + 46 + len(b"archive/x.pkl")])
    struct.pack_into("<H", entry, 30, len(field))
    tail = bytearray(plain[end:])
    struct.pack_into("<I", tail, 12, struct.unpack_from("<I", tail, 12)[0] + len(field))
    return plain[:at] + bytes(entry) + field + plain[at + len(entry) : end] + bytes(tail)


def with_another_local_name(_: str) -> bytes:
    return rezipped().replace(b"archive/data.pkl", b"archive/date.pkl", 1)


def with_another_size_inside(_: str) -> bytes:
    data = bytearray(rezipped())
    data[18:22] = struct.pack("<I", 3)
    return bytes(data)


def with_an_end_in_its_comment(marker: str) -> bytes:
    inner = rezipped(("archive/data.pkl", touch(marker)))
    data = bytearray(rezipped())
    data[-2:] = struct.pack("<H", len(inner))
    return bytes(data) + inner


def long_pickle(marker: str) -> bytes:
    """Its first 2 MiB, which is as much as is looked at, end between two opcodes."""
    pad = MAX_PICKLE - 8
    return b"\x80\x02X" + struct.pack("<I", pad) + b"a" * pad + b"0" + touch(marker)[2:]


def framed(marker: str) -> bytes:
    """What is left of a frame behind its pickle is lost to a reader that takes frames whole."""
    left = VERSION + MACHINE + GOOD + GOOD
    first = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + left
    return b"\x80\x04\x95" + struct.pack("<Q", len(first)) + first + touch(marker)


TWICE = "archive/data.pkl"
TRICKS: dict[str, Callable[[str], bytes]] = {
    "a bare pickle, cut at the limit": long_pickle,
    "a zip, cut at the limit": lambda marker: zip_file(long_pickle(marker)),
    "the second pickle, cut at the limit": lambda marker: MAGIC + long_pickle(marker),
    "the first of two members": lambda marker: rezipped((TWICE, touch(marker))),
    "the last of two members": lambda marker: rezipped(last=((TWICE, touch(marker)),)),
    "another case": lambda marker: rezipped(("archive/DATA.PKL", touch(marker))),
    "another folder": lambda marker: rezipped(("other/data.pkl", touch(marker))),
    "a folder with a backslash": lambda marker: rezipped(("other\\data.pkl", touch(marker))),
    "no folder": lambda marker: rezipped(("data.pkl", touch(marker))),
    "a name with NUL": lambda marker: rezipped(("archive/data.pkl#", touch(marker))).replace(b"data.pkl#", b"data.pkl\0"),
    "an absolute name": lambda marker: rezipped(("/archive/data.pkl", touch(marker))),
    "another place": moved_aside,
    "another name in an extra field": with_a_unicode_name,
    "another name in the header": with_another_local_name,
    "another size in the header": with_another_size_inside,
    "an end in the comment": with_an_end_in_its_comment,
    "two archives, one behind the other": lambda marker: rezipped((TWICE, touch(marker))) + SOUND,
    "behind a pickle in a zip": lambda marker: zip_file(GOOD + touch(marker)),
    "behind a frame": framed,
    "behind the first pickle": lambda marker: GOOD + touch(marker),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_told(name: str) -> None:
    assert unsafe_reason(TRICKS[name]("ran"), "evil.pt")
    assert unsafe_reason(TRICKS[name]("ran"), "evil.ckpt")


def test_tricks_are_true_ones(tmp_path: Path) -> None:
    """The judge is torch's own loader: some of these run there, and each that runs is told."""
    files = {name: tmp_path / f"{number}.pt" for number, name in enumerate(TRICKS)}
    for name, file in files.items():
        file.write_bytes(TRICKS[name](str(file.with_suffix(".ran"))))
    subprocess.run([sys.executable, "-c", BARE_LOAD, *map(str, files.values())], check=True, timeout=120)
    ran = {name for name, file in files.items() if file.with_suffix(".ran").exists()}
    assert {"a bare pickle, cut at the limit", "a zip, cut at the limit", "another place"} <= ran
    assert ran & {"the first of two members", "the last of two members"}  # torch 2.1 takes either, 2.13 the last
    assert [name for name in ran if not unsafe_reason(files[name].read_bytes(), "evil.pt")] == []


def test_an_import_at_the_very_end(tmp_path: Path) -> None:
    (tmp_path / "startled.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    data = b"\x80\x02cstartled\nanything\n"
    (tmp_path / "evil.pt").write_bytes(data)
    subprocess.run([sys.executable, "-c", BARE_LOAD, "evil.pt"], check=True, timeout=120, cwd=tmp_path)
    assert (tmp_path / "ran").exists()
    assert unsafe_reason(data, "evil.pt") == 'imports "startled.anything"'


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_an_import_whose_line_has_no_end(cut: int) -> None:
    """Some readers take it for complete, without its last letter."""
    assert "imports" in unsafe_reason(b"\x80\x02cstartled\nanything\n"[:-cut], "evil.pt")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth"])
def test_what_torch_saves_is_not_unsafe(suffix: str, zipped: bool, protocol: int) -> None:
    packed = io.BytesIO()
    values = {"string_to_param": {"*": torch.ones(2, 8)}, "name": "sword", "notes": "x" * 100_000, "step": 3}
    torch.save(values, packed, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    assert unsafe_reason(packed.getvalue(), f"sword{suffix}") == ""


def test_a_long_name_is_no_more_than_one(tmp_path: Path) -> None:
    """A text of a million letters can be named as a module thousands of times."""
    text = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6
    data = zip_file(b"\x80\x04" + text + b"q\0" + b"h\0\x930" * 4_000 + b".")
    assert unsafe_reason(data, "evil.pt") == UNVERIFIABLE
