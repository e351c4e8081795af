"""The demo's VAE: training, and standardization of its latents."""

# torch and numpy annotate these only partly:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch.nn import functional as F

from train_embedding.demo.maker.images import as_input
from train_embedding.demo.maker.muon import Muon

SCALING_FACTOR = 0.18215
CHANNELS = (96,) * 4
"Group normalization has 32 groups; with fewer than three channels per group, the level of a flat colour is lost."
KL_WEIGHT = 1e-6
START_LOG_VARIANCE = -8.0
"Posteriors start narrow: with a variance of 1, the decoder would see only noise for hundreds of steps."


def new_vae() -> AutoencoderKL:
    """Make an untrained VAE of 8×8×4 latents for 64×64 images, with the layout of Stable Diffusion's."""
    vae = AutoencoderKL(
        block_out_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=0,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=64,
        scaling_factor=SCALING_FACTOR,
    )
    for module in vae.modules():  # residual branches start at zero, so that flat colours are learned immediately
        if isinstance(module, ResnetBlock2D):
            torch.nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, Attention):
            torch.nn.init.zeros_(module.get_submodule("to_out.0").get_parameter("weight"))
    return vae


def train_vae(
    vae: AutoencoderKL,
    images: torch.Tensor,
    *,
    steps: int,
    rate: float,
    batch_size: int,
    seed: int,
    new: bool,
    log: Callable[[str], None],
) -> None:
    """Train a VAE with a rate that falls linearly.

    The loss is the sum of L1 at full size, L1 of the averages of 8×8 pixels, L2, and a small KL term.

    Args:
        vae: The VAE.
        images: uint8 [N, 3, 64, 64].
        steps: Number of steps.
        rate: First learning rate of Muon.
        batch_size: Images per step.
        seed: Seed of the order of images and of the noise.
        new: Whether the VAE is untrained; its posteriors are then made narrow.
        log: Is called with the loss every 100 steps.
    """
    generator = torch.Generator().manual_seed(seed)
    vae.train().to(memory_format=torch.channels_last)
    if new:
        with torch.no_grad():
            vae.quant_conv.bias[4:] = START_LOG_VARIANCE
    optimizer = Muon([vae], rate=rate, adam_rate=rate / 20)

    def loss_of(images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        error = F.l1_loss(decoded, images)
        coarse = F.l1_loss(F.avg_pool2d(decoded, 8), F.avg_pool2d(images, 8))
        return error + coarse + F.mse_loss(decoded, images) + KL_WEIGHT * posterior.kl().mean() / 256, error

    for step in range(1, steps + 1):
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        noise = torch.randn(batch_size, 4, 8, 8, generator=generator)
        loss, error = loss_of(as_input(images[chosen]), noise)
        loss.backward()
        optimizer.step(min(1.0, step / 20) * (1 - (step - 1) / steps))
        if step % 100 == 0 or step == steps:
            log(f"vae step {step}/{steps} L1 {error.detach().item():.4f}")
    vae.eval()


@torch.no_grad()
def encode_images(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Return posterior means [N, 4, 8, 8], not multiplied by the scaling factor."""
    return torch.cat([vae.encode(as_input(batch)).latent_dist.mean for batch in images.split(64)])


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, latents: torch.Tensor) -> None:
    """Fold a shift and a scale per channel into the 1×1 convolutions on both sides of the latents.

    Latents × `SCALING_FACTOR` then have mean 0 and variance 1 in every channel, as Stable Diffusion's noise schedule assumes;
    reconstructed images stay the same.

    Args:
        vae: The VAE.
        latents: [N, 4, 8, 8], from `encode_images`.
    """
    mean = latents.mean((0, 2, 3))
    gain = 1 / (latents.std((0, 2, 3)) * SCALING_FACTOR)
    encoder, decoder = vae.quant_conv, vae.post_quant_conv
    encoder.weight[:4] *= gain[:, None, None, None]
    encoder.bias[:4] = (encoder.bias[:4] - mean) * gain
    encoder.bias[4:] += 2 * gain.log()  # the second half of the outputs is the log variance
    decoder.bias += (decoder.weight[:, :, 0, 0] * mean).sum(1)
    decoder.weight /= gain[:, None, None]
