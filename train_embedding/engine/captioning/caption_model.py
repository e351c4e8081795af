"""Opening a caption model from its folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import InvalidInput, NotFound, UnreadableFile
from train_embedding.messages import joined, msg

if TYPE_CHECKING:
    from PIL import Image

TAGS_FILE = "selected_tags.csv"
"The tags of a tagger, next to its ONNX file."
CONFIG_FILE = "config.json"
MODEL_TYPES = ("blip", "blip-2", "florence2", "git", "vision-encoder-decoder")
"Values of `model_type` in the config files of image-to-text models that are supported."
MAX_CONFIG_BYTES = 2**20


class CaptionModel(Protocol):
    """A model that describes images."""

    def describe(self, image: Image.Image) -> str:
        """Return the caption of an image.

        Args:
            image: In RGB, of any size.
        """
        ...


@dataclass(frozen=True)
class CaptionOptions:
    """How captions are generated."""

    max_tokens: int = 60
    "Largest number of tokens that an image-to-text model generates; a prompt takes 75 of CLIP's."
    prompt: str = ""
    "What Florence-2 is asked for, such as <CAPTION>; by default a detailed caption."
    threshold: float = 0.35
    "Smallest probability of a general tag."
    character_threshold: float = 0.85
    "Smallest probability of a tag that names a character."

    def __post_init__(self) -> None:
        """Check the values. Raises InvalidInput."""
        if not 1 <= self.max_tokens <= 500:
            raise InvalidInput(msg("The longest caption can be set to 1 to 500 tokens, not {count}.", count=self.max_tokens))
        for value in (self.threshold, self.character_threshold):
            if not (math.isfinite(value) and 0 < value <= 1):
                raise InvalidInput(msg("The threshold of tags is {value}; it must be above 0 and at most 1.", value=value))


def open_caption_model(folder: Path, device: str = "cpu", options: CaptionOptions | None = None) -> CaptionModel:
    """Open a caption model. Nothing is downloaded, and no code in the folder is executed.

    Args:
        folder: A folder as the Hugging Face Hub has them: an image-to-text model of transformers with a config file and
            safetensors weights, or a tagger with an ONNX file and `selected_tags.csv`.
        device: Where an image-to-text model runs; in fp16 on a GPU. A tagger runs where onnxruntime decides.
        options: How captions are generated.

    Raises:
        NotFound: The folder does not exist.
        UnreadableFile: The folder has no such model, or its files are damaged.
        InvalidInput: The model is of another type, or a package that it needs is not installed.
    """
    check_caption_model(folder)
    options = options or CaptionOptions()
    if (folder / TAGS_FILE).is_file():
        from train_embedding.engine.captioning.tagger import Tagger

        return Tagger(folder, options)
    from train_embedding.engine.captioning.image_to_text import ImageToText

    return ImageToText(folder, model_type(folder), device, options)


def check_caption_model(folder: Path) -> None:
    """Check that a folder has a caption model, without reading its weights. Raises NotFound, UnreadableFile, InvalidInput."""
    if not folder.is_dir():
        raise NotFound(msg('The folder "{folder}" does not exist.', folder=folder))
    if not (folder / TAGS_FILE).is_file():
        model_type(folder)


def model_type(folder: Path) -> str:
    """Return the type of an image-to-text model, one of MODEL_TYPES. Raises UnreadableFile, InvalidInput."""
    try:
        found = str(read_config(folder / CONFIG_FILE).get("model_type", ""))
    except FileNotFoundError as error:
        raise UnreadableFile(
            msg('The folder "{folder}" has no caption model: there is neither {config} nor {tags}.', folder=folder,
                config=CONFIG_FILE, tags=TAGS_FILE),
            msg("Enter the folder of an image-to-text model (BLIP, Florence-2, GIT) or of a WD14 tagger."),
        ) from error  # fmt: skip
    if found not in MODEL_TYPES:
        raise InvalidInput(
            msg(
                '"{folder}" contains a model of the type "{type}", which is not supported as a caption model.',
                folder=folder,
                type=found,
            ),
            msg("Supported types are {types}, and WD14 taggers.", types=joined(MODEL_TYPES)),
        )
    return found


def read_config(file: Path) -> dict[str, Any]:
    """Read a JSON file of a model; {} if it holds no object.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableFile: It cannot be read, or is not JSON.
    """
    try:
        values: Any = json.loads(read_regular_file(file, MAX_CONFIG_BYTES)[:MAX_CONFIG_BYTES])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(msg('"{file}" cannot be read: {reason}.', file=file, reason=error)) from error
    return cast("dict[str, Any]", values) if isinstance(values, dict) else {}
