# pyright: reportMissingImports=false
"""An extension for tests/webui: small OpenCLIP text towers, and a route that compares the program's model with ours."""

from pathlib import Path

import open_clip
import torch
from modules import devices, prompt_parser, script_callbacks, shared

for file in sorted((Path(__file__).parents[1] / "openclip").glob("*.json")):
    open_clip.add_model_config(file)


class WebUIModel:
    """The forward pass of AUTOMATIC1111's."""

    def __init__(self, sd_model):
        self.sd_model = sd_model

    @property
    def state(self):
        return self.sd_model.state_dict()

    @property
    def alphas(self):
        return self.sd_model.alphas_cumprod

    def encode(self, text, side):
        """Context and, of SDXL, what it is told besides."""
        with devices.autocast():  # without which the WebUI's fp8 weights compute nothing
            made = self.sd_model.get_learned_conditioning(prompt_parser.SdConditioning([text], width=side, height=side))
        return (made["crossattn"], made["vector"]) if isinstance(made, dict) else (made, None)

    def predict(self, noisy, timestep, context, vector, blank):
        condition = {"c_crossattn": [context]} if vector is None else {"crossattn": context, "vector": vector}
        if blank is not None:
            condition["c_concat"] = blank if vector is not None else [blank]
        with devices.autocast():
            return self.sd_model.apply_model(noisy, timestep, condition)

    def decode(self, latents):
        return self.sd_model.decode_first_stage(latents)


class ForgeModel(WebUIModel):
    """That of Forge and reForge, which keep a checkpoint in parts."""

    @property
    def parts(self):
        return self.sd_model.forge_objects_original

    @property
    def state(self):
        modules = (self.parts.unet.model, self.parts.vae.first_stage_model, self.parts.clip.cond_stage_model)
        return {f"{number} {key}": tensor for number, module in enumerate(modules) for key, tensor in module.state_dict().items()}

    @property
    def alphas(self):
        predictor = getattr(self.parts.unet.model, "predictor", None)
        return self.sd_model.alphas_cumprod if predictor is None else predictor.alphas_cumprod

    def predict(self, noisy, timestep, context, vector, blank):
        unet = self.parts.unet.model.diffusion_model
        dtype = next(unet.parameters()).dtype
        inputs = noisy if blank is None else torch.cat([noisy, blank], 1)
        told = {} if vector is None else {"y": vector.to(dtype)}
        return unet(inputs.to(dtype), timestep.float(), context=context.to(dtype), **told).float()


def compare(text: str = "a big red star", side: int = 64):
    """Largest differences between the program's own forward and ours, relative to its largest number, and what is shared."""
    from train_embedding.engine.loading.assign import count_shared_parameters
    from train_embedding.engine.model.diffusion_model import empty_vector_tables
    from train_embedding.engine.prompts.splicing import batch_prompts, tokenize_pieces
    from train_embedding.hosts.detect import detect

    host = detect()
    with host.exclusive("compare"), host.model() as model, torch.no_grad():
        sd_model = shared.sd_model
        theirs = ForgeModel(sd_model) if hasattr(sd_model, "forge_objects_original") else WebUIModel(sd_model)
        ours = model.encode_prompts(batch_prompts([tokenize_pieces([text])]).to(model.device), empty_vector_tables(model))
        context, vector = theirs.encode(text, side)
        noisy = torch.randn(1, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(1)).to(devices.device)
        timestep = torch.tensor([700], device=devices.device)
        blank = model._blank_image(noisy) if model.inpainting else None
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)).to(devices.device)
        state = theirs.state
        return {
            "family": model.family,
            "prediction_type": model.prediction_type,
            "inpainting": model.inpainting,
            "context": _difference(ours.context, context),
            "pooled": 0.0 if vector is None else _difference(ours.pooled, vector[:, : ours.pooled.shape[1]]),
            "prediction": _difference(
                model.predict(noisy, timestep, ours), theirs.predict(noisy, timestep, context, vector, blank)
            ),
            "decoded": _difference(model.decode_latents(latents).clamp(-1, 1), theirs.decode(latents).clamp(-1, 1)),
            "alphas": _difference(model.alphas_cumprod, theirs.alphas),
            "shared": [count_shared_parameters(module, state) for module in model.modules()],
        }


def _difference(ours, theirs):
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def on_app_started(_demo, app):
    app.add_api_route("/te-test/compare", compare, methods=["GET"])


script_callbacks.on_app_started(on_app_started)
