"""The small txt2img page of the stand-alone app, with the WebUI's element ids."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.messages import Message, msg
from train_embedding.services.training import describe_ignored_networks
from train_embedding.services.waiting import in_turn
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, UNLISTED, gallery
from train_embedding.ui.templates import render as render_template

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.ui.tab import HostCards

LARGEST_SEED = 2**32 - 1
STEPS, CFG_SCALE, SEED = msg("Sampling steps"), msg("CFG scale"), msg("Seed")
WIDTH, HEIGHT = msg("Width"), msg("Height")
BOUNDS: dict[Message, tuple[int, int]] = {
    STEPS: (1, 150), CFG_SCALE: (1, 30), SEED: (-1, LARGEST_SEED), WIDTH: (8, 2048), HEIGHT: (8, 2048),
}  # fmt: skip
"Smallest and largest numbers of the fields."


@dataclass(frozen=True)
class Page:
    """The widgets."""

    prompt: gr.Textbox
    negative_prompt: gr.Textbox
    steps: gr.Number
    guidance: gr.Number
    seed: gr.Number
    width: gr.Number
    height: gr.Number
    generate: gr.Button
    gallery: gr.Gallery
    status: gr.HTML
    refresh: gr.Button
    cards: gr.HTML


def render(services: Services, blocks: gr.Blocks) -> HostCards:
    """Add the page to the Blocks being built.

    Args:
        services: What the page works on.
        blocks: The Blocks being built.

    Returns:
        The component with the cards, and a function that renders them.
    """
    page = _build(services)
    numbers = itertools.count(1)
    request = (page.prompt, page.negative_prompt, page.steps, page.guidance, page.seed, page.width, page.height)

    @errors_in(page.status)
    def generate(*values: Any) -> dict[Any, Any]:
        made = txt2img_request(*values)
        with in_turn(services.host, "txt2img"):
            start = time.monotonic()
            image = services.host.txt2img(made)
        facts = msg(
            "Image {number}, Steps: {steps}, Seed: {seed}, Time: {time:.3f} s",
            number=next(numbers),
            steps=made.steps,
            seed=made.seed,
            time=time.monotonic() - start,
        )
        return {
            page.gallery: [image],
            page.status: html.message("quiet", facts, describe_ignored_networks(msg("Prompt"), made.prompt)),
        }

    @errors_in(page.status)
    def refresh() -> dict[Any, Any]:
        services.host.reload_embeddings()
        return {page.cards: _cards(services)}

    page.generate.click(generate, list(request), [page.gallery, page.status], **UNLISTED)
    page.refresh.click(refresh, [], [page.cards], **AT_ONCE)
    blocks.load(lambda: _cards(services), [], [page.cards], **AT_ONCE)
    return {page.cards: lambda: _cards(services)}


def txt2img_request(
    prompt: str, negative_prompt: str, steps: float, guidance: float, seed: float, width: float, height: float
) -> Txt2ImgRequest:
    """Check what was entered. A seed below 0 means a random one.

    Raises:
        InvalidInput: A number is out of bounds, or its field is empty.
    """
    numbers: dict[Message, float | None] = dict(zip(BOUNDS, (steps, guidance, seed, width, height), strict=True))
    for label, (low, high) in BOUNDS.items():
        number = numbers[label]
        hint = msg("Enter a number from {low} to {high}.", low=low, high=high)
        if number is None:
            raise InvalidInput(msg('"{option}" is empty.', option=label), hint)
        if not low <= number <= high:
            raise InvalidInput(msg('"{option}" is {value:g}.', option=label, value=number), hint)
    chosen = random.randint(0, LARGEST_SEED) if seed < 0 else int(seed)
    return Txt2ImgRequest(prompt, negative_prompt, int(steps), float(guidance), chosen, int(width) // 8 * 8, int(height) // 8 * 8)


def _build(services: Services) -> Page:
    side = services.host.info().resolution
    with gr.Row(equal_height=False):
        with gr.Column(scale=6):
            prompt = gr.Textbox(label=t("Prompt"), lines=3, elem_id="txt2img_prompt")
            negative_prompt = gr.Textbox(label=t("Negative prompt"), lines=2, elem_id="txt2img_neg_prompt")
            with gr.Row():
                steps = gr.Number(20, label=t(STEPS), min_width=80, elem_id="txt2img_steps")
                guidance = gr.Number(5, label=t(CFG_SCALE), min_width=80, elem_id="txt2img_cfg_scale")
                seed = gr.Number(1, label=t(SEED), min_width=80, elem_id="txt2img_seed")
                width = gr.Number(side, label=t(WIDTH), min_width=80, elem_id="txt2img_width")
                height = gr.Number(side, label=t(HEIGHT), min_width=80, elem_id="txt2img_height")
        with gr.Column(scale=4):
            generate = gr.Button(t("Generate"), variant="primary", elem_id="txt2img_generate")
            result = gallery(label=t("Output"), columns=1, height=320, object_fit="contain", elem_id="txt2img_gallery")
            status = gr.HTML("", elem_id="html_info_txt2img")
    with gr.Row(elem_classes=["te-heading"]):
        gr.HTML(html.panel_title(msg("Textual Inversion")))
        refresh = gr.Button(t("Refresh"), size="sm", elem_id="txt2img_textual_inversion_extra_refresh")
    cards = gr.HTML("", elem_id="txt2img_textual_inversion_cards")
    return Page(prompt, negative_prompt, steps, guidance, seed, width, height, generate, result, status, refresh, cards)


def _cards(services: Services) -> str:
    names = sorted(services.host.loaded_embeddings().names, key=str.casefold)
    empty = msg('No embedding yet. Create one on the tab "{tab}".', tab=msg("Train Embedding"))
    return render_template("txt2img_cards", names=names, empty=empty)
