"""Study files: what is combined with what, and that every wrong entry is named before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.services.studies.plan import InvalidStudy, PlannedRun, Study
from train_embedding.services.studies.reading import Given, folder_study, read_study


def read(folder: Path, text: str, given: Given | None = None, name: str = "study.yaml") -> Study:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read_study(file, given or Given())


def problems(folder: Path, text: str, name: str = "study.yaml") -> tuple[str, ...]:
    with pytest.raises(InvalidStudy) as raised:
        read(folder, text, name=name)
    return tuple(raised.value.problems)


def test_every_dataset_with_every_init_text_recipe_and_seed(subjects: Path) -> None:
    study = read(
        subjects,
        """
        name: people
        datasets:
        - anna
        - {folder: ben, name: benny, init_text: [man, boy], batch_size: 3}
        init_texts: [woman]
        recipes:
        - Quality
        - {name: slow, learning_rate: 0.06, vectors: 1}
        seeds: [4, 5]
        options: {steps: 7}
        images: 0
        """,
    )
    assert study.name == "people"
    assert [(run.embedding, run.init_text, run.recipe, run.vectors, run.seed) for run in study.runs] == [
        (name, text, recipe, vectors, seed)
        for name, texts in (("anna", ["woman"]), ("benny", ["man", "boy"]))
        for text in texts
        for recipe, vectors in (("Quality", "auto"), ("slow", 1))
        for seed in (4, 5)
    ]
    specs = [run.spec() for run in study.runs]
    assert {spec.steps for spec in specs} == {7}
    assert {(spec.embedding, spec.preset, spec.batch_size) for spec in specs} == {
        ("anna", "Quality", 8), ("anna", "Fast", 2), ("benny", "Quality", 3), ("benny", "Fast", 3),
    }  # fmt: skip
    assert {spec.learning_rate for spec in specs if spec.preset == "Fast"} == {"0.06"}
    assert {run.images for run in study.runs} == {0}


def test_a_table_has_a_run_per_line(subjects: Path) -> None:
    text = "dataset,name,init_text,seed,steps,random_flip,vectors\nanna,,woman,3,10,yes,2\n\nben,benny,,,,no,\n"
    first, second = read(subjects, text, name="study.csv").runs
    spec = first.spec()
    assert (first.embedding, first.init_text, first.vectors, spec.seed, spec.steps, spec.random_flip) == (
        "anna",
        "woman",
        2,
        3,
        10,
        True,
    )
    assert (second.embedding, second.vectors, second.spec().random_flip) == ("benny", "auto", False)


def test_a_folder_has_a_subject_per_subfolder(subjects: Path) -> None:
    (subjects / ".hidden").mkdir()
    given = Given(init_text="person", presets=("Fast", "Quality"), seeds=(1, 2), options={"steps": "9"})
    study = folder_study(subjects, given)
    assert study.name == "subjects"
    assert len(study.runs) == 8
    assert {run.spec().steps for run in study.runs} == {9}
    assert {run.init_text for run in study.runs} == {"person"}


def test_an_id_depends_on_what_the_run_is_and_on_nothing_else(subjects: Path, tmp_path: Path) -> None:
    text = "datasets: [anna, ben]\nseeds: [0, 1]\n"
    ids = [run.id for run in read(subjects, text).runs]
    assert len(set(ids)) == 4
    assert [run.id for run in read(subjects, "seeds: [0, 1]\ndatasets: [ben, anna]\n").runs] == ids[2:] + ids[:2]
    moved = tmp_path / "moved"
    subjects.rename(moved)
    assert [run.id for run in read(moved, text).runs] == ids
    assert ids[0] not in [run.id for run in read(moved, text + "options: {steps: 3}\n").runs]


def test_a_plan_survives_json(subjects: Path) -> None:
    run = read(subjects, "datasets: [{folder: anna, vectors: 3, steps: 5}]").runs[0]
    assert PlannedRun.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_every_problem_is_named(subjects: Path) -> None:
    (subjects / "empty").mkdir()
    found = problems(
        subjects,
        """
        datasets:
        - anna
        - missing
        - empty
        - {folder: ben, naem: x}
        - {folder: ben, name: "a/b"}
        - {folder: ben, name: no}
        recipes: [Fast, {name: broken, steps: 0}, {preset: Slow}]
        """,
    )
    text = "\n".join(found)
    assert 'datasets[2]: The folder "' in text
    assert "datasets[3]: " in text
    assert 'datasets[4]: There is no option "naem" here.' in text
    assert "datasets[5]: " in text
    assert 'datasets[6]: "name" must be text. Put it in quotes.' in text
    assert "datasets[1]: steps is 0; it must be a whole number from 1 to 1,000,000." in text
    assert 'datasets[1]: There is no preset "Slow".' in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dataset,step\nanna,3\n", 'line 1: There is no option "step" here.'),
        ("dataset,steps\nanna,many\nben,2\nben,2\n", 'line 2: steps is "many"; it must be a whole number from 1 to 1,000,000.'),
        ("dataset,steps\nanna,many\nben,2\nben,2\n", "line 4: This is the same run as in line 3."),
        ("dataset,images\nanna,-1\n", 'line 2: "images" must be a whole number from 0 to 100.'),
        ("dataset,checkpoint\nanna,none.ckpt\n", 'line 2: The checkpoint "'),
        ("dataset\n", "study: It has no runs."),
    ],
)
def test_wrong_lines_of_a_table_are_named(subjects: Path, text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems(subjects, text, "study.csv"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b\n", "study: It must have the form NAME: VALUE."),
        ("datasets: anna\n", "datasets: It must be a list."),
        (f"datasets: [anna, ben]\nseeds: [{', '.join(map(str, range(5_001)))}]\n", "study: It has more than 10000 runs."),
    ],
)
def test_wrong_documents_are_refused(subjects: Path, text: str, expected: str) -> None:
    assert expected in problems(subjects, text)


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: &x [1]\nb: *x\n", "datasets: [anna]\ndatasets: [ben]\n", "a: !!python/object/apply:os.getcwd []\n", "[" * 400],
)
def test_what_is_not_plain_yaml_is_refused(subjects: Path, text: str) -> None:
    with pytest.raises(UnreadableFile, match="is not valid YAML"):
        read(subjects, text)


def test_a_preset_may_be_a_file(subjects: Path) -> None:
    preset = {"train_embedding_preset": 1, "name": "mine", "based_on": "Quality", "options": {"steps": 11}}
    (subjects / "mine.json").write_text(json.dumps(preset))
    spec = read(subjects, "datasets: [anna]\nrecipes: [mine.json]\n").runs[0].spec()
    assert (spec.preset, spec.steps) == ("Quality", 11)


def test_the_command_line_comes_before_the_file(subjects: Path) -> None:
    given = Given(options={"steps": "3"}, seeds=(9,), init_text="person")
    run = read(subjects, "datasets: [anna]\noptions: {steps: 7}\n", given).runs[0]
    assert (run.spec().steps, run.seed, run.init_text) == (3, 9, "person")


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_study(tmp_path / "none.yaml", Given())
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFile, match="UTF-8"):
        read_study(tmp_path / "image.yaml", Given())
