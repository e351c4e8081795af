"""Finds the foreground of an image with a model of rembg that is already on this machine. Nothing is downloaded."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# The annotations of NumPy are incomplete.

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train_embedding.errors import InvalidInput, TrainingFailed, UnreadableFile
from train_embedding.messages import NOTHING, Message, msg

HOME = "U2NET_HOME"
"The environment variable with rembg's folder of models."
MODELS = ("u2net.onnx", "u2net_human_seg.onnx", "silueta.onnx", "u2netp.onnx")
"Files of rembg that take the same input, the best first."
SIDE = 320
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"Of ImageNet, by which U²-Net's input is normalised."


def models_folder() -> Path:
    """Return the folder in which rembg keeps its models."""
    home = os.environ.get(HOME)
    return Path(home).expanduser() if home else Path.home() / ".u2net"


def segmentation_problem() -> Message:
    """Say why backgrounds cannot be removed; empty if they can."""
    if _model_file() is None:
        return msg(
            'Background removal needs a model of rembg, such as "{model}", in {folder}.', model=MODELS[0], folder=models_folder()
        )
    if importlib.util.find_spec("onnxruntime") is None:
        return msg("Background removal needs the package onnxruntime.")
    return NOTHING


def foreground(image: Image.Image) -> Image.Image:
    """Return how likely each pixel belongs to the foreground, as a grey image in the same size.

    Source: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern Recognition 2020.

    Args:
        image: In RGB.

    Raises:
        InvalidInput: There is no model, or onnxruntime is not installed.
        UnreadableFile: The model is damaged.
        TrainingFailed: The model fails.
    """
    file = _model_file()
    problem = segmentation_problem()
    if file is None or problem:
        raise InvalidInput(problem)
    session = _open_session(file)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
    values = (small / max(1.0, float(small.max())) - np.array(_MEAN)) / np.array(_DEVIATION)
    try:
        found: Any = session.run(None, {session.get_inputs()[0].name: values.transpose(2, 0, 1)[None].astype(np.float32)})[0]
        likely = np.asarray(found, dtype=np.float32).reshape(-1, SIDE, SIDE)[0]
    except Exception as error:  # its exceptions have no common base of their own
        raise TrainingFailed(msg("Background removal failed: {reason}", reason=error)) from error
    least, most = float(likely.min()), float(likely.max())
    shades = (likely - least) / (most - least) if most > least else np.zeros_like(likely)
    return Image.fromarray((shades * 255).round().astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)


def _model_file() -> Path | None:
    folder = models_folder()
    return next((folder / name for name in MODELS if (folder / name).is_file()), None)


def _open_session(file: Path) -> Any:
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    runtime: Any = onnxruntime
    try:
        return runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base of their own
        raise UnreadableFile(msg('"{file}" cannot be read: {reason}.', file=file, reason=error)) from error
