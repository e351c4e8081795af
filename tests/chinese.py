"""Which words of a Chinese text or page are still English, for the tests of translations."""

from __future__ import annotations

import re
from typing import Any

TECHNICAL = frozenset(
    re.findall(
        r"\S+",
        """
        AdamW API AUTOMATIC1111 BLIP bf16 bfloat16 bigG CFG CivitAI CLIP ComfyUI CoRe CPU CUDA Danbooru Deepbooru Diffusion
        diffusers Direction Embedding EMA Extras float16 float32 fp16 fp32 Forge GPU GB GiB Huber ID Inversion InvokeAI JPEG JSON
        kohya KiB LoRA Lora LFS MB Min MiB MSE NaN Notepad NVIDIA OneTrainer OpenCLIP PNG Prodigy px Pillow reForge Scale SD
        SDXL sdxl TIFF Stable SNR SVD Textual Train txt2img img2img UNet URL UTF VAE WebP WebUI zip gamma auto
        SD1 SD2 Cross Initialization GIF SHA SwarmUI Fooocus Python torch pickle safetensors Unicode CC BY Civitai Enter
        Florence GIT WD14 OpenCV rembg Shift
        """,
    )
)
"Words that stay English in Chinese texts, besides code, options and what is quoted."
_ASIDE = re.compile(
    r"""
    \{[^{}]*\}                               # fields of a template
    | --[\w-]+ | \[/?\w+\] | <[^<>]*>        # options, placeholders of captions, extra networks
    | \([\w-]+:[\d.]+\) | my-cat             # a weight, the name in examples
    | [“"'`‘][^”"'`’]*[”"'`’]                # quotations
    | [\w.-]*[\\/][\w./\\-]* | \w*[._]\w+    # paths, suffixes, names of files and packages
    """,
    re.VERBOSE,
)

_VISIBLE_TEXTS = """(parts) => {
    const seen = new Set();
    const names = "[dir=auto], .te-token, .te-near, textarea, script, style, .card .name";
    const gradio = "svg, [class*=icon-button], [class*=thumbnail], [class*=gallery], [id$=gallery], #te_train_plot";
    const isName = (element) => element.closest(`${names}, ${gradio}`);
    const roots = document.querySelectorAll(parts);
    for (const root of roots) {
        const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
            const element = walk.currentNode.parentElement;
            if (element.getClientRects().length && !isName(element)) seen.add(walk.currentNode.textContent.trim());
        }
        for (const element of root.querySelectorAll("[title], [placeholder], [aria-label]")) {
            if (!element.getClientRects().length || isName(element)) continue;
            for (const name of ["title", "aria-label"]) seen.add(element.getAttribute(name) || "");
        }
    }
    return [...seen].filter(Boolean);
}"""


def english_words(text: str) -> list[str]:
    """Return the words of Latin letters in a text that are neither technical terms nor code."""
    return [word for word in re.findall(r"[A-Za-z][A-Za-z\d]+", _ASIDE.sub(" ", text)) if word not in TECHNICAL]


def visible_texts(page: Any, parts: str = "#te_panels") -> set[str]:
    """Return the texts that can be seen in parts of a page, without names, what the user types, and what gradio itself draws."""
    return set(page.evaluate(_VISIBLE_TEXTS, parts))
