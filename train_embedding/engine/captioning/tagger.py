"""WD14 taggers: ONNX models that give the probability of each tag of Danbooru.

Input and thresholds as in the demo of their author: SmilingWolf, "WaifuDiffusion Tagger",
huggingface.co/spaces/SmilingWolf/wd-tagger.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.engine.captioning.caption_model import TAGS_FILE, CaptionOptions
from train_embedding.engine.prompts.attention_syntax import escape_prompt
from train_embedding.errors import InvalidInput, UnreadableFile
from train_embedding.messages import msg

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

MAX_TAGS_BYTES = 16 * 2**20
GENERAL, CHARACTER = "0", "4"
"Categories of tags; others are ratings."
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"Of onnxruntime, in this order. TensorRT is not among them: it would build an engine for minutes, or fail without its libraries."
LONGEST_EMOTICON = 5
"Number of characters of the longest emoticon among the tags, |o_o|."


@dataclass(frozen=True)
class Tag:
    """A tag of the model.

    Attributes:
        name: As in the file, with underscores for spaces.
        category: "0" general, "4" character, others are ratings.
    """

    name: str
    category: str


class Tagger:
    """A tagger.

    Args:
        folder: The folder with one ONNX file and `selected_tags.csv`.
        options: How captions are generated.

    Raises:
        UnreadableFile: The files are damaged or do not fit together.
        InvalidInput: onnxruntime is not installed.
    """

    def __init__(self, folder: Path, options: CaptionOptions) -> None:
        self._options = options
        self._tags = read_tags(folder / TAGS_FILE)
        files = sorted(folder.glob("*.onnx"))
        if not files:
            raise UnreadableFile(msg('The folder "{folder}" has no ONNX file.', folder=folder))
        self._session = _open_session(files[0])
        model_input, output = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._input, shape = model_input.name, list(model_input.shape)
        count = output.shape[-1]
        is_square = len(shape) == 4 and shape[1] == shape[2] and isinstance(shape[1], int) and shape[3] == 3
        if not is_square or (isinstance(count, int) and count != len(self._tags)):
            raise UnreadableFile(
                msg('"{file}" does not fit its tags: images of shape {shape} and {outputs} outputs, {tags} tags.', file=files[0],
                    shape=str(shape), outputs=str(count), tags=len(self._tags))
            )  # fmt: skip
        self._side = int(shape[1])

    def describe(self, image: Image.Image) -> str:
        """Return the tags of an image, the most probable first, as CaptionModel."""
        (rows,) = self._session.run(None, {self._input: model_input(image, self._side)})
        return ", ".join(chosen_tags(self._tags, [float(value) for value in rows[0]], self._options))


def model_input(image: Image.Image, side: int) -> NDArray[Any]:
    """Return an image as these models take it: BGR from 0 to 255, [1, side, side, 3], fp32, filled up with white to a square."""
    import numpy as np
    from PIL import Image

    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(image.convert("RGB"), ((longest - image.width) // 2, (longest - image.height) // 2))
    pixels = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    return np.ascontiguousarray(pixels[None, :, :, ::-1])


def chosen_tags(tags: list[Tag], probabilities: list[float], options: CaptionOptions) -> list[str]:
    """Return the tags whose probability reaches the threshold of their category, the most probable first, for a prompt."""
    limits = {GENERAL: options.threshold, CHARACTER: options.character_threshold}
    found = [
        (probability, tag.name)
        for tag, probability in zip(tags, probabilities, strict=True)
        if tag.category in limits and probability >= limits[tag.category]
    ]
    return [prompt_tag(name) for _probability, name in sorted(found, key=lambda item: -item[0])]


def prompt_tag(name: str) -> str:
    r"""Return a tag as prompts have it: spaces for underscores, and `\(` for parentheses, which would be a weight."""
    spaced = name if is_emoticon(name) else name.replace("_", " ")
    return escape_prompt(spaced)


def is_emoticon(name: str) -> bool:
    """Return whether a tag is an emoticon, such as ^_^ or o_o, whose underscores are part of it."""
    return "_" in name and not re.search(r"[^\W\d_]{2,}", name) and len(name) <= LONGEST_EMOTICON


def read_tags(file: Path) -> list[Tag]:
    """Read the tags of a tagger. Raises UnreadableFile."""
    try:
        text = read_regular_file(file, MAX_TAGS_BYTES)[:MAX_TAGS_BYTES].decode()
        rows = [Tag(row["name"], row["category"].strip()) for row in csv.DictReader(io.StringIO(text))]
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise UnreadableFile(msg('"{file}" cannot be read: {reason}.', file=file, reason=error)) from error
    if not rows:
        raise UnreadableFile(msg('"{file}" has no tags.', file=file))
    return rows


def _open_session(file: Path) -> Any:
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise InvalidInput(
            msg("Taggers in ONNX format need the package onnxruntime."), msg("Install it: pip install onnxruntime")
        ) from error
    try:
        runtime: Any = onnxruntime
        available = runtime.get_available_providers()
        return runtime.InferenceSession(str(file), providers=[name for name in PROVIDERS if name in available])
    except Exception as error:  # its exceptions have no common base of their own
        raise UnreadableFile(msg('"{file}" cannot be read: {reason}.', file=file, reason=error)) from error
