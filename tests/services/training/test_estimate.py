"""What is said of a run before it starts: times that were measured, scaled to it, and memory that was counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import pictures
from tests.training import Trainee, trainee
from train_embedding.embeddings.text_encoders import CLIP_L, OPENCLIP_BIGG
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.hosts.base import HostInfo
from train_embedding.services.training import describe_estimate, estimate, step_times
from train_embedding.services.training.estimate import COUNTED, GIB, estimate_memory, estimate_time
from train_embedding.services.training.step_times import StepClock, StepTime, add_step_time, load_step_times

__all__ = ["pictures", "trainee"]

SDXL = {"clip_l": CLIP_L, "clip_g": OPENCLIP_BIGG}
INFO = HostInfo("a host", Path("/e"), Path("/r"), checkpoint_name="sd15", widths={"clip_l": CLIP_L}, device="cpu")
MEASURED = StepTime(
    "2026-11-28", "sd15", {"clip_l": CLIP_L}, 512, "cpu", "float32", 512, 512, 2, False, step=2.0, evaluation=10.0, preview=0.5,
    preparation=30.0,
)  # fmt: skip


def spec(**values: Any) -> TrainingSpec:
    plain = {"early_stopping": False, "eval_every": 0, "preview_every": 0, "steps": 100, "batch_size": 2}
    return TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/images", **plain, **values})


def seconds(**values: Any) -> float:
    time = estimate_time(resolve(spec(**values), 512), INFO, [MEASURED])
    assert time is not None
    return time.most


def test_a_run_writes_what_its_steps_took_and_the_next_one_is_estimated_from_it(trainee: Trainee) -> None:
    folder = trainee.host.info().runs_folder
    assert trainee.services.estimates.estimate(trainee.spec()).time is None
    ended = trainee.run(steps=9, eval_every=3, preview_every=5, preview_steps=2, early_stopping=False)
    (measured,) = load_step_times(folder)
    assert 0 < measured.step * 9 <= ended.seconds
    assert measured.evaluation
    assert measured.preview
    assert measured.preparation
    assert (measured.checkpoint, measured.width, measured.images) == ("fake", ended.spec.width or 64, ended.spec.batch_size)
    time = trainee.services.estimates.estimate(trainee.spec(steps=1000)).time
    assert time is not None
    assert time.exact
    assert time.most == pytest.approx(1000 * measured.step + measured.preparation)
    trainee.run(steps=9)
    (newer,) = load_step_times(folder)
    assert newer.evaluation == measured.evaluation, "it had none, so that of before is kept"


def test_a_run_without_a_measured_step_leaves_the_file_alone(trainee: Trainee) -> None:
    add_step_time(trainee.host.info().runs_folder, MEASURED)
    trainee.run(steps=1)
    assert load_step_times(trainee.host.info().runs_folder) == [MEASURED]


def test_the_first_step_and_everything_else_are_left_out_of_the_time_of_a_step() -> None:
    now = [0.0]
    clock = StepClock(lambda: now[0])

    def spend(time: float) -> None:
        now[0] += time

    clock.start()
    spend(8)
    clock.finish_evaluation()
    clock.count_step()
    spend(60)  # the first one
    clock.finish_steps()
    for _ in range(3):
        for _ in range(4):
            clock.count_step()
            spend(2)
        clock.finish_steps()
        began = clock.now()
        spend(20)
        clock.add_previews(began, 10)
    clock.count_step()
    spend(2 + 8)
    clock.finish_evaluation()
    assert (clock.step, clock.evaluation, clock.preview) == (2, 8, 2)
    clock.start()
    assert clock.step == 0, "after a fallback, steps are slower"


def test_time_grows_with_steps_images_and_pixels() -> None:
    assert seconds() == 30 + 100 * 2
    assert seconds(steps=200) == 30 + 200 * 2
    assert seconds(batch_size=4, gradient_accumulation_steps=3) == 30 + 100 * 12
    assert seconds(eval_every=50) == 30 + 100 * 2 + 4 * 10
    assert seconds(preview_every=50, preview_steps=10, preview_prompt="a\nb") == 30 + 100 * 2 + 6 * 10 * 0.5
    assert 100 * 2 / 5 < seconds(width=256, height=256) - 30 < 100 * 2 / 4


def test_the_most_similar_measurement_is_scaled() -> None:
    other = replace(MEASURED, width=768, height=768, images=8, step=40.0)
    near = estimate_time(resolve(spec(batch_size=7, width=768, height=768), 512), INFO, [MEASURED, other])
    assert near is not None
    assert (near.measured, near.exact, near.step) == (other, False, pytest.approx(35.0))
    exact = estimate_time(resolve(spec(), 512), INFO, [MEASURED, other])
    assert exact is not None
    assert (exact.measured, exact.exact) == (MEASURED, True)


@pytest.mark.parametrize(
    "other", [{"widths": SDXL}, {"device": "cuda"}, {"dtype": "float16"}, {"resolution": 768}, {"distills": True}]
)
def test_other_checkpoints_and_devices_do_not_count(other: dict[str, Any]) -> None:
    assert estimate_time(resolve(spec(), 512), INFO, [replace(MEASURED, **other)]) is None


def test_early_stopping_is_named(trainee: Trainee) -> None:
    info = trainee.host.info()
    alike = replace(MEASURED, widths=info.widths, resolution=info.resolution, device=info.device, dtype=info.dtype)
    add_step_time(info.runs_folder, alike)

    def said(**values: Any) -> str:
        return describe_estimate(trainee.services.estimates.estimate(spec(steps=100, width=512, height=512, **values)))[0]

    falling = said(early_stopping=True, eval_every=50, lr_scheduler="linear")
    assert falling == "About 3 min if early stopping ends the run at step 50, at most 4 min for all 100 steps."
    constant = said(early_stopping=True, eval_every=50, lr_scheduler="constant")
    assert constant == "At most 4 min for 100 steps; early stopping may end the run earlier."
    assert said() == "About 4 min for 100 steps."


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"measured": 3}', '{"measured": [7, {"step": -1}, {"step": "x"}]}'])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / step_times.FILE).write_text(text, encoding="utf-8")
    assert load_step_times(tmp_path) == []
    add_step_time(tmp_path, MEASURED)
    assert load_step_times(tmp_path) == [MEASURED]


def test_the_file_stays_small(tmp_path: Path) -> None:
    for images in range(1, step_times.MAX_KEPT + 4):
        add_step_time(tmp_path, replace(MEASURED, images=images))
    assert [row.images for row in load_step_times(tmp_path)] == list(range(4, step_times.MAX_KEPT + 4))
    assert len(json.loads((tmp_path / step_times.FILE).read_text(encoding="utf-8"))["measured"]) == step_times.MAX_KEPT


def memory(info: HostInfo, **values: Any) -> estimate.MemoryEstimate:
    found = estimate_memory(resolve(spec(**values), info.resolution), info)
    assert found is not None
    return found


def test_memory_of_a_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    xl = replace(INFO, widths=SDXL, resolution=1024, device="cuda:0", dtype="float16")
    monkeypatch.setattr(estimate, "_memory_of", lambda _device: 12 * GIB)
    assert memory(xl, batch_size=1).fits == "yes"
    assert memory(xl, batch_size=4).fits == "checkpointed"
    assert memory(xl, batch_size=16).fits == "no"
    assert memory(xl, batch_size=1, gradient_accumulation_steps=16).fits == "yes", "only one batch is in memory at a time"
    single = memory(replace(xl, dtype="float32"), batch_size=1)
    assert single.weights + single.step == 2 * (memory(xl, batch_size=1).weights + memory(xl, batch_size=1).step)
    assert estimate_memory(resolve(spec(), 512), INFO) is None, "not on a graphics card"
    assert estimate_memory(resolve(spec(), 64), replace(xl, widths={"clip_l": 32})) is None, "of no family that was counted"


@pytest.mark.slow
@pytest.mark.parametrize(("side", "batch", "checkpointing"), [(512, 2, False), (768, 1, True)])
def test_the_memory_is_what_is_counted(side: int, batch: int, checkpointing: bool) -> None:
    from train_embedding.engine.profiling.memory import count_memory
    from train_embedding.engine.profiling.meta_models import WEIGHTS, meta_model

    counted = count_memory(meta_model("SD1", WEIGHTS), side, batch=batch, checkpointing=checkpointing)
    found = memory(replace(INFO, device="cuda", dtype="float16"), width=side, height=side, batch_size=batch)
    assert (found.step_checkpointed if checkpointing else found.step) == pytest.approx(counted.peak, rel=0.02)
    assert found.weights == pytest.approx(counted.weights, rel=0.01)


@pytest.mark.slow
def test_the_operations_are_what_is_counted() -> None:
    from train_embedding.engine.profiling.flops import count_step
    from train_embedding.engine.profiling.meta_models import meta_model

    model = meta_model("SD1")
    small, large = (count_step(model, side).step for side in (256, 768))
    assert estimate._work(INFO, 768, 768) / estimate._work(INFO, 256, 256) == pytest.approx(large / small, rel=0.03)
    assert set(COUNTED) == {"SD1", "SD2", "SDXL"}
