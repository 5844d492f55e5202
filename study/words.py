"""Texts of the results page that explain its tables."""

from __future__ import annotations

WORDS = (
    "All encoders are of one base model. *Frozen*: the base as it is. *Multi-task*: its upper layers trained on all tasks at "
    "once; these tasks are *seen*. A task is *unseen* by an encoder that was trained without it and its siblings. *Floats*: "
    "the pooled features; *bits*: one bit for each of them, or for each of a projection's. A linear head reads either. "
    "*Fine-tuned*: all weights trained for one task; *student*: three layers distilled from that model, again for one task. "
    "Figures are shares of test rows, in %, means over tasks."
)

KINDS = (
    "`movie_reviews_long` is film sentiment as well and goes with sst2; `tweet_sentiment`, opinions in another kind of text, "
    "stays in when they are out, and they when it is out. The frozen encoder's thresholds are means over training texts of all "
    "tasks, those of an encoder without a group over texts of the other tasks alone, which is a little harder."
)

CODES = (
    "**float32, fp16, int8**: the features themselves; int8 has 255 steps between the 0.1 and the 99.9 percentile of each "
    "dimension.",
    "**sign, mean threshold, median threshold**: a bit a dimension, cut at zero, at its mean, at its median.",
    "**rotation within layers**: a bit a dimension, cut after each layer was turned at random, as the encoder that ships.",
    "**two bits a dimension**: beside the bit at the mean, whether the value lies beyond the mean distance on that side.",
    "**random projection**: signs of random directions (random hyperplanes).",
    "**ITQ rotation**: the first axes of the PCA, rotated so that the signs lose least (Gong and Lazebnik, 2011).",
    "**PCA prefix, whitening**: signs of the first axes of the PCA; the same scaled to variance one and turned at random.",
    "**prefix of shuffled dimensions**: so many of the bits at the mean, drawn once.",
    "**learned projection**: trained with the encoder, the bits in view; its values before the cut as float32; and its "
    "first bits alone.",
)

RIVALS = (
    "**fine-tuned**: the base and a linear layer on the mean of its last layer, all weights trained for one task (AdamW, "
    "warm-up, linear decay); rate and epoch chosen on validation rows.",
    "**student**: three layers of the base, trained on labels and on the fine-tuned model's logits; layers, rate and epoch "
    "chosen on validation rows.",
    "**sentence embedding**: the frozen base's mean of the last layer, scaled to length one, and logistic regression, in "
    "float.",
    "**TF-IDF**: words and pairs of words, or groups of letters, of the whole text, which is not cut, and logistic "
    "regression; chosen on validation rows.",
    "**label names**: a zero-shot head on the frozen encoder's bits, as `zero-shot-head` makes it, with training texts but "
    "none of their labels; tasks with several labels a text, or whose labels are pictures, have none.",
    "**label names alone**: the same without a text.",
)
