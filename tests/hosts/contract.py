"""What every host promises, as functions over a Host: tests/hosts/test_contract.py calls them here, and over HTTP in the process
of a running WebUI, Forge or reForge, where tests/webui/extension loads this file. So it imports nothing but what is there too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from train_embedding.embeddings.create import takes_whole_text
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Host, Progress, Txt2ImgRequest

NAME = "te-test-contract"
SMALL = {"steps": 2, "width": 64, "height": 64, "guidance": 3.0}
PATIENCE = 300.0


def the_facts_fit_together(host: Host) -> None:
    info = host.info()
    assert info.name
    assert info.embeddings_folder.parent.is_dir()  # Forge Neo has no such folder before the first embedding
    assert not info.runs_folder.is_relative_to(info.embeddings_folder)
    assert info.widths
    assert info.checkpoint_name
    assert info.why_no_training == ""
    assert info.resolution % 8 == 0
    assert isinstance(info.runs_pickles, bool)
    assert torch.device(info.device).type in ("cpu", "cuda", "mps", "xpu")
    assert isinstance(getattr(torch, info.dtype), torch.dtype)


def token_embeddings_are_rows_per_encoder(host: Host) -> None:
    text, widths = "a big red star", host.info().widths
    tables = host.token_embeddings(text)
    assert {key: tuple(table.shape) for key, table in tables.items()} == {key: (4, width) for key, width in widths.items()}
    for table in tables.values():
        assert (table.dtype, table.device.type) == (torch.float32, "cpu")
        assert not table.is_inference()
        assert bool(torch.isfinite(table).all())
    cut = 4 if takes_whole_text(widths) else 2
    for key, table in host.token_embeddings(text, 2).items():
        assert torch.equal(table, tables[key][:cut])
    assert all(len(table) == 0 for table in host.token_embeddings("").values())


def one_job_at_a_time(host: Host) -> None:
    entered = threading.Event()

    def second() -> None:
        with host.exclusive("second"):
            entered.set()

    with _ending(threading.Thread(target=second)) as thread, host.exclusive("first"):
        thread.start()
        assert not entered.wait(0.2)
    assert entered.is_set()


def interrogators_describe_images(host: Host) -> None:
    image = Image.linear_gradient("L").convert("RGB")
    for interrogator in host.interrogators():
        assert interrogator.label
        with host.exclusive("describe"):
            if interrogator.problem:
                _assert_refused(host, interrogator.name)
                continue
            with host.interrogate(interrogator.name) as describe:
                first = describe(image)
                assert first.strip()
                assert describe(image) == first
    with host.exclusive("describe"):
        _assert_refused(host, "none")


def a_failed_job_gives_the_queue_back(host: Host) -> None:
    def fail() -> None:
        with host.exclusive("fails"):
            raise ZeroDivisionError

    try:
        fail()
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("the error was swallowed")
    with host.exclusive("next"):
        pass


def giving_way_lets_those_work_who_wait(host: Host) -> None:
    order: list[str] = []

    def release() -> None:
        order.append("memory is freed")

    def second() -> None:
        with host.exclusive("second"):
            order.append("second")

    with _ending(threading.Thread(target=second)) as thread, host.exclusive("first"), host.model():
        host.report(Progress(1, 2, "half"))
        host.yield_queue(release)  # nobody waits
        thread.start()
        end = time.monotonic() + PATIENCE
        while "second" not in order and time.monotonic() < end:
            host.yield_queue(release)
            time.sleep(0.01)
        order.append("first again")
        host.report(Progress(2, 2))
        assert not host.interrupted()
    assert order == ["memory is freed", "second", "first again"]


def embeddings_are_known_after_a_reload(host: Host) -> None:
    folder, widths, suffix = host.info().embeddings_folder, host.info().widths, host.info().file_suffixes[0]
    wide = {"clip_h": 1024} if widths != {"clip_h": 1024} else {"clip_l": 768}
    with _gone_afterwards(host, folder / f"{NAME}-sub" / f"{NAME}{suffix}", folder / f"{NAME}-wide.safetensors") as (one, other):
        assert NAME not in host.loaded_embeddings().names
        write_embedding(_ones(NAME, widths), one)
        write_embedding(_ones(other.stem, wide), other)
        assert NAME not in host.loaded_embeddings().names
        host.reload_embeddings()
        loaded = host.loaded_embeddings()
        assert NAME in loaded.names
        assert other.stem not in loaded.names
        assert loaded.left_out[other.stem]
        assert sorted(file.name for file in one.parent.iterdir()) == [one.name], "a file of ours was renamed"
    assert NAME not in host.loaded_embeddings().names


def the_model_trains_and_is_left_as_it_was(host: Host) -> None:
    with host.exclusive("draws"):
        before = _pixels(host, "a tree", seed=5)
    with host.exclusive("trains"), host.model() as model, torch.inference_mode(False), torch.enable_grad():
        assert model.widths == host.info().widths
        assert not any(parameter.requires_grad for module in model.modules() for parameter in module.parameters())
        gradients = _gradients(model)
        assert all(bool(torch.isfinite(gradient).all()) and bool(gradient.any()) for gradient in gradients)
        assert _pixels(host, "a tree", seed=5) == before, "a preview is what the person would get"
        for one, other in zip(gradients, _gradients(model), strict=True):  # sums over threads may differ in the last digit
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))
    with host.exclusive("draws"):
        assert _pixels(host, "a tree", seed=5) == before


def vectors_of_a_request_are_used_and_leave_no_trace(host: Host) -> None:
    loaded = host.loaded_embeddings()
    tree = Embedding(NAME, host.token_embeddings("tree"))
    with host.exclusive("draws"):
        assert _pixels(host, f"a {NAME} by monet", (tree,)) == _pixels(host, "a tree by monet")
        assert _pixels(host, "a tree", seed=2) != _pixels(host, "a tree", seed=3)
    assert host.loaded_embeddings() == loaded


def a_missing_sampler_is_named(host: Host) -> None:
    with host.exclusive("draws"):
        said = _failure(lambda: host.txt2img(Txt2ImgRequest("a tree", sampler="Eular", **SMALL)))
    assert "Eular" in said


CONTRACT: dict[str, Callable[[Host], None]] = {
    check.__name__: check
    for check in (
        the_facts_fit_together,
        token_embeddings_are_rows_per_encoder,
        one_job_at_a_time,
        interrogators_describe_images,
        a_failed_job_gives_the_queue_back,
        giving_way_lets_those_work_who_wait,
        embeddings_are_known_after_a_reload,
        the_model_trains_and_is_left_as_it_was,
        vectors_of_a_request_are_used_and_leave_no_trace,
        a_missing_sampler_is_named,
    )
}


def _failure(action: Callable[[], object]) -> str:
    """What HostFailed says; empty where it is not raised."""
    try:
        action()
    except HostFailed as error:
        return error.message
    return ""


def _ones(name: str, widths: dict[str, int]) -> Embedding:
    return Embedding(name, {key: torch.ones(2, width) for key, width in widths.items()})


def _pixels(host: Host, prompt: str, embeddings: tuple[Embedding, ...] = (), seed: int = 1) -> bytes:
    picture = host.txt2img(Txt2ImgRequest(prompt, seed=seed, embeddings=embeddings, **SMALL))
    assert picture.size == (64, 64)
    return picture.convert("RGB").tobytes()


def _gradients(model: Any) -> list[torch.Tensor]:
    """Of a sum over the prediction with respect to one vector per text encoder, from fixed numbers."""
    from train_embedding.engine.prompts.splicing import VectorRows, batch_prompts, tokenize_pieces

    generator = torch.Generator().manual_seed(1)
    tables = {key: torch.randn(1, width, generator=generator) for key, width in model.widths.items()}
    tables = {key: table.to(model.device).requires_grad_() for key, table in tables.items()}
    prompts = batch_prompts([tokenize_pieces(["a ", VectorRows(0, 1), " by monet"])]).to(model.device)
    noisy = torch.randn(1, 4, 8, 8, generator=generator).to(model.device)
    prediction = model.predict(noisy, torch.tensor([700], device=model.device), model.encode_prompts(prompts, tables))
    return list(torch.autograd.grad(prediction.float().square().sum(), list(tables.values())))


def _assert_refused(host: Host, interrogator: str) -> None:
    try:
        with host.interrogate(interrogator):
            pass
    except HostFailed:
        return
    raise AssertionError(f"{interrogator} was loaded")


@contextmanager
def _ending(thread: threading.Thread) -> Iterator[threading.Thread]:
    """Waits for the thread at the end, where it was started."""
    try:
        yield thread
    finally:
        if thread.ident is not None:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@contextmanager
def _gone_afterwards(host: Host, *files: Path) -> Iterator[tuple[Path, ...]]:
    try:
        yield files
    finally:
        for file in files:
            file.unlink(missing_ok=True)
            if file.parent != host.info().embeddings_folder and file.parent.is_dir():
                file.parent.rmdir()
        host.reload_embeddings()
