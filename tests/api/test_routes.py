"""The routes with the services and a fake host: their answers, and that no input makes them fail."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("fastapi")

from fastapi import Depends, FastAPI, HTTPException
from PIL import Image
from starlette.testclient import TestClient

from tests.current import CurrentServices
from tests.failures import Failures
from train_embedding.api import bodies, routes
from train_embedding.engine.config.spec import DEFAULT_TEMPLATE, OPTIONS, TrainingSpec
from train_embedding.errors import Conflict, NotFound
from train_embedding.messages import verbatim
from train_embedding.services.combining.combining import Combining
from train_embedding.services.datasets.datasets import Datasets
from train_embedding.services.inspection.inspection import Inspection
from train_embedding.services.library.library import Library
from train_embedding.services.presets import Presets
from train_embedding.services.run_records import RunState
from train_embedding.services.training.estimate import Estimates
from train_embedding.services.training.history import RunEntry
from train_embedding.services.training.step_times import StepTime, add_step_time
from train_embedding.testing import FakeHost


class SomeRuns:
    """Runs that are never trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.specs: list[TrainingSpec] = []
        self.states: dict[str, RunState] = {}

    def start(self, spec: TrainingSpec) -> RunState:
        if any(state.active for state in self.states.values()):
            raise Conflict(verbatim("Another run is in progress."))
        self.specs.append(spec)
        state = RunState(f"run-{len(self.states)}", spec.embedding, self.folder, spec, "running", steps=spec.steps)
        self.states[state.id] = state
        return state

    def get(self, run_id: str) -> RunState:
        if run_id not in self.states:
            raise NotFound(verbatim(f'There is no run "{run_id}".'))
        return self.states[run_id]

    def stop(self, run_id: str) -> RunState:
        self.states[run_id] = replace(self.get(run_id), status="stopped", loss=math.nan, losses=((1, math.inf),))
        return self.states[run_id]

    def images(self, run_id: str) -> dict[str, Any]:
        return {"folder": str(self.get(run_id).folder), "sizes": [], "used": [{"file": "a\udcff.png"}], "skipped": []}

    def entry(self, run_id: str) -> RunEntry:
        return RunEntry(self.get(run_id))

    def history(self, _search: str) -> list[RunEntry]:
        return [RunEntry(state) for state in self.states.values()][::-1]


class SomeServices:
    def __init__(self, host: FakeHost, folder: Path) -> None:
        self.library = Library(host)
        self.inspection = Inspection(host, self.library)
        self.combining = Combining(host, self.library)
        self.datasets = Datasets(host)
        self.presets = Presets(host)
        self.runs = SomeRuns(folder)
        self.estimates = Estimates(host)


@pytest.fixture
def services(fake_host: FakeHost, tmp_path: Path) -> SomeServices:
    return SomeServices(fake_host, tmp_path)


def post(client: TestClient, path: str, body: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(f"{routes.PREFIX}/{path}", content=content, headers={"Content-Type": "application/json"})


def get(client: TestClient, path: str) -> Any:
    return client.get(f"{routes.PREFIX}/{path}")


def test_a_created_embedding_is_answered_and_listed(client: TestClient, tmp_path: Path) -> None:
    created = post(client, "embeddings", {"name": "my-cat", "vectors": 3})
    assert created.status_code == 200
    entry = created.json()
    assert (entry["name"], entry["vectors"], entry["family"], entry["loaded"]) == ("my-cat", 3, "SD1", True)
    assert Path(entry["file"]) == tmp_path / "embeddings" / "my-cat.pt"
    assert entry["notes"]
    listed = get(client, "embeddings").json()
    assert [one["name"] for one in listed] == ["my-cat"]
    assert {**entry, "notes": listed[0]["notes"]}.items() >= listed[0].items(), "its notes are sentences about its making"


def test_the_format_chooses_the_file(client: TestClient, tmp_path: Path) -> None:
    assert post(client, "embeddings", {"name": "safe", "format": "safetensors"}).status_code == 200
    assert (tmp_path / "embeddings" / "safe.safetensors").is_file()


def test_overwriting_must_be_asked_for(client: TestClient) -> None:
    assert post(client, "embeddings", {"name": "twice"}).status_code == 200
    taken = post(client, "embeddings", {"name": "twice"})
    assert taken.status_code == 409
    assert set(taken.json()) == {"error", "hint"}
    assert post(client, "embeddings", {"name": "twice", "overwrite": True, "vectors": 2}).json()["vectors"] == 2


def test_a_run_is_estimated_before_it_is_started(client: TestClient, services: SomeServices, fake_host: FakeHost) -> None:
    body = {"embedding": "my-cat", "dataset": "/pictures", "steps": 200, "eval_every": 0, "preview_every": 0}
    unknown = post(client, "runs/estimate", body).json()
    assert (unknown["steps_at_most"], unknown["time"], unknown["memory"]) == (200, None, None)
    info = fake_host.info()
    kind = (info.widths, info.resolution, info.device, info.dtype, info.resolution, info.resolution)
    add_step_time(info.runs_folder, StepTime("2026-11-28", "a checkpoint", *kind, 2, False, step=0.5))
    time = post(client, "runs/estimate", body).json()["time"]
    assert (time["seconds_at_most"], time["scaled"], time["measured"]["checkpoint"]) == (100, False, "a checkpoint")
    assert post(client, "runs/estimate", {**body, "steps": 0}).status_code == 422
    assert services.runs.specs == []


def test_a_run_is_started_read_and_stopped(client: TestClient, services: SomeServices) -> None:
    started = post(client, "runs", {"embedding": "my-cat", "dataset": "/pictures", "preset": "WebUI classic", "steps": 7})
    assert started.status_code == 200
    run_id = started.json()["id"]
    assert services.runs.specs[0].batch_size == 1, "the preset's values stand where the body is silent"
    assert services.runs.specs[0].steps == 7
    state = get(client, f"runs/{run_id}").json()
    assert {name: state[name] for name in started.json()} == started.json()
    assert (state["changed"], state["samples"], state["note"]) == ({"steps": 7}, 0, "")
    assert [run["id"] for run in get(client, "runs").json()] == [run_id]
    assert post(client, "runs", {"embedding": "my-cat", "dataset": "/pictures"}).status_code == 409
    stopped = client.post(f"{routes.PREFIX}/runs/{run_id}/stop")
    assert stopped.status_code == 200
    assert (stopped.json()["status"], stopped.json()["active"]) == ("stopped", False)


def test_a_run_may_distil_a_prompt(client: TestClient, services: SomeServices) -> None:
    assert post(client, "runs", {"embedding": "my-cat", "teacher_prompt": "a long text"}).status_code == 200
    assert services.runs.specs[0].distills
    refused = post(client, "runs", {"embedding": "my-cat", "teacher_prompt": "a long text", "dataset": "/pictures"})
    assert (refused.status_code, refused.json()["hint"]) == (422, "Leave one of them empty.")


def test_a_body_with_names_of_earlier_versions_is_read(client: TestClient, services: SomeServices) -> None:
    body = {"embedding": "my-cat", "dataset": "/pictures", "average": 0.5, "flip": True}
    assert post(client, "runs", body).status_code == 200
    assert (services.runs.specs[0].ema_decay, services.runs.specs[0].random_flip) == (0.5, True)
    both = post(client, "runs", {**body, "ema_decay": 0.5})
    assert (both.status_code, both.json()["error"]) == (422, '"average" is the old name of "ema_decay", and both are given.')


def test_nan_and_infinity_become_null(client: TestClient) -> None:
    run_id = post(client, "runs", {"embedding": "my-cat", "dataset": "/pictures"}).json()["id"]
    answer = client.post(f"{routes.PREFIX}/runs/{run_id}/stop")
    assert "NaN" not in answer.text
    assert "Infinity" not in answer.text
    assert answer.json()["loss"] is None
    assert answer.json()["losses"] == [[1, None]]


BAD_BODIES = [
    b"", b"{", b"nothing", b"\xff\xfe", b"null", b"[]", b"3", b'"text"', b"NaN", b'{"name": NaN}', b'{"name": Infinity}',
    b'{"name": 1e999}', b'{"name": ' + b"1" * 5000 + b"}", b'{"a":' * 100_000, b'{"name": "x" "y"}', b"[" * 100_000,
    b" " * (bodies.MAX_BODY + 1),
]  # fmt: skip


def test_a_body_that_is_not_an_object_is_refused(client: TestClient) -> None:
    with Failures() as failures:
        for path, body in itertools.product(("embeddings", "runs"), BAD_BODIES):
            with failures.of((path, body[:40])):
                _assert_refused(post(client, path, body))


WEIRD = [
    None,
    True,
    -1,
    0,
    76,
    1.5,
    10**30,
    10**400,
    "",
    " ",
    "ten",
    "\x00",
    "\ud800",
    "../x",
    "a/b",
    "x" * 10_000,
    [],
    [1],
    {},
    {"a": []},
]


def test_weird_values_of_a_new_embedding_are_refused_or_used(
    client: TestClient, current_services: CurrentServices, tmp_path: Path
) -> None:
    fields = ("name", "init_text", "vectors", "overwrite", "format")
    with Failures() as failures:
        for number, (field, value) in enumerate(itertools.product(fields, WEIRD)):
            folder = tmp_path / str(number)
            current_services.now = SomeServices(FakeHost(folder), folder)
            with failures.of((field, value)):
                answer = post(client, "embeddings", {"name": "fine", field: value})
                if answer.status_code != 200:
                    _assert_refused(answer, statuses=(422, 503))  # 503: the fake host has no model to read a text with
                assert [file for file in tmp_path.rglob("*.pt") if file.parent != folder / "embeddings"] == []
            shutil.rmtree(folder)


def test_the_schema_describes_every_option(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    body = paths[f"{routes.PREFIX}/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(body["properties"]) == [option.name for option in OPTIONS]
    assert all(schema["title"] and schema["description"] for schema in body["properties"].values())
    assert body["properties"]["width"] | {"description": ""} == {
        "type": "integer", "title": "Width", "description": "", "minimum": 0, "maximum": 4096, "multipleOf": 8, "default": 0,
    }  # fmt: skip
    assert body["properties"]["loss"]["enum"] == ["mse", "huber"]
    assert body["properties"]["template"]["default"] == list(DEFAULT_TEMPLATE)


FIELDS = sorted(TrainingSpec.from_json({"embedding": "x", "dataset": "y"}).to_json())


def test_weird_values_of_a_run_are_refused_or_used(client: TestClient, services: SomeServices) -> None:
    with Failures() as failures:
        for field, value in itertools.product(FIELDS, WEIRD):
            services.runs.states.clear()
            with failures.of((field, value)):
                answer = post(client, "runs", {"embedding": "my-cat", "dataset": "/pictures", field: value})
                if answer.status_code != 200:
                    _assert_refused(answer)


@pytest.mark.parametrize("path", ["embeddings", "runs"])
def test_unknown_and_missing_fields_are_named(client: TestClient, path: str) -> None:
    _assert_refused(post(client, path, {"name": "x", "embedding": "x", "dataset": "y", "colour": "red"}))
    assert "colour" in post(client, path, {"colour": "red"}).json()["error"]
    assert get(client, path).json() == []
    _assert_refused(post(client, path, {}))


def test_the_images_of_a_run(client: TestClient, tmp_path: Path) -> None:
    run_id = post(client, "runs", {"embedding": "sword", "dataset": "x"}).json()["id"]
    report = get(client, f"runs/{run_id}/images")
    assert report.status_code == 200
    assert report.json() == {"folder": str(tmp_path), "sizes": [], "used": [{"file": "a?.png"}], "skipped": []}


def test_a_dataset_is_checked_before_training(client: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / "10_cat"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    Image.new("RGB", (8, 8)).save(folder / "b.png")
    (folder / "b.txt").write_bytes(b"caf\xe9")
    report = post(client, "datasets", {"folder": str(folder)}).json()
    assert (report["images"], report["captions"]) == (1, 0)
    assert report["skipped"][0]["file"] == "b.png"
    assert "10 repeats" in report["notes"][0]
    assert post(client, "datasets", {"folder": str(tmp_path), "repeats": True}).json()["images"] == 1
    (folder / "a-masklabel.png").write_text("not an image")
    assert "cannot be used" in post(client, "datasets", {"folder": str(folder)}).json()["error"]
    assert post(client, "datasets", {"folder": str(folder), "masks": "none"}).json()["images"] == 1
    _assert_refused(post(client, "datasets", {"folder": str(folder), "masks": "some"}))
    assert "only in the subfolder 10_cat" in post(client, "datasets", {"folder": str(tmp_path)}).json()["error"]
    for body in ({}, {"folder": 3}, {"folder": str(folder), "repeats": "yes"}, {"folder": str(folder), "colour": "red"}):
        _assert_refused(post(client, "datasets", body))


def test_an_unknown_run_is_not_found(client: TestClient) -> None:
    for answer in (get(client, "runs/none"), get(client, "runs/none/images"), client.post(f"{routes.PREFIX}/runs/%00%ff/stop")):
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "hint"}


def test_internal_errors_are_logged_and_not_shown(
    client: TestClient, services: SomeServices, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_search: str) -> Any:
        raise RuntimeError("the secret path /etc")

    services.runs.history = broken
    answer = get(client, "runs")
    assert answer.status_code == 500
    assert set(answer.json()) == {"error", "hint"}
    assert "secret" not in answer.text
    assert "the secret path" in caplog.text


def test_every_route_is_behind_the_hosts_guards(services: SomeServices) -> None:
    def guard() -> None:
        raise HTTPException(401, "Who are you?", {"WWW-Authenticate": "Basic"})

    app = FastAPI()
    routes.mount(app, cast(Any, services), [Depends(guard)])
    client = TestClient(app, raise_server_exceptions=False)
    paths = client.get("/openapi.json").json()["paths"]
    asked = 0
    for path, methods in paths.items():
        for method in methods:
            answer = client.request(method, re.sub(r"\{\w+\}", "x", path), content=b"{")
            assert answer.status_code == 401, "the guard must come before the body is read"
            assert answer.headers["WWW-Authenticate"] == "Basic"
            asked += 1
    assert asked == 88


def test_bodies_are_documented(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, required in (("embeddings", ["name"]), ("runs", ["embedding"])):
        schema = paths[f"{routes.PREFIX}/{path}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["required"] == required
        assert set(schema["example"]) <= set(schema["properties"])
    assert set(FIELDS) == set(schema["properties"])


def _assert_refused(answer: Any, statuses: tuple[int, ...] = (422,)) -> None:
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert set(answer.json()) == {"error", "hint"}
    assert answer.json()["error"].strip().endswith((".", "…"))
