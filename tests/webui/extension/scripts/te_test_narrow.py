# pyright: reportMissingImports=false
"""In Forge, for tests/webui: checkpoints of fewer channels and layers than those that its loader knows (tests/webui/maker.py)."""

import json
import sys
import tempfile
from pathlib import Path


def teach(loader, model_list):
    """The loader asks a table for sizes, and takes text encoder and VAE from configs on disk; all are made to fit."""
    for family in (model_list.SD15, model_list.SDXL):
        family.unet_config = {key: value for key, value in family.unet_config.items() if key != "model_channels"}
    load = loader.load_huggingface_component

    def load_fitting(guess, component, library, kind, folder, state):
        fitted = fitting(Path(folder) / component / "config.json", state) if state else None
        if fitted is None:
            return load(guess, component, library, kind, folder, state)
        with tempfile.TemporaryDirectory() as made:
            (Path(made) / component).mkdir()
            (Path(made) / component / "config.json").write_text(json.dumps(fitted))
            return load(guess, component, library, kind, made, state)

    loader.load_huggingface_component = load_fitting


def fitting(file, state):
    """The config with the sizes of these weights; None where it fits already, or is another component's."""
    config = json.loads(file.read_text()) if file.is_file() else {}
    if "num_hidden_layers" in config and not any(".layers.2." in key for key in state):
        mlp = next(tensor for key, tensor in state.items() if key.endswith("layers.0.mlp.fc1.weight"))
        return {**config, "num_hidden_layers": 2, "intermediate_size": mlp.shape[0]}
    if "latent_channels" in config and state["encoder.conv_in.weight"].shape[0] != config["block_out_channels"][0]:
        channels = state["encoder.conv_in.weight"].shape[0]
        return {**config, "block_out_channels": [channels * scale for scale in (1, 2, 4, 4)]}
    return None


if "backend.loader" in sys.modules:
    from huggingface_guess import model_list

    teach(sys.modules["backend.loader"], model_list)
