"""Kinds of image files: told by how they begin, whatever they are called, and never one that starts another program."""

from __future__ import annotations

import importlib.machinery
import io
import sys
from types import ModuleType

import pytest
from PIL import Image, features

from train_embedding.images import kinds
from train_embedding.images.kinds import KINDS, SUFFIXES, is_readable, kind_of, webp_is_safe
from train_embedding.images.limits import TRAINING_PIXELS

WRITTEN = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000"]


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_signature_decides_and_not_the_suffix(kind: str) -> None:
    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, kind)
    head = data.getvalue()[: kinds.HEAD]
    assert {kind_of(head, suffix) for suffix in (*SUFFIXES, "", ".eps", ".txt")} == {kind}


@pytest.mark.parametrize("kind", ["TGA", "DIB"])
def test_kinds_without_a_signature_are_told_by_the_suffix(kind: str) -> None:
    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, kind)
    assert kind_of(data.getvalue(), KINDS[kind].suffixes[0]) == kind
    assert kind_of(data.getvalue(), ".png") == ""


@pytest.mark.parametrize(
    ("brand", "suffix", "kind"),
    [("avif", "", "AVIF"), ("heic", ".avif", "HEIF"), ("mif1", ".heic", "HEIF"), ("mif1", "", "AVIF"), ("isom", ".avif", "")],
)
def test_files_of_boxes(brand: str, suffix: str, kind: str) -> None:
    assert kind_of(b"\0\0\0\x1cftyp" + brand.encode() + bytes(16), suffix) == kind


@pytest.mark.parametrize(
    "head", [b"", b"%!PS-Adobe-3.0 EPSF-3.0", b"\xc5\xd0\xd3\xc6", b"\xd7\xcd\xc6\x9a", b"8BPS", b"%PDF", b"RIFF\0\0\0\0AVI "]
)
def test_nothing_else_is_an_image(head: bytes) -> None:
    assert kind_of(head, ".png") == ""


def test_kinds_that_start_programs_are_not_in_the_table() -> None:
    Image.init()
    assert not set(KINDS) & {"EPS", "WMF", "FPX", "MIC", "PDF", "MPEG", "PALM"}
    assert set(KINDS) - set(Image.OPEN) <= {"AVIF", "HEIF", "JXL"}


def test_a_plugin_is_loaded_when_an_image_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds._load_plugin.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(Image, "OPEN", {name: opens for name, opens in Image.OPEN.items() if name != "HEIF"})
    plugin = ModuleType("te_test_plugin")
    plugin.__spec__ = importlib.machinery.ModuleSpec(plugin.__name__, None)
    plugin.register = lambda: Image.OPEN.setdefault("HEIF", Image.OPEN["PNG"])  # type: ignore[attr-defined]
    monkeypatch.setitem(KINDS, "HEIF", kinds.Kind("HEIF", (".heic",), "te_test_plugin", "register"))
    assert not is_readable("HEIF")
    kinds._load_plugin.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    assert is_readable("HEIF")
    kinds._load_plugin.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("version", "safe"), [("1.3.0", False), ("1.3.1", False), ("1.3.2", True), ("1.4.0", True), (None, False)]
)
def test_the_decoder_of_webp_that_was_repaired(monkeypatch: pytest.MonkeyPatch, version: str | None, safe: bool) -> None:
    monkeypatch.setattr(features, "version", lambda _: version)
    assert webp_is_safe() == safe


def test_every_kind_has_a_limit_for_training() -> None:
    assert TRAINING_PIXELS.keys() == KINDS.keys()
