"""Makes a demo checkpoint, or trains one on: `python -m train_embedding.demo.maker OUTPUT_FOLDER`."""

# torch and numpy annotate these only partly:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from train_embedding.demo.maker.checkpoint import read_checkpoint, write_checkpoint
from train_embedding.demo.maker.images import draw_images
from train_embedding.demo.maker.tokenizer import write_tokenizer
from train_embedding.demo.maker.unet import new_text_encoder, new_unet, train_unet
from train_embedding.demo.maker.vae import SCALING_FACTOR, encode_images, new_vae, standardise_latents, train_vae
from train_embedding.demo.vocabulary import DEMO, VOCABULARIES
from train_embedding.engine.model.noise_schedule import noise_schedule
from train_embedding.engine.prompts.tokenizer import FOLDER

_VAE_IMAGES = 8000
"Images of each vocabulary on which the VAE is trained."


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder to write demo.safetensors, demo.yaml and clip/ into")
    parser.add_argument("--vocabulary", choices=list(VOCABULARIES), default=DEMO.name)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--images", type=int, default=16000)
    parser.add_argument("--images-seed", type=int, default=1)
    parser.add_argument("--continue-from", type=Path, metavar="FILE", help="train the networks of this checkpoint on")
    parser.add_argument("--vae", type=Path, metavar="FILE", help="take the VAE of this checkpoint")
    parser.add_argument("--vae-steps", type=int, default=2000)
    parser.add_argument("--vae-rate", type=float, default=0.02)
    parser.add_argument(
        "--unet-steps", type=int, nargs="+", default=[4500], help="steps of each round; the rate falls in a round"
    )
    parser.add_argument("--unet-rate", type=float, default=0.02)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument(
        "--tokenizer-wheel", type=Path, help="a wheel of open_clip_torch: also write the package's tokenizer files again"
    )
    arguments = parser.parse_args()
    if arguments.tokenizer_wheel:
        write_tokenizer(arguments.tokenizer_wheel, FOLDER)
    start = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - start:6.0f} s  {text}", flush=True)

    make(arguments, log)


def make(arguments: argparse.Namespace, log: Callable[[str], None]) -> None:
    """Draw the images, train the VAE, then text encoder and UNet, and write the files."""
    seed: int = arguments.seed
    torch.manual_seed(seed)
    vae = new_vae()
    torch.manual_seed(seed + 1)
    unet, text_encoder = new_unet(), new_text_encoder()
    for file, networks in ((arguments.continue_from, (unet, vae, text_encoder)), (arguments.vae, (None, vae, None))):
        if file:
            read_checkpoint(file, *networks)
    if arguments.vae_steps:
        drawn = [draw_images(_VAE_IMAGES, seed, vocabulary)[0] for vocabulary in VOCABULARIES.values()]
        train_vae(
            vae, torch.cat(drawn), steps=arguments.vae_steps, rate=arguments.vae_rate, batch_size=8, seed=seed,
            new=not (arguments.continue_from or arguments.vae), log=log,
        )  # fmt: skip
    images, captions = draw_images(arguments.images, arguments.images_seed, VOCABULARIES[arguments.vocabulary])
    if arguments.vae_steps:
        standardise_latents(vae, encode_images(vae, images[:2000]))
    latents = encode_images(vae, images) * SCALING_FACTOR
    log(f"latents: mean {latents.mean():.3f}, deviation {latents.std():.3f}")
    schedule = noise_schedule(0.00085, 0.012, 1000)
    for number, steps in enumerate(arguments.unet_steps):
        unet, text_encoder = train_unet(
            unet, text_encoder, latents, captions, schedule,
            steps=steps, rate=arguments.unet_rate, batch_size=arguments.batch_size, seed=seed + number, log=log,
        )  # fmt: skip
    write_checkpoint(arguments.output, unet, vae, text_encoder)
    log(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
