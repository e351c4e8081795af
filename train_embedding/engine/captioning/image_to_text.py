"""Image-to-text models of transformers: BLIP, BLIP-2, Florence-2, GIT, and encoder-decoder models."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.engine.captioning.caption_model import CONFIG_FILE, CaptionOptions, read_config
from train_embedding.engine.prompts.attention_syntax import escape_prompt
from train_embedding.errors import InvalidInput, UnreadableFile
from train_embedding.messages import msg

if TYPE_CHECKING:
    from PIL import Image

BEAMS = 3
"Beams of the search, as in the WebUI's interrogator and the examples of BLIP and Florence-2."
FLORENCE_PROMPT = "<DETAILED_CAPTION>"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
"The weights, and the list of files where they are in several."
TOKENIZERS = frozenset(
    f"{name}Tokenizer" for name in (
        "Bart", "Bert", "CLIP", "DistilBert", "Electra", "GPT2", "GPTNeoX", "Llama", "MBart", "Roberta", "T5", "XLMRoberta",
    )
) | {"PreTrainedTokenizer", "TokenizersBackend"}  # fmt: skip
"Classes of tokenizers without `Fast`, none of which executes what is in its files. Others of transformers read pickles."


class ImageToText:
    """An image-to-text model with its processor.

    Args:
        folder: The folder with the model's files.
        model_type: Its type, as in its config file.
        device: Where it runs.
        options: How captions are generated.

    Raises:
        UnreadableFile: The files are damaged or incomplete, or the weights are not in safetensors format.
        InvalidInput: The installed transformers does not have this type of model.
    """

    def __init__(self, folder: Path, model_type: str, device: str, options: CaptionOptions) -> None:
        import torch
        from safetensors import SafetensorError

        _check_files(folder)
        found = _class_of(model_type)
        self._options = options
        self._is_florence = model_type == "florence2"
        self._dtype = torch.float32 if device == "cpu" else torch.float16
        self._device = device
        try:
            self._images, self._tokenizer, self._processor = _processors(folder, model_type)
            model: Any = found.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, torch_dtype=self._dtype
            )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
            raise UnreadableFile(
                msg('The caption model in "{folder}" cannot be loaded: {reason}', folder=folder, reason=error)
            ) from error
        self._model = model.to(device).eval()

    def describe(self, image: Image.Image) -> str:
        """Return the caption of an image, as CaptionModel, with brackets escaped."""
        import torch

        with torch.inference_mode():
            tokens = self._model.generate(
                **self._inputs(image), max_new_tokens=self._options.max_tokens, num_beams=BEAMS, do_sample=False
            )
        text: str = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)[0]
        return escape_prompt(" ".join(text.split()))

    def _inputs(self, image: Image.Image) -> dict[str, Any]:
        if self._is_florence:
            found = self._processor(text=self._options.prompt or FLORENCE_PROMPT, images=image, return_tensors="pt")
        else:
            found = self._images(images=image, return_tensors="pt")
        return {
            name: value.to(self._device, self._dtype) if value.is_floating_point() else value.to(self._device)
            for name, value in found.items()
        }


def _check_files(folder: Path) -> None:
    """Refuse files that transformers could execute. Raises UnreadableFile.

    Old releases load a pickle next to a safetensors file of another name, or one that the index names, whatever
    `use_safetensors` says, and have tokenizers that read pickles.
    """
    config = read_config(folder / CONFIG_FILE)
    elsewhere = config.get("transformers_weights") is not None or (folder / "adapter_config.json").exists()
    if elsewhere or not ((folder / WEIGHTS).is_file() or _are_safe(_files_in_index(folder))):
        raise UnreadableFile(
            msg('The folder "{folder}" has no weights in safetensors format.', folder=folder),
            msg("Other formats can contain malicious code and are not loaded."),
        )
    named = [config.get("tokenizer_class")]
    with suppress(FileNotFoundError):
        named.append(read_config(folder / "tokenizer_config.json").get("tokenizer_class"))
    for name in named:
        if name is not None and str(name).removesuffix("Fast") not in TOKENIZERS:
            reason = msg('its tokenizer "{name}" is not supported.', name=str(name)[:100])
            raise UnreadableFile(msg('The caption model in "{folder}" cannot be loaded: {reason}', folder=folder, reason=reason))


def _files_in_index(folder: Path) -> list[str]:
    try:
        files: Any = read_config(folder / INDEX).get("weight_map")
    except FileNotFoundError:
        return []
    return [str(file) for file in files.values()] if isinstance(files, dict) else []  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType, reportUnknownMemberType]


def _are_safe(files: list[str]) -> bool:
    """Whether these are names of safetensors files in the folder itself."""
    return bool(files) and all(file.endswith(".safetensors") and Path(file).name == file for file in files)


def _class_of(model_type: str) -> Any:
    """Return the class of a type of model. Raises InvalidInput."""
    import transformers

    name = {
        "blip": "BlipForConditionalGeneration",
        "blip-2": "Blip2ForConditionalGeneration",
        "florence2": "Florence2ForConditionalGeneration",
        "git": "GitForCausalLM",
        "vision-encoder-decoder": "VisionEncoderDecoderModel",
    }[model_type]
    found = getattr(transformers, name, None)
    if found is None:
        raise InvalidInput(
            msg('transformers {version} does not have the model "{type}".', version=transformers.__version__, type=model_type),
            msg("Use a BLIP model or a WD14 tagger."),
        )
    return found


def _processors(folder: Path, model_type: str) -> tuple[Any, Any, Any]:
    """Return what prepares images, the tokenizer, and the processor of both, which only Florence-2 needs."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer  # pyright: ignore[reportUnknownVariableType]

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if model_type == "florence2":
        processor: Any = AutoProcessor.from_pretrained(str(folder), **options)
        return processor.image_processor, processor.tokenizer, processor
    images: Any = AutoImageProcessor.from_pretrained(str(folder), **options)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **options)
    return images, tokenizer, None
