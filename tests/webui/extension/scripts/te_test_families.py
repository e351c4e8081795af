# pyright: reportMissingImports=false
"""A WebUI extension for tests/webui: small OpenCLIP text towers, and a route that compares the WebUI's model with ours."""

from pathlib import Path

import open_clip
import torch
from modules import devices, prompt_parser, script_callbacks, shared

for file in sorted((Path(__file__).parents[1] / "openclip").glob("*.json")):
    open_clip.add_model_config(file)


def compare(text: str = "a big red star", side: int = 64):
    """Largest differences between the WebUI's own forward and ours, relative to its largest number, and what is shared."""
    from train_embedding.engine.model import no_vectors
    from train_embedding.engine.placeholder import batch_prompts, tokenise
    from train_embedding.engine.weights import shared_parameters
    from train_embedding.hosts.detect import detect

    host = detect()
    with host.exclusive("compare"), host.model() as model, torch.no_grad():
        sd_model = shared.sd_model
        ours = model.context(batch_prompts([tokenise([text])]).to(model.device), no_vectors(model))
        with devices.autocast():  # without which the WebUI's fp8 weights compute nothing
            theirs = sd_model.get_learned_conditioning(prompt_parser.SdConditioning([text], width=side, height=side))
        noisy = torch.randn(1, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(1)).to(devices.device)
        timestep = torch.tensor([700], device=devices.device)
        prediction = model.predict(noisy, timestep, ours)
        blank = [model._blank_picture(noisy)] if model.inpainting else []
        if isinstance(theirs, dict):
            condition = {**theirs, **({"c_concat": blank} if blank else {})}
            context, pooled = theirs["crossattn"], theirs["vector"][:, : ours.pooled.shape[1]]
        else:
            condition = {"c_crossattn": [theirs], **({"c_concat": blank} if blank else {})}
            context, pooled = theirs, None
        with devices.autocast():
            expected = sd_model.apply_model(noisy, timestep, condition)
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)).to(devices.device)
        state = sd_model.state_dict()
        return {
            "family": model.family,
            "prediction_type": model.prediction_type,
            "inpainting": model.inpainting,
            "context": _difference(ours.context, context),
            "pooled": 0.0 if pooled is None else _difference(ours.pooled, pooled),
            "prediction": _difference(prediction, expected),
            "decoded": _difference(model.decode_latents(latents), sd_model.decode_first_stage(latents)),
            "alphas": _difference(model.alphas_cumprod, sd_model.alphas_cumprod),
            "shared": [shared_parameters(module, state) for module in model.modules()],
        }


def _difference(ours, theirs):
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def on_app_started(_demo, app):
    app.add_api_route("/te-test/compare", compare, methods=["GET"])


script_callbacks.on_app_started(on_app_started)
