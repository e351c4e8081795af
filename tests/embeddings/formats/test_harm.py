"""Files that programs with a bare `torch.load` would run something of: what they ask for is told, and their vectors are saved."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks.hostile_cases import Calls, Case, cases, vectors_and_call, zip_file
from train_embedding.embeddings.formats import MAX_FILE_SIZE, rescued
from train_embedding.embeddings.formats.harm import AMBIGUOUS, PROGRAM, UNFOLLOWED, harm_in
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
    assert [
        case.name for file, case in zip(files, RUNS, strict=True) if "asks for" not in harm_in(file.read_bytes(), file.name)
    ] == []


@pytest.mark.parametrize("case", [case for case in cases() if case.reads], ids=lambda case: case.name)
def test_sound_files_do_no_harm(case: Case) -> None:
    assert harm_in(case.make(""), f"sword{case.suffix}") == ""


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_short_anywhere_it_does_no_harm(zipped: bool) -> None:
    data = saved({"string_to_param": {"*": torch.ones(1, 8)}, "name": "sword"}, zipped)
    assert {harm_in(data[:length], "sword.pt") for length in range(len(data) + 1)} == {""}


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + bytes(50), b"hello, this is text", b"{}", bytes(100), b""], ids=repr)
def test_what_no_loader_gets_through_does_no_harm(data: bytes) -> None:
    assert harm_in(data, "sword.pt") == ""


def test_only_what_torch_loads_does_harm() -> None:
    evil = vectors_and_call("x", True)
    assert harm_in(evil, "evil.PT") == 'asks for "posix.system"'
    assert harm_in(evil, "evil.safetensors") == ""


def test_a_bare_pickle() -> None:
    assert harm_in(b"cos\nsystem\n(S'x'\ntR.", "evil.pt") == 'asks for "os.system"'


def test_many_names_are_not_all_listed() -> None:
    data = zip_file(b"".join(f"cos\nf{number}\n".encode() for number in range(9)) + b".")
    assert harm_in(data, "evil.pt") == 'asks for "os.f0", "os.f1", "os.f2" and 6 more'


def test_a_name_found_before_the_end_of_sense() -> None:
    """A reader has run it by then."""
    assert harm_in(zip_file(b"cos\nsystem\n(S'x'\ntR\xff"), "evil.pt") == 'asks for "os.system"'


@pytest.mark.parametrize(
    "pickled",
    [b"I0x10\ncos\nsystem\n.", b"\x80\x02\x82\x01.", b"V" + b"x" * 5000 + b"\ncos\nsystem\n.", b"N" * 30_000 + b"cos\nsystem\n."],
    ids=["a number that only C reads", "an extension", "a long line", "many opcodes"],
)
def test_in_doubt_it_is_told(pickled: bytes) -> None:
    assert harm_in(zip_file(pickled), "evil.pt") == UNFOLLOWED


def test_a_name_in_a_torch_file_of_other_spelling() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/DATA.PKL", pickle.dumps(Calls(print, "x")))
    assert harm_in(packed.getvalue(), "evil.pt") == 'asks for "builtins.print"'


def test_a_program() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(()))
    assert harm_in(packed.getvalue(), "evil.pt") == PROGRAM


def test_a_tar_archive() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    assert harm_in(packed.getvalue(), "evil.pt") == UNFOLLOWED


@pytest.mark.parametrize("data", [b"PK\x03\x04" + b"x" * 40 + SOUND, SOUND + b"more"], ids=["before", "behind"])
def test_an_archive_with_something_around_it(data: bytes) -> None:
    assert harm_in(data, "evil.pt") == AMBIGUOUS


def test_too_large_to_be_looked_through() -> None:
    assert harm_in(bytes(MAX_FILE_SIZE + 1), "evil.pt") == UNFOLLOWED


@pytest.mark.parametrize("zipped", [True, False])
def test_vectors_are_saved_and_nothing_runs(tmp_path: Path, zipped: bool) -> None:
    embedding = rescued(vectors_and_call(str(tmp_path / "ran"), zipped), "evil.pt")
    assert torch.equal(embedding.vectors["clip_l"], torch.ones(2, 768))
    assert embedding.step == 7
    assert not list(tmp_path.iterdir())


def test_what_is_built_of_it_is_left_out_too() -> None:
    values = {"string_to_param": {"*": torch.ones(1, 768)}, "list": Calls(list, [Calls(print, "x")]), "name": Calls(str, "x")}
    assert torch.equal(rescued(saved(values), "evil.pt").vectors["clip_l"], torch.ones(1, 768))


@pytest.mark.parametrize("values", [Calls(print, "x"), {"string_to_param": {"*": Calls(print, "x")}}], ids=["all", "the vectors"])
def test_where_nothing_is_left(values: object) -> None:
    with pytest.raises(UnreadableFile):
        rescued(saved(values), "evil.pt")


def test_only_torch_files_are_rescued() -> None:
    with pytest.raises(UnreadableFile, match="was not saved by torch"):
        rescued(b"cos\nsystem\n.", "evil.pt")
