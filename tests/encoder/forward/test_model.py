from __future__ import annotations

import os
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from encoder import EncoderError
from encoder.forward.model import choose_device, choose_precision, load_model
from encoder.make import make_bundle
from encoder.settings import BundleSettings
from tests.conftest import random_texts


def test_layers_above_the_pooled_ones_are_not_computed(tiny_base):
    full = load_model(tiny_base, 3, torch.device("cpu"), torch.float32)
    cut = load_model(tiny_base, 1, torch.device("cpu"), torch.float32)
    assert len(cut.encoder.layer) == 1
    ids = torch.tensor([[2, 5, 6, 3]])
    mask = torch.ones_like(ids)
    a = full(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1]
    b = cut(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1]
    assert torch.equal(a, b)


def test_a_file_that_lacks_weights_is_refused_not_filled_with_random_numbers(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    weights = load_file(tiny_base / "model.safetensors")
    cpu = torch.device("cpu")

    def load(layers: int, kept: dict) -> torch.nn.Module:
        save_file(kept, tmp_path / "base" / "model.safetensors", {"format": "pt"})
        return load_model(tmp_path / "base", layers, cpu, torch.float32)

    with pytest.raises(
        EncoderError, match=r"lacks \d+ of the weights of a 'bert' model, embeddings\.LayerNorm\.bias first"
    ):
        load(1, {f"wrapped.{name}": part for name, part in weights.items()})
    one = "encoder.layer.2.output.dense.weight"
    without = {name: part for name, part in weights.items() if name != one}
    with pytest.raises(EncoderError, match=f"lacks 1 of the weights of a 'bert' model, {one} first"):
        load(3, without)
    load(2, without)  # that layer is not read
    load(3, {name: part for name, part in weights.items() if not name.startswith("pooler")})


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu", "choose from auto, cpu, cuda, cuda:N, mps"), ("cuda:99", "CUDA devices found"), ("xla", "unknown device")],
)
def test_a_device_that_is_not_there_is_refused(device, message):
    with pytest.raises(EncoderError, match=message):
        choose_device(device)


def test_a_gpu_is_set_up_for_repeatable_sums_before_its_first_product(monkeypatch):
    """torch reads the setting once a process: a training after an encoding would find it too late."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    choose_device("cpu")
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    choose_device("cuda:0")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    choose_device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_file_of_a_base_is_named(tiny_base, tmp_path, name):
    shutil.copytree(tiny_base, tmp_path / "base")
    path = tmp_path / "base" / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(EncoderError, match=f"{re.escape(str(path))} cannot be read: "):
        make_bundle(BundleSettings("mine", str(tmp_path / "base"), max_tokens=32), random_texts(80))


def test_damaged_weights_of_another_family_are_named(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"half of it")
    with pytest.raises(EncoderError, match=r"weights in .*base cannot be read"):
        load_model(tmp_path / "base", 3, torch.device("cpu"), torch.float32)


def test_auto_takes_bfloat16_only_where_the_processor_has_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": True})
    assert choose_precision("auto", cpu) is torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "cpu_name": "bf16"})
    assert choose_precision("auto", cpu) is torch.float32
    assert choose_precision("bfloat16", cpu) is torch.bfloat16
    with pytest.raises(EncoderError, match="choose from auto, float32, bfloat16"):
        choose_precision("int8", cpu)


def test_a_layer_the_model_has_not_is_refused(tiny_base):
    with pytest.raises(EncoderError, match="layer 7 is asked for"):
        load_model(tiny_base, 7, torch.device("cpu"), torch.float32)


def test_an_encoder_decoder_is_refused(tmp_path, tiny_base):
    import transformers

    config = transformers.T5Config(vocab_size=200, d_model=32, num_layers=1, num_heads=2, d_ff=32, d_kv=16)
    transformers.T5Model(config).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="encoder-decoder"):
        load_model(tmp_path, 1, torch.device("cpu"), torch.float32)
