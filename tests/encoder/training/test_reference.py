from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel

from encoder.forward.model import layers_make_hidden_states, load_model
from encoder.training.reference import SharedLayers, WholeModel
from encoder.training.trainable_encoder import hidden_states
from encoder.training.trained_layers import trained_layers, unfreeze_layers

CPU = torch.device("cpu")
IDS = torch.tensor([[4, 5, 6, 7, 8], [9, 10, 11, 1, 1]])
MASK = torch.tensor([[True] * 5, [True, True, True, False, False]])
SIZES = {"vocab_size": 20, "max_position_embeddings": 20, "hidden_size": 16, "num_attention_heads": 2}
FAMILIES = {
    "bert": SIZES | {"intermediate_size": 32, "num_hidden_layers": 4},
    "camembert": SIZES | {"intermediate_size": 32, "num_hidden_layers": 4},
    "distilbert": {"vocab_size": 20, "dim": 16, "n_heads": 2, "hidden_dim": 32, "n_layers": 4},
    "electra": SIZES | {"intermediate_size": 32, "num_hidden_layers": 4, "embedding_size": 8},
    "mpnet": SIZES | {"intermediate_size": 32, "num_hidden_layers": 4},
    "roberta": SIZES | {"intermediate_size": 32, "num_hidden_layers": 4},
    "xlm-roberta": SIZES | {"intermediate_size": 32, "num_hidden_layers": 4},
}


@pytest.fixture
def make_model(tmp_path):
    def make(family: str):
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(family, **FAMILIES[family])).eval().save_pretrained(tmp_path)
        return load_model(tmp_path, 4, CPU, torch.float32)

    return make


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_shared_lower_layers_give_what_a_separate_run_gives(make_model, family, count):
    trained, base = make_model(family), make_model(family)
    assert layers_make_hidden_states(trained)
    layers = trained_layers(trained, count, (4,))
    shared, whole = SharedLayers(layers), WholeModel(base)
    learned = unfreeze_layers(layers)
    with torch.no_grad():
        for parameter in learned.values():
            parameter += 0.1
        for half in (False, True):  # twice: what the first batch left behind does not matter
            ids, mask = (IDS[:1], MASK[:1]) if half else (IDS, MASK)
            hidden = hidden_states(trained, ids, mask, half=False)
            found, expected = shared(hidden, ids, mask), whole(hidden, ids, mask)
            assert len(found) == len(expected) == 5
            for ours, theirs in zip(found, expected):
                torch.testing.assert_close(ours[mask], theirs[mask])
            assert not torch.allclose(hidden[-1][mask], found[-1][mask])


def test_the_copies_do_not_learn(make_model):
    trained = make_model("bert")
    layers = trained_layers(trained, 2, (4,))
    shared = SharedLayers(layers)
    unfreeze_layers(layers)
    hidden = hidden_states(trained, IDS, MASK, half=False)
    assert hidden[-1].requires_grad
    assert not hidden[2].requires_grad  # nothing is kept of the layers below, nor computed backward
    with torch.no_grad():
        assert not any(state.requires_grad for state in shared(hidden, IDS, MASK))
