from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encoder
from pipelines import annotate, verify
from pipelines.command_line import cli
from pipelines.models import train_encoder, train_head
from tests.conftest import random_texts, store_files
from tests.pipelines.labelled_folders import write_split

QUICK = [
    "--layers", "2", "3", "--max_tokens", "32", "--steps", "8", "--batch_texts", "16",
    "--eval_steps", "4", "--eval_rows", "30", "--device", "cpu", "--precision", "float32",
]  # fmt: skip


def command(tasks: Path, tiny_base: Path, output: Path, *more: str, names=("held", "words", "count")) -> list[str]:
    folders = [str(tasks / name) for name in names]
    return ["--tasks", *folders, "--base", str(tiny_base), "--output", str(output), *QUICK, *more]


def bundle_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_trained_encoder_annotates_and_heads_are_fitted_on_it(tasks, tiny_base, tmp_path, capsys):
    made = train_encoder.run(command(tasks, tiny_base, tmp_path / "mine"))
    said = capsys.readouterr().out
    assert "validation after 8 steps: mean" in said
    assert "min left); losses: held" in said
    assert "64 bits from layers 2, 3" in said
    assert sorted(bundle_files(tmp_path / "mine")) == ["adapter.safetensors", "encoder.json", "parameters.safetensors"]
    assert not (tmp_path / "mine.training").exists()
    assert encoder.describe(str(tmp_path / "mine")).fingerprint == made.fingerprint
    (tmp_path / "in.txt").write_text("\n".join(random_texts(30)))
    shared = ["--encoder", str(tmp_path / "mine")]
    splits = [
        "--train", str(tasks / "held" / "train.parquet"), "--validation", str(tasks / "held" / "validation.parquet")
    ]  # fmt: skip
    train_head.run(["--name", "held", *splits, *shared, "--output", str(tmp_path / "head")])
    store = ["--input", str(tmp_path / "in.txt"), "--store", str(tmp_path / "s"), "--no_progress"]
    summary = annotate.run([*store, *shared, "--heads", str(tmp_path / "head")])
    assert summary.documents == 30
    assert verify.run(["--store", str(tmp_path / "s"), "--input", str(tmp_path / "in.txt")]).problems == ()


def test_a_store_keeps_the_adapter_and_encodes_with_it_alone(tasks, tiny_base, tmp_path):
    made = train_encoder.run(command(tasks, tiny_base, tmp_path / "mine", names=["held"]))
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("\n".join(random_texts(20, seed=ord(name))))
    store = ["--store", str(tmp_path / "s"), "--heads", "none", "--no_progress", "--input_root", str(tmp_path)]
    annotate.run([*store, "--input", str(tmp_path / "a.txt"), "--encoder", str(tmp_path / "mine")])
    kept = tmp_path / "s" / "encoders" / f"e{made.fingerprint[:12]}"
    assert bundle_files(kept) == bundle_files(tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine")
    arguments = [*store, "--input", str(tmp_path / "*.txt"), "--encoder", made.fingerprint[:12]]
    assert annotate.run(arguments).documents == 20
    assert len(store_files(tmp_path / "s", "codes")) == 2


def test_the_same_command_gives_the_same_bytes(tasks, tiny_base, tmp_path):
    for place in "ab":
        train_encoder.run(command(tasks, tiny_base, tmp_path / place / "mine", "--bits", "32"))
    assert bundle_files(tmp_path / "a" / "mine") == bundle_files(tmp_path / "b" / "mine")


def test_the_description_records_tasks_rows_options_seed_losses_and_scores(tasks, tiny_base, tmp_path):
    train_encoder.run(command(tasks, tiny_base, tmp_path / "mine", "--seed", "3", "--rank", "2"))
    described = json.loads((tmp_path / "mine" / "encoder.json").read_text())
    training = described["training"]
    assert [(t["name"], t["kind"], t["train_rows"], t["validation_rows"]) for t in training["tasks"]] == [
        ("held", "single", 90, 40), ("words", "multi", 90, 40), ("count", "regression", 90, 40)
    ]  # fmt: skip
    assert (training["options"]["seed"], training["options"]["rank"]) == (3, 2)
    assert set(training["history"][0]["scores"]) == {"held", "words", "count"}
    assert training["history"][-1]["losses"]["held"] > 0
    assert described["calibration"]["source"] == "training splits of: held words count"


def test_the_test_split_is_never_read(tasks, tiny_base, tmp_path):
    shutil.copytree(tasks / "held", tmp_path / "held")
    (tmp_path / "held" / "test.parquet").write_bytes(b"no parquet at all")
    train_encoder.run(command(tmp_path, tiny_base, tmp_path / "mine", names=["held"]))
    train_encoder.run(command(tasks, tiny_base, tmp_path / "other" / "mine", names=["held"]))
    assert bundle_files(tmp_path / "mine") == bundle_files(tmp_path / "other" / "mine")


def test_unlabelled_texts_take_part(tasks, tiny_base, tmp_path):
    (tmp_path / "more.txt").write_text("\n".join(random_texts(80)) + "\n\n")
    made = train_encoder.run(command(tasks, tiny_base, tmp_path / "mine", "--unlabelled", f"{tmp_path}/more.txt"))
    assert made.training["unlabelled_texts"] == 80


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_identical_bundle(tasks, tiny_base, tmp_path):
    more = ["--steps", "40", "--checkpoint_steps", "3", "--eval_steps", "10"]
    arguments = {place: command(tasks, tiny_base, tmp_path / place / "mine", *more) for place in ("quiet", "killed")}
    program = [sys.executable, "-m", "pipelines.models.train_encoder"]
    subprocess.run([*program, *arguments["quiet"]], check=True, capture_output=True)
    kept = tmp_path / "killed" / "mine.training" / "checkpoint.safetensors"
    process = subprocess.Popen([*program, *arguments["killed"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not kept.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was over before it was killed"
    assert not (tmp_path / "killed" / "mine").exists()
    train_encoder.run(arguments["killed"])
    assert bundle_files(tmp_path / "killed" / "mine") == bundle_files(tmp_path / "quiet" / "mine")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["mine"]


def refused(capsys, arguments: list[str]) -> str:
    assert cli.main(["train-encoder", *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1
    return lines[0]


def damage(folder: Path, what: str) -> None:
    texts = random_texts(40)
    half = ["none", "some"] * 20
    info = folder / "info.json"
    if what == "no validation":
        (folder / "validation.parquet").unlink()
    elif what == "no info":
        info.unlink()
    elif what == "broken info":
        info.write_text("{")
    elif what == "info is a list":
        info.write_text("[]")
    elif what == "unknown kind":
        info.write_text('{"labels": ["none", "some"], "kind": "ordinal"}')
    elif what == "repeated labels":
        info.write_text('{"labels": ["none", "some", "none"]}')
    elif what == "unknown labels":
        write_split(folder, "train", texts, ["none", "all"] * 20)
    elif what == "unknown validation label":
        write_split(folder, "validation", texts, ["none", "never"] * 20)
    elif what == "labels differ":
        info.write_text('{"labels": ["none", "some", "other"]}')
        write_split(folder, "validation", texts, ["none", "other"] * 20)
    elif what == "one class":
        write_split(folder, "train", texts, ["some"] * 40)
    elif what == "no texts":
        write_split(folder, "train", ["", " ", None, "\n"] * 10, half)
    elif what == "no label":
        write_split(folder, "train", texts, [None, *half[1:]])
    elif what == "no column":
        pq.write_table(pa.table({"text": texts}), folder / "train.parquet")
    elif what == "no parquet":
        (folder / "train.parquet").write_bytes(b"no")
    elif what == "few rows":
        write_split(folder, "train", texts, half)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no validation", "holds no validation.parquet; a task needs a training and a validation split"),
        ("no info", "holds no info.json and is not a task's folder"),
        ("broken info", "info.json cannot be read"),
        ("info is a list", "info.json cannot be read"),
        ("unknown kind", "says kind 'ordinal'; choose from single, multi, multilabel, regression"),
        ("repeated labels", "lists a label twice"),
        ("unknown labels", "task held: train.parquet has labels that info.json does not list: 'all'"),
        ("unknown validation label", "task held: validation.parquet has labels that info.json does not list: 'never'"),
        ("labels differ", "task held: the validation rows have labels that no training row has: other"),
        ("one class", "task held: the training rows have one class only, 'some'"),
        ("no texts", "train.parquet has no row with text in field 'text'"),
        ("no label", "train.parquet row 0 has no label in field 'label'"),
        ("no column", "has no field 'label'; it has text"),
        ("no parquet", "train.parquet cannot be read"),
        ("few rows", "thresholds need a sample of at least 64 texts, 40 were given"),
    ],
)
def test_bad_tasks_are_told_in_one_line_and_nothing_is_written(tasks, tiny_base, tmp_path, capsys, what, message):
    shutil.copytree(tasks / "held", tmp_path / "held")
    damage(tmp_path / "held", what)
    assert message in refused(capsys, command(tmp_path, tiny_base, tmp_path / "mine", names=["held"]))
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tasks", "no-such"], "--tasks no-such is not a folder"),
        (["--warmup_share", "2"], "warmup_share must be at least 0 and at most 1"),
        (["--reconstruction_weight", "-1"], "reconstruction_weight must not be negative, but is -1.0"),
        (["--reconstruction_weight", "nan"], "reconstruction_weight must not be negative, but is nan"),
        (["--bits", "12"], "multiple of 8"),
        (["--bits", "56", "--calibrate_rows", "64", "--layers", "1", "2", "3"], None),
        (
            ["--bits", "72", "--calibrate_rows", "70", "--layers", "1", "2", "3"],
            "72 bits by rotation need at least as many",
        ),
        (["--train_layers", "7"], "train_layers is 7 but there are 3 layers"),
        (["--layers", "8"], "layers 0 (embeddings) to 3"),
        (["--pooling", "middle"], "choose from cls, mean"),
        (["--base", "/no/such"], "is not a model"),
        (["--device", "gpu"], "choose from auto, cpu, cuda, cuda:N, mps"),
        (["--unlabelled", "/no/such.txt"], "/no/such.txt is not a file"),
        (["--learning_rate", "1e30", "--dropout", "0"], "nothing was written: take a smaller learning_rate than 1e+30"),
        (["--head_learning_rate", "1e38"], "learning_rate and head_learning_rate must be at most 1e+30"),
        (["--seed", "9" * 20], "seed must be below 2**63"),
    ],
)
def test_bad_options_are_told_in_one_line_and_nothing_is_written(tasks, tiny_base, tmp_path, capsys, more, message):
    arguments = command(tasks, tiny_base, tmp_path / "mine", *more)
    if message is None:
        train_encoder.run(arguments)
        return
    assert message in refused(capsys, arguments)
    assert not list(tmp_path.iterdir())


def test_a_task_named_twice_is_refused(tasks, tiny_base, tmp_path, capsys):
    arguments = command(tasks, tiny_base, tmp_path / "mine", names=["held", "held"])
    assert refused(capsys, arguments).endswith("task 'held' is named twice")
    shutil.copytree(tasks / "held", tmp_path / "other" / "held")
    arguments[2] = str(tmp_path / "other" / "held")
    assert "rename one of the folders" in refused(capsys, arguments)


def test_the_folder_above_the_tasks_gets_a_hint(tasks, tiny_base, tmp_path, capsys):
    said = refused(capsys, ["--tasks", str(tasks), "--output", str(tmp_path / "mine")])
    assert "name the task folders in it: count, held, words" in said


def test_an_output_that_holds_other_files_is_refused_before_training(tasks, tiny_base, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert "holds other files" in refused(capsys, command(tasks, tiny_base, tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_encoder_is_replaced_only_if_asked_to(tasks, tiny_base, tiny_bundle, tmp_path, capsys):
    shutil.copytree(tiny_bundle, tmp_path / "mine")
    arguments = command(tasks, tiny_base, tmp_path / "mine", names=["held"])
    message = refused(capsys, arguments)
    assert "is an encoder's folder already; choose another folder, or replace it with --overwrite" in message
    assert bundle_files(tmp_path / "mine") == bundle_files(tiny_bundle)
    made = train_encoder.run([*arguments, "--overwrite"])
    assert encoder.describe(str(tmp_path / "mine")).fingerprint == made.fingerprint


def test_checkpoints_that_could_not_be_written_are_told_before_training(tasks, tiny_base, tmp_path, capsys):
    (tmp_path / "mine.training").write_text("a file")
    assert "mine.training is a file" in refused(capsys, command(tasks, tiny_base, tmp_path / "mine"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.training"]


def test_names_that_cannot_be_written_are_told_before_training(tasks, tiny_base, tmp_path, capsys):
    said = refused(capsys, command(tasks, tiny_base, tmp_path / "caf\udce9"))
    assert said.endswith("the encoder's name 'caf\\udce9' cannot be written; give another --name")
    shutil.copytree(tasks / "held", tmp_path / "caf\udce9")
    said = refused(capsys, command(tmp_path, tiny_base, tmp_path / "mine", names=["caf\udce9"]))
    assert "caf\\udce9' has a name that cannot be written; rename it" in said


def test_a_checkpoint_of_another_command_is_refused(tasks, tiny_base, tmp_path, capsys, monkeypatch):
    arguments = command(tasks, tiny_base, tmp_path / "mine", "--checkpoint_steps", "2")

    def interrupted(progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_encoder, "_print", interrupted)
        assert cli.main(["train-encoder", *arguments]) == 130
    assert "the same command continues from there" in capsys.readouterr().err
    assert "with other rows or options, at step 2" in refused(capsys, [*arguments, "--steps", "7"])
    train_encoder.run(arguments)
    assert "\ncontinuing from the checkpoint of step 2/" in capsys.readouterr().out
