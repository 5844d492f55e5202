"""Make an encoder bundle: the program of `encode-once make-encoder`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from encoder import Bundle
from encoder.bundle import ENCODER_FOLDER
from pipelines.command_line.cli import main_of
from pipelines.command_line.logs import write_message
from pipelines.models.labelled import sample_texts
from pipelines.models.options import parse_make_encoder


def run(argv: Sequence[str]) -> Bundle:
    """Make a bundle, write its folder, and return it."""
    options = parse_make_encoder(argv)
    ENCODER_FOLDER.check_free(Path(options.output), options.overwrite)
    texts = sample_texts(options.calibrate, options.text_field, options.calibrate_rows, options.seed)
    from encoder.make import make_bundle  # loads torch: only after the files were read

    line = f"encoding {len(texts):,} texts for the thresholds"
    write_message(line, line, logging.INFO)
    bundle = make_bundle(options.bundle, texts, device=options.device, source=options.source, seed=options.seed)
    bundle.save(options.output)
    print(
        f"encoder {bundle.name} ({bundle.fingerprint[:12]}): {bundle.bits} bits from layers "
        f"{', '.join(map(str, bundle.pooling.layers))} of {bundle.base_id}, thresholds fitted on {len(texts)} texts\n"
        f"written to {options.output}"
    )
    return bundle


if __name__ == "__main__":
    sys.exit(main_of(run))
