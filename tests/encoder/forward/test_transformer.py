from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from encoder.adapter import Adapter
from encoder.encode import Encoder
from encoder.forward import transformer
from encoder.forward.model import load_model
from encoder.forward.packed import PackedRunner, Packing, attention
from encoder.forward.transformer import count_positions, fuses, load
from tests.encoder.alone import FAMILY_TEXTS, hidden_states, random_bundle

CPU = torch.device("cpu")
LENGTHS = [5, 1, 3, 3, 2]


def test_positions_are_counted_in_each_text():
    ids = np.arange(100, 114)
    assert count_positions(ids, np.array(LENGTHS), None).tolist() == [0, 1, 2, 3, 4, 0, 0, 1, 2, 0, 1, 2, 0, 1]


def test_positions_of_robertas_family_are_transformers_own():
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    ids = np.random.default_rng(0).integers(0, 4, 14)  # the padding id, 1, is among them
    assert (ids == 1).any()
    expected = [
        RobertaEmbeddings.create_position_ids_from_input_ids(part[None], 1)[0]
        for part in torch.from_numpy(ids).split(LENGTHS)
    ]
    assert count_positions(ids, np.array(LENGTHS), 1).tolist() == torch.cat(expected).tolist()


PACKED = ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"]


@pytest.mark.parametrize("family", [*PACKED, "mpnet", "gpt2", "llama"])
def test_every_family_of_models_gives_what_transformers_gives(family, tmp_path, tiny_base):
    """Masks, position ids and, where texts are packed, attention are right: each text as if it were alone."""
    position = "last" if family in ("gpt2", "llama") else "mean"
    bundle = random_bundle(tmp_path, family, tiny_base, (position,))
    model = Encoder(bundle, device="cpu", precision="float32")
    assert isinstance(model.runner, PackedRunner) == (family in PACKED)
    together = model.features(FAMILY_TEXTS)
    ids = [model._tokenizer([text]).ids.tolist() for text in FAMILY_TEXTS]
    for features, states in zip(together, hidden_states(tmp_path, ids)):
        vectors = [states[k].mean(0) if position == "mean" else states[k][-1] for k in (1, 2)]
        np.testing.assert_allclose(features, torch.cat(vectors).numpy(), atol=2e-5)


def config_of(folder, **changes) -> dict:
    return json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes


def run(model: transformer.Transformer, ids: np.ndarray, lengths: list[int]) -> tuple[torch.Tensor, ...]:
    positions = torch.from_numpy(count_positions(ids, np.array(lengths), model.padding))
    with torch.inference_mode():
        return tuple(model(torch.from_numpy(ids), positions, attention(Packing.of(np.array(lengths)))))


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(4, 60, sum(LENGTHS))


@pytest.mark.parametrize("top", [0, 1, 3])
def test_hidden_states_are_those_of_transformers_as_far_up_as_asked(tiny_base, ids, top):
    ours = run(transformer.load(tiny_base, config_of(tiny_base), top, CPU, torch.float32), ids, LENGTHS)
    assert len(ours) == top + 1
    alone = list(hidden_states(tiny_base, [part.tolist() for part in torch.from_numpy(ids).split(LENGTHS)]))
    for number, found in enumerate(ours):
        torch.testing.assert_close(found, torch.cat([states[number] for states in alone]), atol=2e-6, rtol=1e-5)


def test_an_adapter_is_merged_as_into_transformers_model(tiny_base, ids):
    rng = np.random.default_rng(1)
    parts = {
        "encoder.layer.1.attention.self.value.down": rng.standard_normal((2, 32)),
        "encoder.layer.1.attention.self.value.up": rng.standard_normal((32, 2)),
        "encoder.layer.0.output.dense.bias.delta": rng.standard_normal(32),
    }
    adapter = Adapter({name: part.astype(np.float16) for name, part in parts.items()})
    model = transformer.load(tiny_base, config_of(tiny_base), 3, CPU, torch.float32, adapter)
    theirs = load_model(tiny_base, 3, CPU, torch.float32, adapter)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(ids)[None], output_hidden_states=True).hidden_states
    for found, wanted in zip(run(model, ids, [len(ids)]), expected):
        torch.testing.assert_close(found, wanted[0], atol=1e-5, rtol=1e-5)
    plain = transformer.load(tiny_base, config_of(tiny_base), 3, CPU, torch.float32)
    assert not torch.allclose(run(plain, ids, [len(ids)])[3], expected[3][0], atol=0.1)


def test_weights_below_something_on_top_are_found(tiny_base, tmp_path, ids):
    weights = load_file(tiny_base / "model.safetensors")
    save_file({f"bert.{name}": part for name, part in weights.items()}, tmp_path / "model.safetensors")
    model = transformer.load(tmp_path, config_of(tiny_base), 2, CPU, torch.float32)
    plain = transformer.load(tiny_base, config_of(tiny_base), 2, CPU, torch.float32)
    assert torch.equal(run(model, ids, LENGTHS)[2], run(plain, ids, LENGTHS)[2])


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"is_decoder": True},
        {"hidden_act": "mish"},
        {"position_embedding_type": "relative_key"},
        {"embedding_size": 16},
        {"layer_norm_eps": None},
        {"model_type": "roberta", "pad_token_id": None},
    ],
)
def test_what_it_does_not_know_is_left_to_transformers(tiny_base, change):
    assert transformer.load(tiny_base, config_of(tiny_base), 2, CPU, torch.float32) is not None
    assert transformer.load(tiny_base, config_of(tiny_base, **change), 2, CPU, torch.float32) is None


def test_files_that_name_weights_otherwise_are_left_to_transformers(tiny_base, tmp_path):
    weights = load_file(tiny_base / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): part for name, part in weights.items()}
    save_file(old, tmp_path / "model.safetensors")
    assert transformer.load(tmp_path, config_of(tiny_base), 2, CPU, torch.float32) is None
    # Also where an adapter changes what the file names otherwise: transformers finds it.
    delta = Adapter({"encoder.layer.0.output.LayerNorm.weight.delta": np.ones(32, np.float16)})
    assert transformer.load(tmp_path, config_of(tiny_base), 2, CPU, torch.float32, delta) is None
    types = "embeddings.token_type_embeddings.weight"
    save_file({name: part for name, part in weights.items() if name != types}, tmp_path / "model.safetensors")
    assert transformer.load(tmp_path, config_of(tiny_base), 2, CPU, torch.float32) is None
    assert transformer.load(tiny_base, config_of(tiny_base), 4, CPU, torch.float32) is None  # it has three layers
    assert transformer.load(tmp_path / "nowhere", config_of(tiny_base), 2, CPU, torch.float32) is None


def test_the_bundled_encoder_runs_without_transformers(tmp_path):
    program = (
        "import encoder, sys; encoder.load('default', 'cpu').encode(['good']); assert 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("approximation", ["gelu", "gelu_new"])
def test_fused_products_round_as_bfloat16_does_and_no_text_depends_on_its_batch(approximation, tiny_base):
    if not fuses(CPU, torch.bfloat16):
        pytest.skip("this processor has no bfloat16 instructions")
    config = json.loads((tiny_base / "config.json").read_text()) | {"hidden_act": approximation}
    exact, fused = (load(tiny_base, config, 2, CPU, dtype) for dtype in (torch.float32, torch.bfloat16))
    hidden = torch.randn(700, exact._word_embeddings.shape[1], generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.inference_mode():
        for gelu in (False, True):
            ours = fused._linear(hidden, fused._layers[0]["intermediate"], gelu)
            theirs = exact._linear(hidden.float(), exact._layers[0]["intermediate"], gelu)
            torch.testing.assert_close(ours.float(), theirs, rtol=0.02, atol=0.02)
            for part in (slice(0, 1), slice(3, 40), slice(100, 612)):
                assert torch.equal(fused._linear(hidden[part], fused._layers[0]["intermediate"], gelu), ours[part])
