"""Keys of latent diffusion: diffusers' own conversion turns them back into what they came from."""

from __future__ import annotations

from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

from tests.checkpoints import LAYERS, source
from train_embedding.demo.maker.ldm_layout import unet_key, vae_key


def test_no_key_is_lost_or_made_twice() -> None:
    made = source()
    state = made.ldm_state()
    modules = (made.unet, made.vae, made.text_encoder)
    assert len(state) == sum(len(module.state_dict()) for module in modules)


def test_the_unet_comes_back() -> None:
    made = source()
    back = convert_ldm_unet_checkpoint(made.ldm_state(), dict(made.unet.config))
    assert set(back) == set(made.unet.state_dict())


def test_the_vae_comes_back() -> None:
    made = source()
    back = convert_ldm_vae_checkpoint(made.ldm_state(), dict(made.vae.config))
    assert set(back) == set(made.vae.state_dict())


def test_known_keys() -> None:
    assert unet_key("time_embedding.linear_1.weight", LAYERS) == "time_embed.0.weight"
    assert unet_key("down_blocks.1.resnets.0.conv1.bias", LAYERS) == "input_blocks.3.0.in_layers.2.bias"
    assert unet_key("up_blocks.0.upsamplers.0.conv.weight", LAYERS) == "output_blocks.1.2.conv.weight"
    assert unet_key("mid_block.attentions.0.proj_in.weight", LAYERS) == "middle_block.1.proj_in.weight"
    assert vae_key("encoder.mid_block.attentions.0.to_q.weight") == "encoder.mid.attn_1.q.weight"
    assert vae_key("decoder.up_blocks.0.resnets.0.conv1.weight") == "decoder.up.3.block.0.conv1.weight"
    assert vae_key("decoder.conv_norm_out.weight") == "decoder.norm_out.weight"
