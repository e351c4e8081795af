"""torch.compile: used where it is right, left where it is not, and gone afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.families import family
from train_embedding.engine.compiled import compiled
from train_embedding.engine.conditioning import Conditioning
from train_embedding.engine.model import DiffusionModel


class Compiler:
    """In place of torch.compile: counts the calls of what it makes, which may be wrong in some way."""

    def __init__(self, spoil: Callable[[torch.Tensor], torch.Tensor] = lambda output: output) -> None:
        self._spoil = spoil
        self.calls = 0

    def __call__(self, network: Callable[..., Any]) -> Callable[..., Any]:
        def made(*values: Any, **options: Any) -> tuple[torch.Tensor]:
            self.calls += 1
            return (self._spoil(network(*values, **options)[0]),)

        return made


class NoGradient(torch.autograd.Function):
    """Passes values on, and zeros back."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.zeros_like(gradient)


def fail(_output: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no compiler was found\nand more of that")


def gradients(model: DiffusionModel, side: int = 8) -> list[torch.Tensor]:
    """Of a step, in what it was given."""
    config = model.unet.config
    generator = torch.Generator().manual_seed(1)
    pooled = torch.randn(1, 96, generator=generator, requires_grad=True) if config.addition_embed_type else None
    context = torch.randn(1, 77, config.cross_attention_dim, generator=generator, requires_grad=True)
    output = model.predict(torch.ones(1, 4, side, side), torch.tensor([500]), Conditioning(context, pooled))
    return list(torch.autograd.grad(output.square().mean(), [leaf for leaf in (context, pooled) if leaf is not None]))


def alike(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.allclose(one, other, rtol=1e-3, atol=1e-7) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("variant", ["SD1", "SDXL"])
def test_what_is_right_is_used(variant: str) -> None:
    model, compiler, said = family(variant).model(), Compiler(), []
    before = gradients(model)
    with compiled(model, said.append, compiler):
        assert alike(gradients(model), before)
        assert compiler.calls == 2  # the trial, and the step
        gradients(model)
        assert compiler.calls == 3
        gradients(model, side=16)
        assert compiler.calls == 5  # another shape is tried too
        with torch.no_grad():
            model.predict(torch.ones(1, 4, 8, 8), torch.tensor([5]), _conditioning(model))
        assert compiler.calls == 5
    gradients(model)
    assert (compiler.calls, said) == (5, [])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (fail, "failed with RuntimeError: no compiler was found"),
        (NoGradient.apply, "gradient of the context is off by 1 of"),
        (lambda output: output * 1.01, "output is off by 0.01 of"),
        (lambda output: output * torch.nan, "output is off by nan of"),
    ],
)
def test_what_is_wrong_is_left(spoil: Callable[[torch.Tensor], torch.Tensor], says: str) -> None:
    model, compiler, said = family("SD1").model(), Compiler(spoil), []
    before = gradients(model)
    with compiled(model, said.append, compiler):
        assert alike(gradients(model), before)
        assert compiler.calls == 1
        assert alike(gradients(model), before)
        gradients(model, side=16)
        assert compiler.calls == 1
    assert len(said) == 1
    assert "without torch.compile" in said[0]
    assert says in said[0]
    assert "\n" not in said[0]


def test_wrong_for_the_pooled_output_alone() -> None:
    model, said = family("SDXL").model(), []

    def compiler(network: Callable[..., Any]) -> Callable[..., Any]:
        def made(*values: Any, added_cond_kwargs: dict[str, torch.Tensor], **options: Any) -> Any:
            added = added_cond_kwargs | {"text_embeds": NoGradient.apply(added_cond_kwargs["text_embeds"])}
            return network(*values, added_cond_kwargs=added, **options)

        return made

    with compiled(model, said.append, compiler):
        assert float(gradients(model)[1].abs().max()) > 0
    assert "gradient of the pooled output" in said[0]


def test_out_of_memory_is_not_the_compilers_fault() -> None:
    model = family("SD1").model()

    def exhausted(_output: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(torch.cuda.OutOfMemoryError), compiled(model, print, Compiler(exhausted)):
        gradients(model)


def test_the_network_is_given_back() -> None:
    model = family("SD1").model()

    def fail_within() -> None:
        with compiled(model, print, Compiler()):
            assert "forward" in vars(model.unet)
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()
    assert "forward" not in vars(model.unet)


def test_the_sentence_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    model = family("SD1").model()
    with compiled(model, compiler=Compiler(fail)):
        gradients(model)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_compile_itself() -> None:
    """Where it works at all, as its own authors' business is not ours: either way the gradient is the right one."""
    made = family("SD1").model()
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(32,), cross_attention_dim=made.unet.config.cross_attention_dim,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=None,
    )  # fmt: skip
    model = DiffusionModel(unet, made.vae, (), made.alphas_cumprod, "epsilon", "SD1", 1.0, 64)
    before, said = gradients(model), []
    with compiled(model, said.append):
        after = gradients(model)
    assert alike(after, before)
    assert all("without torch.compile" in sentence for sentence in said)


def _conditioning(model: DiffusionModel) -> Conditioning:
    pooled = torch.zeros(1, 96) if model.unet.config.addition_embed_type else None
    return Conditioning(torch.zeros(1, 77, model.unet.config.cross_attention_dim), pooled)
