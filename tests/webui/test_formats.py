"""Every form of embedding file in the WebUI: it loads what is written here, its safe unpickler on, and draws the same with it."""

from __future__ import annotations

import pytest
import torch

from tests.webui.server import PREFIX, ROUTES, WebUI, vectors_in
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FORMAT_NAMES, suffixes_of
from train_embedding.embeddings.formats import read_embedding, write_embedding

FORMS = [(name, suffix) for name in FORMAT_NAMES for suffix in suffixes_of(name) if suffix != ".jxl"]
# OneTrainer's and diffusers' forms are to it a lone tensor under some key.
PICTURE = "a {} by monet"


@pytest.mark.parametrize(("form", "suffix"), FORMS)
def test_the_webui_loads_what_is_written(webui: WebUI, form: str, suffix: str) -> None:
    _skip_images_where_none_load(webui, form)
    plain, name = f"{PREFIX}plain", f"{PREFIX}{form}"
    webui.create(plain, "big red star", vectors=3)
    vectors = vectors_in(webui.embeddings / f"{plain}.pt")
    write_embedding(Embedding(name, {"clip_l": vectors}, step=5), webui.embeddings / f"{name}{suffix}", form)
    webui.reload()
    loaded = webui.loaded()[name]
    assert (loaded["vectors"], loaded["shape"]) == (3, vectors.shape[1])
    assert webui.picture(PICTURE.format(name)) == webui.picture(PICTURE.format(plain))


@pytest.mark.parametrize(("form", "suffix"), FORMS)
def test_and_for_sdxl_leaves_out_what_does_not_fit(webui: WebUI, form: str, suffix: str) -> None:
    """With a checkpoint of another family, what the WebUI could read is skipped; what it could not, it does not know at all."""
    _skip_images_where_none_load(webui, form)
    name = f"{PREFIX}{form}"
    vectors = {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}
    write_embedding(Embedding(name, vectors), webui.embeddings / f"{name}{suffix}", form)
    webui.reload()
    listed = webui.get("/sdapi/v1/embeddings")["loaded" if webui.is_forge else "skipped"]  # Forge's API knows no checkpoint
    assert (listed[name]["vectors"], listed[name]["shape"]) == (2, 768 + 1280)
    entry = next(entry for entry in webui.get(f"{ROUTES}/embeddings") if entry["name"] == name)
    assert not entry["loaded"]
    assert "SDXL" in entry["reason"] or f"width {768 + 1280}" in entry["reason"]


def test_what_the_webui_writes_is_read(webui: WebUI) -> None:
    if reason := webui.why_it_creates_none:
        pytest.skip(reason)
    name = f"{PREFIX}native"
    body = {"name": name, "num_vectors_per_token": 2, "overwrite_old": False, "init_text": "red star"}
    webui.post("/sdapi/v1/create/embedding", body)
    path = webui.embeddings / f"{name}.pt"
    read = read_embedding(path)
    assert read.format == "webui"
    assert torch.equal(read.vectors["clip_l"], vectors_in(path))


def _skip_images_where_none_load(webui: WebUI, form: str) -> None:
    if form in ("png", "image") and not webui.loads_images:
        pytest.skip("Forge Neo lists no embeddings in images, and Forge Classic loads none")
