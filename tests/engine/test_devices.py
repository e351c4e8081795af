"""Which errors mean that memory is used up, and giving cached memory back, on every kind of device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from train_embedding.engine.devices import SUPPORT, DeviceSupport, is_out_of_memory, release_cached_memory
from train_embedding.engine.model import noise_schedule


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB)"),
        RuntimeError(
            "Could not allocate tensor with 4096 bytes. There is not enough GPU video memory available! Not enough memory"
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_every_device_says_it_in_its_own_way(error: RuntimeError) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory")])
def test_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_cache_of_the_device_itself_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []
    for kind in ("cuda", "mps", "xpu"):
        monkeypatch.setattr(torch, kind, SimpleNamespace(empty_cache=lambda kind=kind: released.append(kind)), raising=False)
    for device in ("mps", "xpu", "cuda", "cpu"):
        release_cached_memory(torch.device(device))
    assert released == ["mps", "xpu", "cuda"]


class NoDoubles(torch.Tensor):
    """A tensor of a device without doubles, until it is in main memory."""

    def double(self) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")

    def cpu(self, memory_format: torch.memory_format = torch.preserve_format) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_schedules_and_evaluations_need_no_doubles_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from train_embedding.engine.config.spec import TrainingSpec, resolve
    from train_embedding.engine.training.state import new_state

    monkeypatch.setitem(SUPPORT, "cpu", DeviceSupport(float64=False))
    schedule = torch.linspace(0.99, 0.01, 10)
    assert torch.equal(
        noise_schedule.zero_terminal_snr(schedule.as_subclass(NoDoubles)), noise_schedule.zero_terminal_snr(schedule)
    )
    state = new_state({"clip_l": torch.ones(1, 3)}, resolve(TrainingSpec("a", "b"), 64), torch.device("cpu"))
    assert state.record(torch.ones(2).as_subclass(NoDoubles)).losses.dtype == torch.float64
