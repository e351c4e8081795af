# pyright: reportMissingImports=false
"""In Forge and its relatives, for tests/webui: checkpoints of fewer channels and layers than they know (tests/webui/maker.py)."""

import functools
import json
import sys
import tempfile
from pathlib import Path


def teach(loader, model_list):
    """The loader asks a table for sizes, and takes text encoder and VAE from configs on disk; all are made to fit."""
    allow_any_width(model_list)
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


def allow_any_width(model_list):
    for family in (model_list.SD15, model_list.SDXL):
        family.unet_config = {key: value for key, value in family.unet_config.items() if key != "model_channels"}


def teach_earlier(detection, encoders, parts):
    """In reForge and Forge Classic: the loader first recognizes a checkpoint, then makes its VAE, then its text encoder."""
    recognize, make_vae, read_config = (
        detection.model_config_from_unet,
        parts.VAE.__init__,
        encoders.CLIPTextConfig.from_json_file,
    )
    mlps = {}  # of the text encoder in the checkpoint that is being loaded, by layer

    @functools.wraps(recognize)
    def recognize_and_remember(state, *arguments, **options):
        ends = ".mlp.fc1.weight"
        mlps.clear()
        mlps.update(
            {key: tensor.shape for key, tensor in state.items() if "transformer.text_model." in key and key.endswith(ends)}
        )
        return recognize(state, *arguments, **options)

    @functools.wraps(make_vae)
    def make_fitting_vae(self, sd=None, device=None, config=None, **options):
        first = (sd or {}).get("encoder.conv_in.weight")
        if config is None and first is not None and first.shape[0] != 128:
            sizes = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": first.shape[0]}
            sizes |= {"ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
            config = {"params": {"ddconfig": sizes, "embed_dim": 4}}
        make_vae(self, sd=sd, device=device, config=config, **options)

    def read_fitting_config(*arguments, **options):
        config = read_config(*arguments, **options)
        if config.hidden_size == 768 and 0 < len(mlps) < config.num_hidden_layers:
            config.num_hidden_layers, config.intermediate_size = len(mlps), next(iter(mlps.values()))[0]
        return config

    detection.model_config_from_unet = recognize_and_remember
    parts.VAE.__init__ = make_fitting_vae
    encoders.CLIPTextConfig.from_json_file = read_fitting_config


if "ldm_patched.modules.sd" in sys.modules:
    from ldm_patched.modules import model_detection, sd, sd1_clip, supported_models

    allow_any_width(supported_models)
    teach_earlier(model_detection, sd1_clip, sd)

if "backend.loader" in sys.modules:
    from huggingface_guess import model_list

    teach(sys.modules["backend.loader"], model_list)
