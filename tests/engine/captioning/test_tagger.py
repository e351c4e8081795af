"""Taggers in ONNX format: their input, the choice of tags, and how tags are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.caption_models import SIDE, TAGS, make_tagger
from train_embedding.engine.captioning import CaptionOptions, open_caption_model
from train_embedding.engine.captioning.tagger import model_input, prompt_tag
from train_embedding.errors import InvalidInput, UnreadableFile


def test_an_image_becomes_bgr_on_a_white_square() -> None:
    pixels = model_input(Image.new("RGB", (40, 30), (10, 20, 30)), SIDE)
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((1, SIDE, SIDE, 3), np.float32, True)
    assert pixels[0, SIDE // 2, SIDE // 2].tolist() == [30, 20, 10]
    assert pixels[0, 0, 0].mean() > 200


def test_tags_reach_the_threshold_of_their_category(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 30), (255, 128, 100))
    tagger = open_caption_model(make_tagger(tmp_path))
    assert tagger.describe(image) == "o_o, blue sky"
    generous = open_caption_model(tmp_path, options=CaptionOptions(threshold=0.5, character_threshold=0.5))
    assert generous.describe(image) == r"o_o, miku \(vocaloid\)"


@pytest.mark.parametrize(
    ("tag", "written"),
    [
        ("long_hair", "long hair"),
        ("^_^", "^_^"),
        (">_<", ">_<"),
        ("|o_o|", "|o_o|"),
        ("0_0", "0_0"),
        ("v_v", "v_v"),
        (";)", r";\)"),
        ("1girl", "1girl"),
        ("saber_(fate)", r"saber \(fate\)"),
        ("re_zero", "re zero"),
    ],
)
def test_tags_are_written_as_prompts_have_them(tag: str, written: str) -> None:
    assert prompt_tag(tag) == written


def test_a_tagger_whose_files_do_not_fit_is_refused(tmp_path: Path) -> None:
    folder = make_tagger(tmp_path, TAGS[:3])
    with pytest.raises(UnreadableFile, match=r"does not fit its tags.*4 outputs, 3 tags"):
        open_caption_model(folder)
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(UnreadableFile, match=r"model.onnx.*cannot be read"):
        open_caption_model(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(UnreadableFile, match="has no ONNX file"):
        open_caption_model(folder)


@pytest.mark.parametrize("content", [b"", b"tag_id,name\n1,a", b"\xff\xfe\x00", b"tag_id,name,category\n"])
def test_damaged_tags_are_refused(tmp_path: Path, content: bytes) -> None:
    (make_tagger(tmp_path) / "selected_tags.csv").write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"selected_tags\.csv"):
        open_caption_model(tmp_path)


def test_a_tagger_runs_on_cuda_or_the_processor_and_not_with_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime: Any = pytest.importorskip("onnxruntime")
    real, used = runtime.InferenceSession, list[list[str]]()

    def session(_file: str, providers: list[str]) -> Any:
        used.append(providers)
        return real(_file, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(runtime, "InferenceSession", session)
    folder = make_tagger(tmp_path)
    for names in (["TensorrtExecutionProvider", "CUDAExecutionProvider"], ["TensorrtExecutionProvider"]):
        monkeypatch.setattr(runtime, "get_available_providers", lambda names=names: [*names, "CPUExecutionProvider"])
        open_caption_model(folder)
    assert used == [["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]]


def test_thresholds_are_probabilities() -> None:
    for value in (0, -1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="above 0 and at most 1"):
            CaptionOptions(threshold=value)
