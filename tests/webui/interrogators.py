"""Small files for the interrogators of a WebUI, in place of downloads: `PYTHON_OF_THE_WEBUI interrogators.py WEBUI_FOLDER`.

Writes models/BLIP and models/torch_deepdanbooru with weights of the true shapes, nearly all of them one repeated number, and
BLIP's tokenizer into the cache of the Hugging Face Hub, unless these files exist. What they say is nonsense, but always the
same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

TAGS = 9176
"Number of tags of DeepDanbooru."
SAID = ("1girl", "blue_sky", "smile_(face)")
LAST, BIAS = "n_Conv_178.weight", "n_Conv_177.bias"
"The last layer of DeepDanbooru, and the bias of the layer before it."
WORDS = 30522


def main(folder: Path) -> None:
    sys.path[:0] = [str(folder / "repositories" / "BLIP"), str(folder)]
    os.chdir(folder)
    write_tokenizer()
    write_deepbooru(folder / "models" / "torch_deepdanbooru" / "model-resnet_custom_v3.pt")
    write_blip(folder / "models" / "BLIP" / "model_base_caption_capfilt_large.pth", folder / "repositories" / "BLIP")


def write_tokenizer() -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE) / "models--bert-base-uncased"
    snapshot = cache / "snapshots" / "0000000000000000000000000000000000000000"
    if (cache / "refs" / "main").exists():
        return
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(snapshot.name)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "picture", "of"]
    words = [*special, *(f"word{number}" for number in range(WORDS - len(special)))]
    (snapshot / "vocab.txt").write_text("\n".join(words))
    (snapshot / "tokenizer_config.json").write_text('{"do_lower_case": true}')


def write_deepbooru(file: Path) -> None:
    from modules.deepbooru_model import DeepDanbooruModel  # type: ignore[import-not-found]

    if file.exists():
        return
    state: dict[str, Any] = {name: _same(value) for name, value in DeepDanbooruModel().state_dict().items()}
    channels = state[LAST].shape[1]
    strengths = torch.full((TAGS, 1, 1, 1), -10.0)
    strengths[: len(SAID), 0, 0, 0] = torch.tensor([3.0, 2.0, 1.0])
    state[LAST] = strengths.expand(state[LAST].shape)  # times the bias before it, which all channels share
    state[BIAS] = torch.full((1,), 1 / channels).expand(channels)
    _save({**state, "tags": [*SAID, *(f"tag_{number}" for number in range(TAGS - len(SAID)))]}, file)


def write_blip(file: Path, repository: Path) -> None:
    if file.exists():
        return
    sys.modules["fairscale.nn.checkpoint.checkpoint_activations"] = type("Checkpoint", (), {"checkpoint_wrapper": None})()  # type: ignore[assignment]
    from models.blip import blip_decoder  # type: ignore[import-not-found]

    config = repository / "configs" / "med_config.json"
    model: Any = blip_decoder(image_size=384, vit="base", med_config=str(config))
    state = {name: _same(value) for name, value in model.state_dict().items()}
    for name in ("text_decoder.cls.predictions.bias", "text_decoder.cls.predictions.decoder.bias"):  # one, under two names
        state[name] = torch.zeros(state[name].shape)
        state[name][[5, 6]] = torch.tensor([2.0, 1.9])
    _save({"model": state}, file)


def _same(value: torch.Tensor) -> torch.Tensor:
    """A tensor of this shape that takes the space of one number."""
    return torch.zeros((), dtype=value.dtype).expand(value.shape) if value.is_floating_point() else value


def _save(state: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, file)
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv.pop()).absolute())  # the WebUI's modules would read it as theirs
