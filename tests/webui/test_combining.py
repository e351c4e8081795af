"""Looking inside and combining in the WebUI, and its own token counter beside ours."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
from PIL import Image

from tests.webui.server import PREFIX, ROUTES, WebUI

NAME, OTHER, MADE = f"{PREFIX}sword", f"{PREFIX}shield", f"{PREFIX}made"
PROMPTS = [
    "",
    "a photo of a house",
    f"a ({NAME}:1.2) and [{OTHER}], (((sky))).",
    f"a {NAME} BREAK b BREAK",
    "a long one, " * 30,
    f"{'word ' * 60}, {NAME} {'red ' * 20}",
    "[a:b c d:0.5] [fe|]male <lora:none:1>",
    "a short one AND one that is longer :0.5",
    "a word # and what is left out",
    f"{NAME}{OTHER} {NAME}s",
]


def counted_by_the_webui(webui: WebUI, prompt: str) -> tuple[int, int]:
    """What the counter above its prompt box shows."""
    config = webui.get("/config")
    button = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "txt2img_token_button")
    its_own = (button, [button, "click"])  # as gradio 3 and gradio 4 tell it
    index = next(place for place, one in enumerate(config["dependencies"]) if any(each in its_own for each in one["targets"]))
    answer = webui.post("/run/predict", {"fn_index": index, "data": [prompt, 20, []], "session_hash": "te"})
    shown = re.search(r">(\d+)/(\d+)<", answer["data"][0])
    assert shown is not None, answer
    return int(shown[1]), int(shown[2])


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_tokens_are_counted_as_the_webui_counts_them(webui: WebUI, prompt: str) -> None:
    webui.create(NAME, "red star", vectors=2)
    webui.create(OTHER, "a blue circle", vectors=9)
    steps = [webui.post(f"{ROUTES}/tokens", {"prompt": prompt, "step": step}) for step in (1, 20)]
    longest = max(steps, key=lambda read: read["count"])
    assert (longest["count"], longest["limit"]) == counted_by_the_webui(webui, prompt)


def test_a_new_embedding_is_nearest_to_its_words(webui: WebUI) -> None:
    webui.create(NAME, "red star")
    report = webui.get(f"{ROUTES}/embeddings/{NAME}?top=3&text=red")
    for encoder in report["encoders"]:
        assert [vector["nearest"][0]["text"] for vector in encoder["vectors"]] == ["red", "star"]
        assert encoder["vectors"][0]["reference_cosine"] == pytest.approx(1, abs=1e-4)
        assert encoder["vocabulary_norm"] > 0
    assert report["warnings"] == []


def test_a_formula_is_drawn_saved_and_used(webui: WebUI) -> None:
    webui.create(NAME, "red star")
    body: dict[str, Any] = {"expression": f'{NAME} & "blue"', "name": MADE}
    shown = webui.post(f"{ROUTES}/embeddings/merge", {**body, "dry_run": True, "preview_prompt": "a [name] on white"})
    assert shown["entry"] is None
    preview = Image.open(io.BytesIO(base64.b64decode(shown["image"])))
    saved = webui.post(f"{ROUTES}/embeddings/merge", body)
    assert (saved["entry"]["vectors"], saved["entry"]["loaded"]) == (3, True)
    request = {"steps": 20, "seed": 1, "sampler_name": "Euler", "cfg_scale": 7, "width": preview.width, "height": preview.height}
    drawn = [
        Image.open(io.BytesIO(base64.b64decode(webui.post("/sdapi/v1/txt2img", {**request, "prompt": prompt})["images"][0])))
        for prompt in (f"a {MADE} on white", "a red star blue on white", "a tree on white")
    ]
    assert drawn[0].tobytes() == preview.tobytes() == drawn[1].tobytes()
    assert drawn[2].tobytes() != preview.tobytes()
