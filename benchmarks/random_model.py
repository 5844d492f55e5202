"""Make models with random weights, their tokenizers, and texts with a given distribution of lengths.

Speed depends on nothing else. Needs no network and no data: words are drawn letter by letter.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS_LENGTHS = Path(__file__).with_name("token_lengths.json")
WORDS = 60_000  # enough that rare words take several tokens, as in real text
TRAINING_WORDS = 400_000
# Standard deviation of the weights. With the usual 0.02, attention hardly affects the output: a wrong kernel flips 1.7 % of
# the bits, and rounding 0.1 %. With 0.1 these are 14 % and 0.6 %.
WEIGHT_DEVIATION = 0.1
SPECIAL = {"bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), "roberta": ("<s>", "<pad>", "</s>", "<unk>")}


@dataclasses.dataclass(frozen=True)
class Shape:
    """The size of a model, and its family."""

    family: str
    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int

    def tiny(self) -> Shape:
        """Return a tiny shape of the same family, to check that everything runs."""
        return Shape(self.family, 2, 32, 4, 64, 600)


SHAPES = {
    "minilm-l6": Shape("bert", 6, 384, 12, 1536, 30522),
    "roberta-large": Shape("roberta", 24, 1024, 16, 4096, 50265),
}


def make_words(count: int, rng: np.random.Generator) -> list[str]:
    """Return `count` distinct words of random letters, the shortest first."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = 1 / np.arange(3, 29)
    words: dict[str, None] = {}
    while len(words) < count:
        lengths = 2 + rng.poisson(4, count)
        drawn = rng.choice(letters, lengths.sum(), p=weights / weights.sum())
        words |= dict.fromkeys(map("".join, np.split(drawn, np.cumsum(lengths)[:-1])))
    return sorted(list(words)[:count], key=len)


def draw(words: list[str], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw indices of words by Zipf's law, in which the first words are the most frequent: (count,) int64."""
    frequency = np.cumsum(1 / np.arange(1, len(words) + 1))
    return np.searchsorted(frequency, rng.random(count) * frequency[-1])


def train_tokenizer(shape: Shape, words: list[str], rng: np.random.Generator) -> tokenizers.Tokenizer:
    """Train a tokenizer of the kind that the model's family uses: WordPiece, or byte-level BPE."""
    special = list(SPECIAL[shape.family])
    if shape.family == "bert":
        tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: type[trainers.Trainer] = trainers.WordPieceTrainer
        around = "[CLS] $A [SEP]"
    else:
        tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer
        around = "<s> $A </s>"
    drawn = draw(words, max(TRAINING_WORDS, len(words)), rng)
    lines = (" ".join(words[i] for i in part) for part in np.array_split(drawn, len(drawn) // 100))
    options = {"vocab_size": shape.vocabulary, "special_tokens": special, "show_progress": False}
    tokenizer.train_from_iterator(lines, trainer(**options))
    ends = [(token, tokenizer.token_to_id(token)) for token in around.split() if token != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=ends)
    return tokenizer


def make_texts(tokenizer: tokenizers.Tokenizer, words: list[str], token_counts: np.ndarray, seed: int) -> list[str]:
    """Return a text of about as many tokens for each of `token_counts` (n,).

    The counts include the two special tokens. Every text has at least one word.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array([len(encoding.ids) - 2 for encoding in tokenizer.encode_batch_fast(words)])
    needed = np.cumsum(np.maximum(token_counts - 2, 1))
    drawn = draw(words, int(needed[-1]), rng)  # enough, because a word has at least one token
    numbers = np.arange(len(needed))
    borders = np.searchsorted(np.cumsum(sizes[drawn]), needed) + 1
    borders = np.maximum.accumulate(borders - numbers) + numbers  # every text gets at least one word
    return [" ".join(words[i] for i in drawn[a:b]) for a, b in zip([0, *borders[:-1]], borders)]


def draw_lengths(count: int, file: Path, seed: int) -> np.ndarray:
    """Draw token counts (count,) int64 from the distribution in `file`: its "texts" is the number of texts by token count."""
    texts = np.asarray(json.loads(file.read_text(encoding="utf-8"))["texts"], np.float64)
    return np.random.default_rng(seed).choice(len(texts), count, p=texts / texts.sum())


def save(shape: Shape, tokenizer: tokenizers.Tokenizer, folder: Path, max_tokens: int) -> Path:
    """Write a model with random weights and its tokenizer as a Hugging Face folder; return the folder."""
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    padding = next(token for token in SPECIAL[shape.family] if "pad" in token.lower())
    config = AutoConfig.for_model(
        shape.family,
        vocab_size=max(shape.vocabulary, tokenizer.get_vocab_size()),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=max_tokens + 2,  # RoBERTa counts from 2
        pad_token_id=tokenizer.token_to_id(padding),
        initializer_range=WEIGHT_DEVIATION,
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=padding, model_max_length=max_tokens).save_pretrained(
        folder
    )
    return folder
