from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import encoder
from encoder import EncoderError, bits
from encoder.projection import project
from encoder.tokenize import Tokenizer
from encoder.training import batch_loss, trainable_encoder, trainer, validation, warm_start
from encoder.training.bit_layer import BitLayer
from tests.conftest import random_texts
from tests.encoder.labelled import SAMPLE, TASKS, UNEVEN, make_task, quick


def matrices(bundle) -> dict[str, np.ndarray]:
    """Return what is added to matrices; the gradients of some biases are nothing but rounding."""
    return {name: addition for name, addition in bundle.adapter.additions() if addition.ndim == 2}


@pytest.mark.parametrize("rank", [8, 128])
@pytest.mark.parametrize("number", [None, 16, 128])
def test_every_kind_of_task_trains_into_a_bundle_that_encodes(tiny_base, number, rank):
    bundle = quick(tiny_base, rank=rank, bits=number)
    assert bundle.bits == (number or 64)
    assert bundle.projection.ndim == (3 if number is None else 2)  # a rotation within layers, or a learned projection
    ones = bits.unpack(encoder.load(bundle, "cpu").encode(SAMPLE).bits).mean(0)
    assert ((ones > 0.05) & (ones < 0.95)).all()  # thresholds at the mean of the final weights


def test_thresholds_are_the_means_of_the_final_weights(tiny_base):
    bundle = quick(tiny_base)
    features = encoder.load(bundle, "cpu", "float32").features(SAMPLE)
    np.testing.assert_allclose(bundle.thresholds, features.mean(0), atol=1e-5)


def test_the_same_call_gives_the_same_bytes_and_another_seed_others(tiny_base):
    first, second, other = (quick(tiny_base, seed=seed).files() for seed in (0, 0, 1))
    assert first == second
    assert first["adapter.safetensors"] != other["adapter.safetensors"]


def test_training_leaves_the_random_state_of_the_process_alone(tiny_base):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    quick(tiny_base)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_an_encoder_learns_what_its_frozen_bits_cannot_tell(tiny_base):
    task = make_task(train=600, validation=200)

    def best_score_and_last_loss(learning_rate: float) -> tuple[float, float]:
        losses = []
        bundle = quick(
            tiny_base, tasks=[task], steps=300, batch_texts=32, eval_steps=50, eval_rows=200, patience=0,
            similarity_weight=0.0, reconstruction_weight=0.0, learning_rate=learning_rate, rotation="none",
            report=lambda p: losses.append(p.losses["loud"]),
        )  # fmt: skip
        history = bundle.training["history"]
        assert bundle.training["best_step"] in [entry["step"] for entry in history]
        return max(entry["mean_score"] for entry in history), losses[-1]

    (frozen_score, frozen_loss), (score, loss) = map(best_score_and_last_loss, (1e-9, 4e-3))
    assert score > frozen_score + 0.05
    assert loss < frozen_loss - 0.1


@pytest.mark.slow
def test_keeping_holds_the_similarities_of_the_base(tiny_base):
    texts = random_texts(200, seed=9)
    base = encoder.load(quick(tiny_base, learning_rate=1e-9), "cpu", "float32").features(texts)

    def similarity(bundle) -> float:
        features = encoder.load(bundle, "cpu", "float32").features(texts)
        signs = [np.where(f > f.mean(0), 1, -1) for f in (base, features)]
        first, second = ((s @ s.T)[np.triu_indices(len(s), 1)] for s in signs)
        return float(np.corrcoef(first, second)[0, 1])

    shared = {"steps": 80, "learning_rate": 3e-3, "tasks": TASKS[:1], "unlabelled": random_texts(300)}
    shared |= {"eval_steps": 80}  # both end there, whatever the scores
    free, kept = (similarity(quick(tiny_base, similarity_weight=weight, **shared)) for weight in (0.0, 10.0))
    assert kept > free


def test_the_decoder_is_thrown_away(tiny_base):
    whole, without = (quick(tiny_base, reconstruction_weight=weight, rank=32) for weight in (1.0, 0.0))
    assert whole.adapter.tensors.keys() == without.adapter.tensors.keys()
    assert all(name.startswith("encoder.layer.") for name in whole.adapter.tensors)


@pytest.mark.slow
def test_rebuilding_brings_the_base_models_last_layer_into_the_bits(tiny_base):
    def left_over(weight: float) -> float:
        """Of the last 30 steps, the decoder learning as fast with any weight (Adam)."""
        told = []
        quick(
            tiny_base, reconstruction_weight=weight, **shared, report=lambda p: told.append(p.losses["reconstruction"])
        )
        return told[-1]

    shared = {"steps": 90, "eval_steps": 30, "similarity_weight": 0.0, "learning_rate": 1e-3, "tasks": TASKS[:1]}
    assert left_over(10.0) < 0.8 * left_over(1e-6)


def test_heads_and_decoder_start_where_they_fit_the_frozen_encoder(tiny_base, monkeypatch):
    def first_losses() -> dict[str, float]:
        told = []
        quick(tiny_base, steps=1, batch_texts=100, eval_steps=1, report=lambda p: told.append(p.losses))
        return told[0]

    fitted = first_losses()
    monkeypatch.setattr(warm_start, "start_heads", lambda *a: np.empty((0, 64), np.float32))
    monkeypatch.setattr(warm_start, "start_decoder", lambda *a: None)
    guessed = first_losses()
    for name in ("loud", "themes", "stars", "reconstruction"):
        assert fitted[name] < guessed[name]
    assert fitted["similarity"] == guessed["similarity"]


def test_progress_tells_losses_and_scores_of_every_task(tiny_base, monkeypatch):
    monkeypatch.setattr(trainer, "REPORT_STEPS", 5)
    told = []
    quick(tiny_base, report=told.append)
    assert [progress.step for progress in told] == [5, 6, 10, 12, 15, 16]
    assert [bool(progress.scores) for progress in told] == [False, True, False, True, False, True]
    assert set(told[-1].scores) == {"loud", "themes", "stars"}
    assert set(told[-1].losses) == {"loud", "themes", "stars", "similarity", "reconstruction"}
    assert told[-1].seconds_left == 0


def test_training_stops_when_the_mean_score_no_longer_rises(tiny_base, monkeypatch):
    scores = iter([0.1, 0.2, 0.5, 0.4, 0.5, 0.3, 0.9])
    monkeypatch.setattr(validation, "score", lambda *a: next(scores))
    bundle = quick(tiny_base, tasks=TASKS[:1], steps=100, eval_steps=3, patience=3)
    assert bundle.training["best_step"] == 9
    assert bundle.training["steps"] == 18


def test_a_large_batch_in_several_passes_learns_the_same(tiny_base):
    shared = {"similarity_weight": 0.0, "steps": 3, "tasks": TASKS[:1]}
    one, several = (matrices(quick(tiny_base, batch_tokens=tokens, **shared)) for tokens in (8192, 64))
    for name in one:
        assert np.corrcoef(one[name].ravel(), several[name].ravel())[0, 1] > 0.9


def test_what_was_trained_is_written_down(tiny_base):
    record = quick(tiny_base, unlabelled=["good film"] * 5, source="made up").training
    assert [task["name"] for task in record["tasks"]] == ["loud", "themes", "stars"]
    assert record["tasks"][1] == {
        "name": "themes", "kind": "multi", "outputs": 3, "train_rows": 200, "validation_rows": 60
    }  # fmt: skip
    assert record["unlabelled_texts"] == 5
    assert record["options"]["steps"] == 16
    assert set(record["history"][-1]) == {"step", "losses", "scores", "mean_score"}


@pytest.mark.parametrize("rotation", ["layers", "none"])
def test_the_bundle_stores_the_bits_that_were_trained(tiny_base, monkeypatch, rotation):
    """But for thresholds, which are means again with the final weights: the bits heads saw in training, not the base's."""
    models = []
    real = trainer.Trainer.run

    def run(self, *arguments):
        real(self, *arguments)
        models.append(self._model)

    monkeypatch.setattr(trainer.Trainer, "run", run)
    made = {"tasks": TASKS[:1], "steps": 30, "eval_steps": 17, "learning_rate": 3e-3}
    bundle = quick(tiny_base, rotation=rotation, **made)
    texts = TASKS[0].validation.texts
    windows = Tokenizer(tiny_base, 32, "", "truncate", 0, 0)(texts)
    (trained_model,) = models
    with torch.no_grad():
        trained = trained_model.signs(*trained_model.pad(windows, np.arange(len(texts)))).numpy() > 0

    def differ(made) -> float:
        return float((bits.unpack(encoder.load(made, "cpu", "float32").encode(texts).bits) != trained).mean())

    if rotation == "none":
        assert differ(bundle) < 0.5 * differ(dataclasses.replace(bundle, adapter=None))
    as_trained = dataclasses.replace(bundle, thresholds=thresholds_of(trained_model.bit_layer, bundle.projection))
    assert differ(as_trained) < 0.01 < differ(dataclasses.replace(as_trained, adapter=None))


def thresholds_of(layer: BitLayer, projection: np.ndarray | None) -> np.ndarray:
    """Return where a layer that trained cuts what a bundle's projection gives: (bits,) float32."""
    mean, deviation, centre = (tensor.numpy() for tensor in (layer.mean, layer.deviation, layer.centre))
    spread = deviation
    if projection is not None:
        scaled = deviation.reshape(*projection.shape[:2], 1) * projection
        spread = (scaled[:, 0] / layer.start.numpy()[:, 0]).ravel()
    return (project(mean[None], projection)[0] + centre * spread).astype(np.float32)


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 8},
        {"train_layers": 1},
        {"weight_decay": 0.5},
        {"sampling_power": 1.0},
        {"dropout": 0.3},
        {"train_tokens": 8},
        {"precision": "bfloat16"},
        {"gradient_norm": 1e-3},
        {"head_learning_rate": 0.5},
        {"warmup_share": 0.9},
        {"unlabelled_share": 0.5},
        {"similarity_weight": 0.0},
        {"reconstruction_weight": 0.0},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_option_changes_what_is_learned(tiny_base, plain_adapter, change):
    assert quick(tiny_base, tasks=UNEVEN, unlabelled=SAMPLE, **change).adapter.content != plain_adapter


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_that_of_the_training_itself(tiny_base, monkeypatch, precision):
    asked = []
    real = trainable_encoder.products
    monkeypatch.setattr(trainable_encoder, "products", lambda device, half: asked.append(half) or real(device, half))
    quick(tiny_base, tasks=TASKS[:1], steps=2, precision=precision)
    assert set(asked) == {precision == "bfloat16"}


@pytest.fixture(scope="module")
def plain_adapter(tiny_base):
    """Give what is learned with no option changed; twice the same, or the test above says nothing."""
    first, again = (quick(tiny_base, tasks=UNEVEN, unlabelled=SAMPLE).adapter.content for _ in range(2))
    assert first == again
    return first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": []}, "at least one task"),
        ({"tasks": [TASKS[0], TASKS[0]]}, "task 'loud' is named twice"),
        ({"tasks": [dataclasses.replace(TASKS[0], name="similarity")]}, "a task cannot be called 'similarity'"),
        ({"sample": SAMPLE[:20]}, "at least 64 texts, 20 were given"),
        ({"bits": 12}, "positive multiple of 8, not 12"),
        ({"layers": (9,)}, "layer 9 is asked for"),
        ({"layers": (0,)}, "no layer can be trained"),
        ({"train_layers": 4}, "there are 3 layers up to the highest one pooled"),
        ({"max_tokens": 100}, "over what .* can read"),
        ({"device": "tpu"}, "choose from auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_trained_is_refused(tiny_base, change, message):
    with pytest.raises(EncoderError, match=message):
        quick(tiny_base, **change)


def test_the_passes_of_a_batch_are_of_one_size(tiny_base, monkeypatch):
    passes = []

    def noted(self, ids, mask, part, whole):
        passes.append((len(part.row), len(whole.row)))
        return loss(self, ids, mask, part, whole)

    loss = batch_loss.BatchLoss.__call__
    monkeypatch.setattr(batch_loss.BatchLoss, "__call__", noted)
    quick(tiny_base, steps=2, batch_texts=64, max_tokens=8, batch_tokens=29 * 8)
    assert max(rows for rows, _ in passes) < 64
    assert all(abs(rows - whole / round(whole / rows)) <= 1 for rows, whole in passes)


def test_similarities_in_several_passes_hold_as_much_as_in_one(tiny_base):
    shared = {"similarity_weight": 3.0, "reconstruction_weight": 0.0, "steps": 3, "tasks": TASKS[:1]}
    shared |= {"batch_texts": 64, "head_learning_rate": 1e-9, "gradient_norm": 1e9, "max_tokens": 8, "rotation": "none"}
    one, several = (matrices(quick(tiny_base, batch_tokens=tokens, **shared)) for tokens in (8192, 256))
    for name in one:
        assert np.corrcoef(one[name].ravel(), several[name].ravel())[0, 1] > 0.8


def test_passes_too_small_to_compare_texts_are_refused(tiny_base):
    with pytest.raises(EncoderError, match=r"batch_tokens 64 has room for 2 texts of 32 tokens, .* take at least 512"):
        quick(tiny_base, similarity_weight=0.5, batch_texts=32, batch_tokens=64)


def test_a_base_that_gives_no_numbers_is_named(tiny_base, tmp_path):
    base = tmp_path / "broken"
    shutil.copytree(tiny_base, base)
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=f"base model {base} gives features that are not numbers"):
        quick(base)
