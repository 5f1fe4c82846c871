"""The command `keras-memvit`: what each verb answers, writes, refuses."""

import csv
import json
import os
import shutil
import subprocess
import sys

import keras_hub
import numpy as np
import pytest
from conftest import randomize
from PIL import Image
from typer.testing import CliRunner

import keras_memvit
from keras_memvit.cli.app import app

pytestmark = pytest.mark.backend_free

COLOURS = {"blue": (40, 60, 220), "red": (220, 50, 40)}
VERBS = ["train", "predict", "evaluate", "check"]
VERBS += ["inspect", "export", "serve", "compare", "push"]


def run(*words, code=0, stdin=None):
    """What a command line prints to standard output, and to standard error."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.stdout, result.stderr


def draw_classes(folder, count, seed):
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = colour + rng.integers(-40, 41, (32, 32, 3))
            image = Image.fromarray(image.clip(0, 255).astype("uint8"))
            image.save(folder / name / f"{i}.png")
    return folder


def softmax(logits):
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a preset, pictures, and the task learned from them."""
    place = tmp_path_factory.mktemp("cli")
    source = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=16,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
    )
    randomize(source).save_to_preset(str(place / "preset"))
    draw_classes(place / "paint", 12, seed=0)
    words = [place / "paint", "--backbone", place / "preset", "-o", place / "tasks"]
    words += ["--cache", place / "cache", "--epochs", 1, "--budget", "2kB"]
    printed, _ = run("train", *words)
    assert "'paint': 2 classes, 24 images" in printed
    return place


@pytest.fixture(scope="module")
def model(place):
    """The same task by the library."""
    return keras_memvit.load_task(place / "preset", place / "tasks/paint.safetensors")


@pytest.fixture(scope="module")
def kinds(place):
    """A file of a multi-label task and of a regression, and a manifest for them."""
    specs = [
        keras_memvit.TaskSpec(
            "looks", 2, class_names=["hat", "tie"], kind="multi_label"
        ),
        keras_memvit.TaskSpec("age", 1, kind="regression"),
    ]
    model = keras_memvit.build(place / "preset", specs)
    model.standardize_targets({"age": np.array([20.0, 60.0])})
    (place / "kinds").mkdir()
    for spec in specs:
        file = place / "kinds" / f"{spec.name}.safetensors"
        keras_memvit.save_task(model, spec.name, file)
    manifest = place / "kinds" / "people.csv"
    rows = ["image,looks,age", "../paint/red/0.png,tie|hat,30.5"]
    rows += ["../paint/red/1.png,hat,", "../paint/blue/0.png,tie,50.0"]
    manifest.write_text("\n".join(rows) + "\n")
    return model, manifest


def test_train_leaves_task_table_and_report(place):
    assert sorted(os.listdir(place / "tasks")) == [
        "paint.json",
        "paint.safetensors",
        "report.html",
    ]
    card = json.loads((place / "tasks/paint.json").read_text())
    assert card["backbone"] == str(place / "preset")
    assert "<html" in (place / "tasks/report.html").read_text()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predict_writes_what_the_model_answers(place, model, suffix):
    folder, file = place / "paint/red", place / f"answers.{suffix}"
    counts, _ = run("predict", place / "tasks", folder, "-o", file)
    names = [str(path) for path in sorted(folder.iterdir())]
    pixels = np.stack([np.array(Image.open(name)) for name in names])
    chances = softmax(model.predict(pixels, verbose=0)["paint"])
    if suffix == "csv":
        rows = list(csv.DictReader(file.read_text().splitlines()))
    elif suffix == "jsonl":
        rows = list(map(json.loads, file.read_text().splitlines()))
    else:
        from pyarrow import parquet

        rows = parquet.read_table(file).to_pylist()
    assert [row["image"] for row in rows] == names
    words = np.array(sorted(COLOURS))
    assert [row["answer"] for row in rows] == list(words[chances.argmax(-1)])
    got = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(got, chances.max(-1), atol=1e-5)
    assert sum(int(line.split(": ")[2]) for line in counts.splitlines()) == 12


def test_images_from_standard_input_and_the_likeliest_classes(place):
    picture = place / "paint/blue/3.png"
    words = ["predict", place / "tasks/paint.safetensors", "-", "--top", 2, "--json"]
    image, _ = run(*words, stdin=picture.read_bytes())
    names, _ = run(*words, stdin=f"{picture}\n".encode())
    image, names = (
        [json.loads(line) for line in text.splitlines()] for text in (image, names)
    )
    assert {row["answer"] for row in image} == set(COLOURS)
    assert sum(row["probability"] for row in image) == pytest.approx(1)
    assert [row["image"] for row in image + names] == ["-"] * 2 + [str(picture)] * 2
    for one, other in zip(image, names):
        assert one["answer"] == other["answer"]
        assert one["probability"] == pytest.approx(other["probability"])


def test_a_damaged_image_is_named_and_the_others_answered(place, tmp_path):
    shutil.copy(place / "paint/red/0.png", tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    printed, notes = run("predict", place / "tasks", tmp_path, "--json", code=3)
    rows = {row["image"]: row for row in map(json.loads, printed.splitlines())}
    assert rows[str(tmp_path / "good.png")]["rank"] == 1
    assert rows[str(tmp_path / "half.png")]["error"]
    assert "1 of 2 images could not be read" in notes


def test_evaluate_counts_as_one_would(place, model, tmp_path):
    folder = draw_classes(tmp_path / "test", 5, seed=1)
    shutil.rmtree(folder / "red" / "4.png", ignore_errors=True)
    files = sorted(folder.glob("*/*.png"))
    pixels = np.stack([np.array(Image.open(file)) for file in files])
    labels = np.array([sorted(COLOURS).index(file.parent.name) for file in files])
    chances = softmax(model.predict(pixels, verbose=0)["paint"])
    printed, _ = run("evaluate", place / "tasks/paint.safetensors", folder, "--json")
    found = json.loads(printed)
    assert found["accuracy"] == pytest.approx((chances.argmax(-1) == labels).mean())
    loss = -np.log(chances[np.arange(len(labels)), labels]).mean()
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert [row["images"] for row in found["rows"]] == list(np.bincount(labels))
    words, _ = run("evaluate", place / "tasks/paint.safetensors", folder)
    assert f"{100 * found['accuracy']:.1f} % right" in words


def test_predict_answers_other_kinds_in_their_own_way(place, kinds):
    model, _ = kinds
    picture = place / "paint/red/0.png"
    files = [place / "kinds", "--backbone", place / "preset"]
    printed, _ = run("predict", *files, picture, "--json", "--top", 2)
    rows = [json.loads(line) for line in printed.splitlines()]
    answers = model.predict(np.array(Image.open(picture))[None], verbose=0)
    (age,) = [row for row in rows if row["task"] == "age"]
    assert age["value"] == pytest.approx(float(answers["age"][0, 0]), rel=1e-4)
    found = {r["answer"]: r["probability"] for r in rows if r["task"] == "looks"}
    sigmoids = 1 / (1 + np.exp(-answers["looks"][0]))
    for name, chance in zip(["hat", "tie"], sigmoids):
        assert found[name] == pytest.approx(float(chance), rel=1e-4)


def test_evaluate_takes_a_column_of_a_manifest(place, kinds):
    model, manifest = kinds
    files = [f"../paint/{name}.png" for name in ("red/0", "red/1", "blue/0")]
    pixels = [np.array(Image.open(manifest.parent / file)) for file in files]
    answers = model.predict(np.stack(pixels), verbose=0)
    options = ["--backbone", place / "preset", "--json"]
    printed, _ = run("evaluate", place / "kinds/age.safetensors", manifest, *options)
    found = json.loads(printed)
    errors = np.abs(answers["age"][[0, 2], 0] - [30.5, 50.0])
    assert found["images"] == 2
    assert found["mean_absolute_error"] == pytest.approx(errors.mean(), rel=1e-4)
    printed, _ = run("evaluate", place / "kinds/looks.safetensors", manifest, *options)
    there = np.array([[1, 1], [1, 0], [0, 1]])
    logits = answers["looks"]
    losses = np.log1p(np.exp(np.where(there, -logits, logits)))
    assert json.loads(printed)["loss"] == pytest.approx(losses.mean(), rel=1e-4)


def test_inspect_needs_no_backbone(place):
    file = place / "tasks/paint.safetensors"
    printed, _ = run("inspect", file, "--json")
    card = json.loads(printed)
    assert card["task"]["class_names"] == sorted(COLOURS)
    assert card["bytes"] == file.stat().st_size
    assert "task: paint" in run("inspect", place / "tasks")[0]


def test_check_finds_a_copy_and_says_so_by_its_exit_code(place, tmp_path):
    folder = draw_classes(tmp_path / "paint", 12, seed=2)
    shutil.copy(folder / "red/0.png", folder / "red/again.png")
    printed, _ = run("check", folder, "--json", "-o", tmp_path / "found.json", code=3)
    found = json.loads(printed)
    (group,) = found["duplicates"]
    assert sorted(map(os.path.basename, group["files"])) == ["0.png", "again.png"]
    assert json.loads((tmp_path / "found.json").read_text()) == found
    (folder / "red/again.png").unlink()
    run("check", folder)


def test_export_writes_a_servable_of_all_tasks(place, model, tmp_path):
    import tensorflow as tf

    path = tmp_path / "served" / "1"
    printed, _ = run("export", place / "tasks", "-o", path, "--json")
    assert json.loads(printed) == {"path": str(path), "tasks": ["paint"]}
    pixels = np.array(Image.open(place / "paint/red/0.png"), "float32")[None]
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    got = served(tf.constant(pixels))["paint/probabilities"].numpy()
    wanted = softmax(model.predict(pixels, verbose=0)["paint"])
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    _, notes = run("export", place / "tasks", "-o", path, code=1)
    assert notes.startswith("error: ") and str(path) in notes
    run("export", place / "tasks", "-o", path, "--overwrite")


def test_push_names_the_handle(place, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "t")
    printed, _ = run("push", place / "tasks/paint.safetensors", "user/paint")
    assert printed.strip() == "hf://user/paint"
    assert {"paint.safetensors", "report.html"} <= set(hub.files["user/paint"])


@pytest.mark.parametrize(
    "words, said",
    [
        ("predict {place}/tasks {place}/none.png", "none.png"),
        ("predict {place}/tasks {place}/paint -o answers.xlsx", ".parquet"),
        ("evaluate {place}/tasks/paint.safetensors {place}/none", "does not exist"),
        ("inspect {place}/paint", "safetensors"),
        ("train {place}/tasks --backbone {place}/preset", "class"),
        ("train {place}/paint --backbone {place}/preset --kind regression", "kind"),
        ("check {place}/tasks", "class"),
    ],
)
def test_what_is_refused_is_one_line(place, words, said):
    before = sorted(place.rglob("*"))
    printed, notes = run(*words.format(place=place).split(), code=1)
    assert printed == ""
    assert notes.startswith("error: ") and notes.count("\n") == 1
    assert said in notes
    assert sorted(place.rglob("*")) == before


def test_debug_shows_where_an_error_arose(place):
    words = ["inspect", str(place / "paint"), "--debug"]
    assert isinstance(CliRunner().invoke(app, words).exception, ValueError)


def test_a_wrong_command_line_is_told_from_a_refusal(place):
    assert "--tpo" in run("predict", place, place, "--tpo", 3, code=2)[1]


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb):
    printed, _ = run(verb, "--help")
    assert f"Example: keras-memvit {verb}" in " ".join(printed.split())


def test_a_process_says_one_line_and_nothing_of_the_backends(place):
    command = [sys.executable, "-m", "keras_memvit"]
    done = subprocess.run(
        [*command, "inspect", str(place / "none.safetensors")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
