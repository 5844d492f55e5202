from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import encoder
from encoder import EncoderError
from encoder.adapter import Adapter, difference_tensors, low_rank_tensors
from encoder.bundle import read
from encoder.forward.model import load_model, merge
from tests.conftest import random_texts

RNG = np.random.default_rng(0)
MODULE = "encoder.layer.2.attention.self.query"


def normal(*shape: int, scale: float = 0.1) -> np.ndarray:
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


def tiny_adapter(scale: float = 0.1) -> Adapter:
    bias = {"encoder.layer.2.output.LayerNorm.bias.delta": normal(32, scale=scale).astype(np.float16)}
    return Adapter(low_rank_tensors(MODULE, normal(4, 32), normal(32, 4, scale=scale)) | bias)


@pytest.fixture
def adapted(tiny_bundle):
    return dataclasses.replace(encoder.describe(str(tiny_bundle)), adapter=tiny_adapter(), training={"steps": 1})


def test_additions_are_products_and_differences():
    down, up, delta = normal(2, 5), normal(3, 2), normal(4)
    found = dict(Adapter(low_rank_tensors("a.b", down, up) | {"c.bias.delta": delta.astype(np.float16)}).additions())
    assert set(found) == {"a.b.weight", "c.bias"}
    np.testing.assert_allclose(found["a.b.weight"], up @ down, atol=1e-4)
    np.testing.assert_allclose(found["c.bias"], delta, atol=1e-3)
    assert all(array.dtype == np.float32 for array in found.values())


def test_a_product_survives_float16_where_its_factors_would_not():
    down, up = normal(2, 8, scale=10), normal(8, 2, scale=1e-9)
    (addition,) = (array for _, array in Adapter(low_rank_tensors("m", down, up)).additions())
    np.testing.assert_allclose(addition, up @ down, atol=2e-3 * np.abs(up @ down).max())


def test_the_same_adapter_gives_the_same_bytes_whatever_the_order_of_its_tensors():
    tensors = tiny_adapter().tensors
    assert Adapter(dict(reversed(tensors.items()))).content == Adapter(tensors).content
    again = Adapter.read(Adapter(tensors).content)
    assert again.content == Adapter(tensors).content


def test_differences_are_kept_whole_or_cut_to_their_best_low_rank_approximation():
    low = normal(12, 3) @ normal(3, 10)
    noise = normal(12, 10, scale=1e-3)
    differences = {"m.weight": low + noise, "norm.weight": normal(12), "m.bias": normal(12)}
    whole = dict(Adapter(difference_tensors(differences, rank=10)).additions())
    np.testing.assert_allclose(whole["m.weight"], differences["m.weight"], atol=1e-3)
    cut = Adapter(difference_tensors(differences, rank=3))
    assert set(cut.tensors) == {"m.down", "m.up", "norm.weight.delta", "m.bias.delta"}
    assert np.abs(dict(cut.additions())["m.weight"] - low).max() < 1e-2


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "at least one tensor"),
        ({"m.delta": np.zeros(2, np.float32)}, "must be float16, not float32"),
        ({"m.delta": np.full(2, np.inf, np.float16)}, "not finite"),
        ({"m.weight": np.zeros(2, np.float16)}, "must end in one of .down, .up, .delta"),
        ({"m.down": np.zeros((2, 3), np.float16)}, r"not \(2, 3\) and absent"),
        ({"m.down": np.zeros((2, 3), np.float16), "m.up": np.zeros((3, 3), np.float16)}, r"not \(2, 3\) and \(3, 3\)"),
    ],
)
def test_what_is_no_adapter_is_refused(tensors, message):
    with pytest.raises(EncoderError, match=message):
        Adapter(tensors)


def test_a_bundle_with_an_adapter_is_read_back(adapted, tmp_path):
    again = read(adapted.save(tmp_path / "b"))
    assert again.fingerprint == adapted.fingerprint
    assert again.adapter.content == adapted.adapter.content
    assert again.training == {"steps": 1}
    assert again.files() == adapted.files()


def test_an_adapter_changes_the_fingerprint_and_how_it_was_trained_does_not(adapted, tiny_bundle):
    assert adapted.fingerprint != encoder.describe(str(tiny_bundle)).fingerprint
    assert dataclasses.replace(adapted, adapter=tiny_adapter(0.2)).fingerprint != adapted.fingerprint
    assert dataclasses.replace(adapted, training={}).fingerprint == adapted.fingerprint


def test_bundles_with_and_without_an_adapter_have_one_format(adapted, tiny_bundle, tmp_path):
    assert json.loads(adapted.files()["encoder.json"])["format_version"] == 3
    plain = encoder.describe(str(tiny_bundle))
    assert plain.files() == {p.name: p.read_bytes() for p in tiny_bundle.iterdir()}
    assert json.loads(plain.files()["encoder.json"])["format_version"] == 3
    assert "training" not in json.loads(plain.files()["encoder.json"])


def test_the_default_bundle_keeps_its_bytes_and_its_fingerprint():
    bundle = encoder.describe("default")
    folder = encoder.bundle.BUNDLED_FOLDER / "default"
    assert all((folder / name).read_bytes() == content for name, content in bundle.files().items())


def test_the_description_is_the_last_of_a_bundles_files(adapted):
    assert list(adapted.files())[-1] == "encoder.json"


def test_a_bundle_without_an_adapter_leaves_none_of_the_one_it_replaces(adapted, tiny_bundle, tmp_path):
    adapted.save(tmp_path / "b")
    encoder.describe(str(tiny_bundle)).save(tmp_path / "b")
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["encoder.json", "parameters.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_adapter_is_refused(adapted, tmp_path, damage):
    path = adapted.save(tmp_path / "b") / "adapter.safetensors"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if damage == "cut" else tiny_adapter(0.3).content)
    with pytest.raises(EncoderError, match=r"not a readable encoder bundle|was changed after it was made"):
        read(tmp_path / "b")


def test_an_adapter_is_added_to_the_weights_in_float32(tiny_base):
    plain, changed = (
        load_model(tiny_base, 3, torch.device("cpu"), torch.float32, adapter) for adapter in (None, tiny_adapter())
    )
    before, after = dict(plain.named_parameters()), dict(changed.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"{MODULE}.weight", "encoder.layer.2.output.LayerNorm.bias"}


def test_layers_below_an_adapter_give_what_they_gave(tiny_bundle, adapted):
    texts = random_texts(10)
    plain = encoder.load(encoder.describe(str(tiny_bundle)), "cpu", "float32").features(texts)
    changed = encoder.load(adapted, "cpu", "float32").features(texts)
    assert np.array_equal(plain[:, :32], changed[:, :32])  # layer 2, whose output layer index 2 does not touch
    assert not np.array_equal(plain[:, 32:], changed[:, 32:])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"no.such.delta": np.zeros(2, np.float16)}, "changes no.such, which the base model does not have"),
        ({f"{MODULE}.bias.delta": np.zeros(2, np.float16)}, r"adds \(2,\) to .* which is \(32,\) in the base"),
    ],
)
def test_an_adapter_of_another_model_is_refused(tiny_base, tensors, message):
    model = load_model(tiny_base, 3, torch.device("cpu"), torch.float32)
    with pytest.raises(EncoderError, match=message):
        merge(dict(model.named_parameters()), Adapter(tensors))


def test_an_encoder_of_the_embeddings_alone_encodes(tiny_base):
    from encoder.make import make_bundle
    from encoder.settings import BundleSettings

    bundle = make_bundle(BundleSettings("x", str(tiny_base), layers=(0,)), random_texts(80), device="cpu")
    assert encoder.load(bundle, "cpu").encode(["good film"]).bits.shape == (1, 4)
