"""The host for tests behaves like one: it knows what it read last, and its queue holds one job."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Host, Progress, Txt2ImgRequest
from train_embedding.testing import FakeHost


def test_it_is_a_host(fake_host: FakeHost) -> None:
    host: Host = fake_host
    assert host.info().widths == {"clip_l": 768}
    assert host.info().embeddings_folder.is_dir()


def test_no_model_unless_given(fake_host: FakeHost, tmp_path: Path) -> None:
    with pytest.raises(HostFailed, match="No checkpoint"), fake_host.model():
        pass
    with pytest.raises(HostFailed, match="No checkpoint"):
        fake_host.token_embeddings("tree")
    with pytest.raises(HostFailed, match="No checkpoint"):
        fake_host.vocabulary()
    model = cast(Any, object())
    with FakeHost(tmp_path, model=model).model() as given:
        assert given is model


def test_embeddings_are_known_after_a_reload(fake_host: FakeHost) -> None:
    folder = fake_host.info().embeddings_folder
    write_embedding(Embedding("fits", {"clip_l": torch.ones(1, 768)}), folder / "sub" / "fits.pt")
    write_embedding(Embedding("large", {"clip_h": torch.ones(1, 1024)}), folder / "large.pt")
    (folder / "bad.pt").write_bytes(b"garbage")
    assert fake_host.loaded_embeddings().names == frozenset()
    fake_host.reload_embeddings()
    loaded = fake_host.loaded_embeddings()
    assert loaded.names == {"fits"}
    assert loaded.left_out["large"] == "Its vectors are for SD2."
    assert "bad" in loaded.left_out
    assert fake_host.reloads == 1


def test_interrupt_holds_for_the_job_in_which_it_was_pressed(fake_host: FakeHost) -> None:
    with fake_host.exclusive("one"):
        assert not fake_host.interrupted()
        fake_host.press_interrupt()
        assert fake_host.interrupted()
    with fake_host.exclusive("two"):
        assert not fake_host.interrupted()
    assert fake_host.jobs == ["one", "two"]


def test_the_queue_holds_one_job(fake_host: FakeHost) -> None:
    entered = threading.Event()

    def second() -> None:
        with fake_host.exclusive("second"):
            entered.set()

    thread = threading.Thread(target=second)
    with fake_host.exclusive("first"):
        thread.start()
        assert not entered.wait(0.1)
    thread.join()
    assert entered.is_set()


def test_a_failed_job_gives_the_queue_back(fake_host: FakeHost) -> None:
    with pytest.raises(RuntimeError), fake_host.exclusive("one"):
        raise RuntimeError
    with fake_host.exclusive("two"):
        assert fake_host.busy
    assert not fake_host.busy


def test_progress_belongs_to_a_job(fake_host: FakeHost) -> None:
    with pytest.raises(HostFailed):
        fake_host.report(Progress(1, 2))
    with fake_host.exclusive("one"):
        fake_host.report(Progress(1, 2, "half"))
    assert fake_host.reports == [Progress(1, 2, "half")]


def test_pictures_follow_the_seed(fake_host: FakeHost) -> None:
    pictures = [fake_host.txt2img(Txt2ImgRequest("sword", seed=seed, width=16, height=8)) for seed in (1, 1, 2)]
    assert pictures[0].size == (16, 8)
    assert pictures[0].tobytes() == pictures[1].tobytes() != pictures[2].tobytes()
    assert [request.seed for request in fake_host.requests] == [1, 1, 2]
