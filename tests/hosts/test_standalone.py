"""The standalone host: what it says, draws and trains, on a small checkpoint of random weights."""

from __future__ import annotations

import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests import checkpoints
from tests.checkpoints import pictures, tiny_checkpoint
from tests.training import PATIENCE
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.errors import NotFound, StorageFailed, UnreadableFile
from train_embedding.hosts import standalone
from train_embedding.hosts.base import Host, Progress, Txt2ImgRequest
from train_embedding.hosts.standalone import DEMO_CHECKPOINT, CheckpointFile, StandaloneHost
from train_embedding.services import Services

__all__ = ["pictures", "tiny_checkpoint"]


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> StandaloneHost:
    return StandaloneHost(tmp_path / "data", tiny_checkpoint)


@pytest.mark.parametrize(("local_rank", "number"), [(None, 0), ("1", 1), ("5", 1)])
def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch, local_rank: str | None, number: int) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    if local_rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert standalone._own_device() == f"cuda:{number}"
    assert taken == [number]


def drawn(host: StandaloneHost, prompt: str, **options: Any) -> bytes:
    return host.txt2img(Txt2ImgRequest(prompt, **{"steps": 2, "width": 64, "height": 64, **options})).tobytes()


def put(host: StandaloneHost, name: str, vectors: torch.Tensor) -> Path:
    file = host.info().embeddings_folder / name
    write_embedding(Embedding(file.stem, {"clip_l": vectors}), file)
    return file


def test_facts(host: StandaloneHost, tmp_path: Path, tiny_checkpoint: Path) -> None:
    of_protocol: Host = host
    info = of_protocol.info()
    assert info.name.startswith("Train Embedding ")
    folders = (info.embeddings_folder, info.runs_folder, info.templates_folder)
    assert folders == tuple(tmp_path / "data" / name for name in ("embeddings", "runs", "templates"))
    assert all(folder is not None and folder.is_dir() for folder in folders)
    assert (info.checkpoint_name, info.widths, info.resolution) == ("demo", {"clip_l": 64}, 64)
    assert (info.allowed_folders, info.why_no_training) == (None, "")
    if not torch.cuda.is_available():
        assert (info.device, info.dtype) == ("cpu", "float32")


def test_the_hash_is_the_webuis_short_one(host: StandaloneHost, tiny_checkpoint: Path) -> None:
    import hashlib

    assert host.info().checkpoint_hash == hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()[:10]


def test_the_demo_checkpoint_is_the_default(tmp_path: Path) -> None:
    assert StandaloneHost(tmp_path)._checkpoint.path == DEMO_CHECKPOINT.resolve()
    assert DEMO_CHECKPOINT.is_file()
    assert DEMO_CHECKPOINT.with_suffix(".yaml").is_file()


def test_the_model_is_read_once(host: StandaloneHost) -> None:
    with host.model() as one, host.model() as other:
        assert one is other


def test_a_checkpoint_that_is_none(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(NotFound, match="There is no checkpoint"):
        StandaloneHost(tmp_path, tmp_path / "none.safetensors").info()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(tiny_checkpoint.read_bytes()[:5000])
    broken = StandaloneHost(tmp_path, bad)
    with pytest.raises(UnreadableFile, match=r'"bad\.safetensors" cannot be read'):
        broken.info()
    for suffix in (".safetensors", ".yaml"):
        shutil.copyfile(tiny_checkpoint.with_suffix(suffix), bad.with_suffix(suffix))
    shutil.copytree(tiny_checkpoint.parent / "clip", tmp_path / "clip")
    assert broken.info().resolution == 64  # mended in the meantime


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, tiny_checkpoint: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match=r"could not be written"):
        StandaloneHost(tmp_path / "file", tiny_checkpoint)


def test_embeddings_are_known_after_a_reload(host: StandaloneHost) -> None:
    assert host.loaded_embeddings().names == frozenset()
    put(host, "sub/fits.pt", torch.ones(2, 64))
    put(host, "large.safetensors", torch.ones(1, 768))
    put(host, "many.pt", torch.ones(76, 64))
    (host.info().embeddings_folder / "bad.pt").write_bytes(b"garbage")
    (host.info().embeddings_folder / "fits.preview.png").touch()
    assert host.loaded_embeddings().names == frozenset()
    host.reload_embeddings()
    loaded = host.loaded_embeddings()
    assert loaded.names == {"fits"}
    assert sorted(loaded.left_out) == ["bad", "large", "many"]
    assert loaded.left_out["large"] == '"large" is for SD1; the loaded checkpoint is a model of width 64.'
    assert loaded.left_out["many"] == "It has 76 vectors; a prompt takes at most 75."


def test_a_slow_reading_does_not_take_the_place_of_a_later_one(host: StandaloneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    put(host, "old.pt", torch.ones(1, 64))
    host.reload_embeddings()
    reading, go_on = threading.Event(), threading.Event()
    real = standalone.read_embedding

    def slow(path: Path) -> Embedding:
        if not reading.is_set():
            reading.set()
            assert go_on.wait(PATIENCE)
        return real(path)

    monkeypatch.setattr(standalone, "read_embedding", slow)
    first = threading.Thread(target=host.reload_embeddings)
    first.start()
    assert reading.wait(PATIENCE)
    put(host, "new.pt", torch.ones(1, 64))
    second = threading.Thread(target=host.reload_embeddings)
    second.start()
    second.join(0.3)  # it must wait, or it is done already
    go_on.set()
    first.join()
    second.join()
    assert host.loaded_embeddings().names == {"old", "new"}


def test_an_embedding_of_a_word_draws_the_word(host: StandaloneHost) -> None:
    with host.model() as model:
        put(host, "sword.pt", model.token_embeddings("tree")["clip_l"])
    host.reload_embeddings()
    assert drawn(host, "a sword by monet") == drawn(host, "a tree by monet")
    assert drawn(host, "a star", negative_prompt="sword") == drawn(host, "a star", negative_prompt="tree")


def test_the_vocabulary_is_the_models_own_table(host: StandaloneHost) -> None:
    with host.model() as model:
        table = model.text_encoders[0].token_embedding.weight
    assert host.vocabulary()["clip_l"].data_ptr() == table.data_ptr()
    assert not host.vocabulary()["clip_l"].requires_grad


def test_vectors_of_a_request_stand_before_those_of_the_folder(host: StandaloneHost) -> None:
    tree, star = (host.token_embeddings(text)["clip_l"] for text in ("tree", "red star"))
    put(host, "sword.pt", tree)
    host.reload_embeddings()
    assert drawn(host, "a sword", embeddings=(Embedding("sword", {"clip_l": star}),)) == drawn(host, "a red star")
    assert drawn(host, "a sword") == drawn(host, "a tree")


def test_pictures_follow_the_request(host: StandaloneHost) -> None:
    request = Txt2ImgRequest("a star", steps=1, width=70, height=95)
    assert host.txt2img(request).size == (64, 88)
    assert drawn(host, "a star", seed=1) == drawn(host, "a star", seed=1)
    for other in ({"seed": 2}, {"steps": 3}, {"guidance": 2.0}, {"negative_prompt": "red"}):
        assert drawn(host, "a star", **other) != drawn(host, "a star")


def test_the_queue_and_the_progress(host: StandaloneHost) -> None:
    entered = threading.Event()

    def second() -> None:
        with host.exclusive("second"):
            entered.set()

    thread = threading.Thread(target=second)
    with host.exclusive("first"):
        assert host.progress == Progress(0, 0, "first")
        host.report(Progress(1, 2, "half"))
        assert host.progress == Progress(1, 2, "half")
        thread.start()
        assert not entered.wait(0.1)
        assert not host.interrupted()
    thread.join()
    assert entered.is_set()
    assert host.progress is None
    with pytest.raises(ZeroDivisionError), host.exclusive("third"):
        raise ZeroDivisionError
    assert host.progress is None


def test_create_train_and_use(host: StandaloneHost, pictures: Path) -> None:
    services = Services(host)
    services.library.create("sword", "tree", 1)
    before = drawn(host, "a sword")
    plain = drawn(host, "a tree")
    assert before == plain
    spec = {"embedding": "sword", "dataset": str(pictures), "steps": 3, "batch_size": 1, "learning_rate": "0.5"}
    options = {
        "preview_every": 3,
        "save_every": 2,
        "preview_steps": 2,
        "preview_seed": 1,
        "preview_prompt": "a [name]",
        "keep": "last",
        "ema_decay": 0.0,
        "early_stopping": False,
        "choose_start_words": False,
    }
    state = services.runs.wait(services.runs.start(TrainingSpec.from_json({**spec, **options})).id, PATIENCE)
    assert (state.status, state.step, state.error, state.notes) == ("finished", 3, "", ())
    entry = services.library.get("sword")
    assert (entry.step, entry.vectors, entry.checkpoint, entry.loaded) == (3, 1, "demo", True)
    after = drawn(host, "a sword")
    assert after != before
    assert drawn(host, "a tree") == plain  # the model itself is as it was
    shown = [Image.open(path).tobytes() for path in state.previews]
    assert shown == [before, after]


def test_hosts_with_the_same_checkpoint_load_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []

    def load(path: Path, **_values: object) -> DiffusionModel:
        loaded.append(path)
        return checkpoints.model()

    monkeypatch.setattr("train_embedding.engine.loading.checkpoint.load_checkpoint", load)
    shared = CheckpointFile()
    hosts = [StandaloneHost(tmp_path / name, shared) for name in ("a", "b")]
    assert {host.info().checkpoint_hash for host in hosts} == {shared.hash}
    assert loaded == [DEMO_CHECKPOINT.resolve()]
    assert pickle.loads(pickle.dumps(shared)).path == shared.path
