from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel

from encoder import EncoderError, Pooling
from encoder.forward.model import load_model, merge
from encoder.settings import BundleSettings
from encoder.training.options import TrainOptions
from encoder.training.trainable_encoder import TrainableEncoder, hidden_states
from encoder.training.trained_layers import learned_adapter, trained_layers, unfreeze_layers
from tests.encoder.labelled import TASKS

CPU = torch.device("cpu")
IDS = torch.arange(4, 16).reshape(2, 6)
MASK = torch.ones(2, 6, dtype=torch.bool)


def opened(tiny_base, **options):
    options = TrainOptions(**options)
    model = load_model(tiny_base, 3, CPU, torch.float32)
    return model, unfreeze_layers(trained_layers(model, options.train_layers, (1, 2, 3)))


def features(model) -> torch.Tensor:
    with torch.no_grad():
        return Pooling((1, 2, 3))(hidden_states(model, IDS, MASK, half=False), MASK)


def move(parameters) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += 0.05 * torch.randn_like(parameter)


def test_opening_changes_nothing_yet(tiny_base):
    model, parameters = opened(tiny_base)
    assert torch.equal(features(model), features(load_model(tiny_base, 3, CPU, torch.float32)))
    assert parameters
    assert {id(p) for p in model.parameters() if p.requires_grad} == set(map(id, parameters.values()))


@pytest.mark.parametrize("count", [1, 2, None])
def test_only_the_highest_layers_move(tiny_base, count):
    model, parameters = opened(tiny_base, train_layers=count)
    first = 3 - (count or 3)
    assert {int(name.split(".")[2]) for name in parameters} == set(range(first, 3))
    move(parameters)
    before = features(load_model(tiny_base, 3, CPU, torch.float32))
    after = features(model)
    below = 32 * first
    assert torch.equal(before[:, :below], after[:, :below])
    assert not torch.isclose(before[:, below:], after[:, below:]).all()


def test_the_adapter_taken_out_gives_the_trained_model(tiny_base):
    model, parameters = opened(tiny_base)
    move(parameters)
    plain = load_model(tiny_base, 3, CPU, torch.float32)
    found = learned_adapter(parameters, plain, 128)
    merge(dict(plain.named_parameters()), found)
    torch.testing.assert_close(features(plain), features(model), atol=5e-3, rtol=5e-3)


def test_differences_are_cut_to_a_rank(tiny_base):
    _, parameters = opened(tiny_base)
    move(parameters)
    base = load_model(tiny_base, 3, CPU, torch.float32)
    whole, cut = (learned_adapter(parameters, base, rank) for rank in (128, 2))
    assert len(cut.content) < len(whole.content) / 3
    assert {name for name, _ in cut.additions()} == {name for name, _ in whole.additions()}


@pytest.mark.parametrize(("count", "moving"), [(None, [1, 2]), (1, [2]), (3, [0, 1, 2])])
def test_layers_above_the_pooling_never_move(tmp_path, count, moving):
    """In most families they stay, as a norm follows the last layer."""
    config = ModernBertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=6, num_attention_heads=4, intermediate_size=32, pad_token_id=0
    )
    ModernBertModel(config).save_pretrained(tmp_path)
    model = load_model(tmp_path, 3, CPU, torch.float32)
    found = trained_layers(model, count, (2, 3))
    assert [int(path.rsplit(".")[-1]) for path in found] == moving
    with pytest.raises(EncoderError, match="train_layers is 4 but there are 3 layers up to the highest one pooled"):
        trained_layers(model, 4, (2, 3))


def test_more_layers_than_there_are_is_refused(tiny_base):
    with pytest.raises(EncoderError, match="train_layers is 4 but there are 3 layers"):
        opened(tiny_base, train_layers=4)


def test_weights_that_grew_beyond_float16_are_refused(tiny_base):
    _, parameters = opened(tiny_base)
    with torch.no_grad():
        next(iter(parameters.values())).fill_(1e6)
    with pytest.raises(EncoderError, match="grew beyond float16; take a smaller learning rate"):
        learned_adapter(parameters, load_model(tiny_base, 3, CPU, torch.float32), 128)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_dropout_that_a_family_keeps_as_a_number_is_what_is_asked_for(tmp_path, tiny_base, rate):
    config = ModernBertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=32, pad_token_id=0,
        attention_dropout=0.1,
    )  # fmt: skip
    ModernBertModel(config).save_pretrained(tmp_path / "base")
    shutil.copy(tiny_base / "tokenizer.json", tmp_path / "base")
    bundle = BundleSettings("x", str(tmp_path / "base"), layers=(2, 3), max_tokens=32).without_thresholds()
    features = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    model = TrainableEncoder(bundle, [TASKS[0]], TrainOptions(dropout=rate), features, None, CPU, False)
    kept = [
        m.attention_dropout
        for n, m in model.transformer.named_modules()
        if hasattr(m, "attention_dropout") and "layers." in n
    ]
    assert kept[1:] == [rate, rate]  # the lowest layer does not move
