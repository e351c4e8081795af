"""Pictures by the engine: an embedding of a word draws what the word draws, and Euler's steps end where they should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.model.noise_schedule import noise_schedule
from train_embedding.engine.sampling import decode_to_images, draw_latents, euler_sigmas

SCHEDULE = noise_schedule(0.00085, 0.012, 1000)


def drawn(model: DiffusionModel, prompt: str, *embeddings: Embedding, seed: int = 1, **options: Any) -> bytes:
    settings: dict[str, Any] = {"steps": 3, "width": 64, "height": 64, **options}
    return decode_to_images(model, draw_latents(model, [prompt], [seed], embeddings=embeddings, **settings))[0].tobytes()


def embedding_of(model: DiffusionModel, text: str, name: str = "sword", count: int | None = None) -> Embedding:
    return Embedding(name, model.token_embeddings(text, count))


@pytest.mark.parametrize("text", ["tree", "a big red star"])
def test_an_untrained_embedding_draws_what_its_text_draws(tiny_model: DiffusionModel, text: str) -> None:
    embedding = embedding_of(tiny_model, text)
    picture = drawn(tiny_model, "a sword by monet", embedding)
    assert picture == drawn(tiny_model, f"a {text} by monet")
    assert picture != drawn(tiny_model, "a sword by monet")


def test_the_same_in_the_negative_prompt(tiny_model: DiffusionModel) -> None:
    embedding = embedding_of(tiny_model, "tree")
    picture = drawn(tiny_model, "a star", embedding, negative_prompt="sword, ugly")
    assert picture == drawn(tiny_model, "a star", negative_prompt="tree, ugly")
    assert picture != drawn(tiny_model, "a star", negative_prompt="ugly")


def test_several_embeddings_at_once(tiny_model: DiffusionModel) -> None:
    sword, moon = embedding_of(tiny_model, "tree"), embedding_of(tiny_model, "red star", "moon")
    expected = drawn(tiny_model, "tree beside red star")
    assert drawn(tiny_model, "sword beside moon", sword, moon) == expected
    assert drawn(tiny_model, "sword beside moon", moon, sword) == expected


def test_an_embedding_of_another_width_is_a_word(tiny_model: DiffusionModel) -> None:
    other = Embedding("sword", {"clip_l": torch.ones(1, 768)})
    assert drawn(tiny_model, "a sword", other) == drawn(tiny_model, "a sword")


def test_seeds_prompts_and_settings_matter(tiny_model: DiffusionModel) -> None:
    first = drawn(tiny_model, "a star")
    assert first == drawn(tiny_model, "a star")
    for other in ({"seed": 2}, {"guidance": 3.0}, {"steps": 4}, {"negative_prompt": "red"}):
        assert first != drawn(tiny_model, "a star", **other)
    assert first != drawn(tiny_model, "a tree")
    # u + 1 · (c − u) is c but for rounding, which may tip a colour over to the next one
    plain, negative = (drawn(tiny_model, "a star", guidance=1.0, negative_prompt=words) for words in ("", "red"))
    assert max(abs(one - other) for one, other in zip(plain, negative, strict=True)) <= 1


def test_a_picture_does_not_depend_on_its_neighbours(tiny_model: DiffusionModel) -> None:
    latents = draw_latents(tiny_model, ["a star", "a tree"], [1, 2], steps=3, width=64, height=64)
    pictures = decode_to_images(tiny_model, latents)
    alone = [drawn(tiny_model, "a star"), drawn(tiny_model, "a tree", seed=2)]
    for together, single in zip(pictures, alone, strict=True):
        assert max(abs(one - other) for one, other in zip(together.tobytes(), single, strict=True)) <= 2


@pytest.mark.parametrize(
    ("prompt", "same"),
    [
        (r"a \(star\)", None),
        ("a (star:1.0) # a note", "a star "),
        ("a <lora:x:0.8>star", "a star"),
        ("[tree:star:0] moon", "star moon"),
        ("[tree::9] moon", "tree moon"),
        ("a star :1.0", "a star"),
    ],
)
def test_prompts_are_read_as_by_the_webui(tiny_model: DiffusionModel, prompt: str, same: str | None) -> None:
    if same is None:
        assert drawn(tiny_model, prompt) != drawn(tiny_model, prompt.replace("\\", ""))
    else:
        assert drawn(tiny_model, prompt) == drawn(tiny_model, same)


@pytest.mark.parametrize(
    "prompt", ["a (star:1.5)", "a [star]", "a BREAK star", "[a:star:1]", "[a|star]", "a AND star", "a star :2"]
)
def test_each_part_of_the_syntax_changes_the_picture(tiny_model: DiffusionModel, prompt: str) -> None:
    assert drawn(tiny_model, prompt) != drawn(tiny_model, "a star")


def test_the_negative_prompt_weighs_and_changes_too(tiny_model: DiffusionModel) -> None:
    pictures = {
        drawn(tiny_model, "a star", negative_prompt=words) for words in ("red", "(red:1.5)", "[red:blue:1]", "[blue|red]")
    }
    assert len(pictures) == 4
    assert drawn(tiny_model, "a star", negative_prompt="red # a note") == drawn(tiny_model, "a star", negative_prompt="red ")


def test_an_embedding_that_weighs(tiny_model: DiffusionModel) -> None:
    embedding = embedding_of(tiny_model, "tree")
    assert drawn(tiny_model, "a (sword:1.3)", embedding) == drawn(tiny_model, "a (tree:1.3)")


def asked(model: DiffusionModel, prompt: str, monkeypatch: pytest.MonkeyPatch, steps: int) -> list[torch.Tensor]:
    """The contexts that the UNet gets at each step."""
    contexts: list[torch.Tensor] = []
    predict = DiffusionModel.predict

    def kept(model: DiffusionModel, noisy: torch.Tensor, timesteps: torch.Tensor, conditioning: Any) -> torch.Tensor:
        contexts.append(conditioning.context)
        return predict(model, noisy, timesteps, conditioning)

    monkeypatch.setattr(DiffusionModel, "predict", kept)
    drawn(model, prompt, steps=steps)
    monkeypatch.undo()
    return contexts


def test_a_prompt_changes_at_the_webuis_steps(tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sampler counts from 0, and a text holds as long as the count is not beyond its last step."""
    tree, star = (asked(tiny_model, text, monkeypatch, 1)[0][0] for text in ("a tree", "a star"))
    changing = asked(tiny_model, "a [tree:star:2]", monkeypatch, 5)
    taking_turns = asked(tiny_model, "a [tree|star]", monkeypatch, 5)
    for contexts, expected in ((changing, "tttss"), (taking_turns, "ttsts")):
        said = ["t" if torch.allclose(one[0], tree, atol=1e-5) else "s" for one in contexts]
        assert "".join(said) == expected
        assert all(
            torch.allclose(one[0], tree if word == "t" else star, atol=1e-5) for one, word in zip(contexts, said, strict=True)
        )


def test_prompts_that_and_joins_add_up(tiny_model: DiffusionModel) -> None:
    """u + g · Σ wᵢ (cᵢ − u): the same text twice is twice the guidance, and one of weight 0 is as if it were absent."""
    for joined, prompt, guidance in (
        ("a tree AND a tree", "a tree", 8.0),
        ("a tree AND a star :0", "a tree", 4.0),
        ("a tree :0.5", "a tree", 2.0),
    ):
        both = draw_latents(tiny_model, [joined], [1], steps=3, guidance=4.0, width=64, height=64)
        alone = draw_latents(tiny_model, [prompt], [1], steps=3, guidance=guidance, width=64, height=64)
        assert torch.allclose(both, alone, atol=1e-3)


def test_pictures_of_prompts_with_several_parts_keep_apart(tiny_model: DiffusionModel) -> None:
    prompts = ["a star AND red", "a tree", "[a|moon] AND tree :0.5"]
    together = draw_latents(tiny_model, prompts, [1, 2, 3], steps=3, width=64, height=64)
    for index, prompt in enumerate(prompts):
        alone = draw_latents(tiny_model, [prompt], [index + 1], steps=3, width=64, height=64)
        assert torch.allclose(together[index], alone[0], atol=1e-3)


def test_long_prompts(tiny_model: DiffusionModel) -> None:
    assert drawn(tiny_model, "tree " * 80) != drawn(tiny_model, "tree " * 75)


def test_width_and_height_in_that_order(tiny_model: DiffusionModel) -> None:
    (picture,) = decode_to_images(tiny_model, draw_latents(tiny_model, ["a star"], [1], steps=1, width=96, height=64))
    assert (picture.size, picture.mode) == ((96, 64), "RGB")


def test_sigmas_run_from_the_last_timestep_to_zero() -> None:
    sigmas = euler_sigmas(SCHEDULE, 20)
    assert sigmas.shape == (21,)
    assert float(sigmas[0]) == pytest.approx(14.6146, abs=1e-3)  # sigma_max of Stable Diffusion in k-diffusion
    assert float(sigmas[-2]) == pytest.approx(0.0291675, abs=1e-5)  # and sigma_min
    assert float(sigmas[-1]) == 0
    assert bool((sigmas[1:] < sigmas[:-1]).all())
    assert euler_sigmas(SCHEDULE, 1).tolist() == pytest.approx([14.6146, 0], abs=1e-3)


class PerfectUnet(torch.nn.Module):
    """Knows the one latent that there is: predicts what must be taken from any noisy version of it."""

    def __init__(self, latent: torch.Tensor, prediction_type: str) -> None:
        super().__init__()
        self.latent = torch.nn.Parameter(latent)
        self.prediction_type = prediction_type
        self.timesteps: list[float] = []

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, **_options: object) -> tuple[torch.Tensor]:
        self.timesteps.append(float(timesteps[0]))
        low = timesteps.floor().long()
        part = (timesteps - low)[:, None, None, None]
        log_sigmas = ((1 - SCHEDULE) / SCHEDULE).sqrt().log()
        log_sigma = torch.lerp(log_sigmas[low], log_sigmas[(low + 1).clamp(max=999)], part[:, 0, 0, 0])
        sigma = log_sigma.exp()[:, None, None, None]
        alpha = 1 / (sigma**2 + 1)
        noise = (noisy - alpha.sqrt() * self.latent) / (1 - alpha).sqrt()
        if self.prediction_type == "epsilon":
            return (noise,)
        return (alpha.sqrt() * noise - (1 - alpha).sqrt() * self.latent,)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_model_draws_its_latent(
    tiny_model: DiffusionModel, prediction_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also shows that the timesteps given to the UNet are those of the noise levels, and that v is turned into noise."""
    latent = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(6))
    model: Any = replace(tiny_model, unet=PerfectUnet(latent, prediction_type), prediction_type=prediction_type)
    decoded: list[torch.Tensor] = []
    monkeypatch.setattr(
        type(model), "decode_latents", lambda _self, latents: decoded.append(latents) or torch.zeros(1, 3, 64, 64)
    )
    drawn(model, "", steps=7)
    assert torch.allclose(decoded[0][0], latent, atol=1e-3)
    assert model.unet.timesteps == pytest.approx([999, 832.5, 666, 499.5, 333, 166.5, 0], abs=0.01)
