"""Compare `annotate` with the encoder alone on the same blocks, to measure the cost of the pipeline."""

from __future__ import annotations

import contextlib
import io
import shutil
import statistics

import encoder
from benchmarks import corpus
from benchmarks.harness import Contender, Report, Table, in_thread, interleave
from benchmarks.settings import Settings
from pipelines import annotate as program
from transforms import encode as encoding

BLOCK_ROWS = 1024
ANNOTATE = "annotate"
ALONE = "encoder alone"


def run(settings: Settings) -> Report:
    texts = corpus.sample(settings.corpus, settings.overhead_documents)
    folder = corpus.write_jsonl(texts, settings.work / "overhead-corpus")
    store = settings.work / "overhead-store"
    blocks = [texts[start : start + BLOCK_ROWS] for start in range(0, len(texts), BLOCK_ROWS)]
    model = in_thread(lambda: encoder.load("default"))
    summaries = []

    def annotate() -> None:
        shutil.rmtree(store, ignore_errors=True)
        options = ["--input", str(folder), "--store", str(store), "--id_field", "id"]
        with contextlib.redirect_stdout(io.StringIO()):
            summaries.append(program.run([*options, "--block_rows", str(BLOCK_ROWS), "--no_progress"]))

    def alone() -> None:
        for block in blocks:
            model.encode(block)

    original = encoding.load_stored_encoder
    encoding.load_stored_encoder = lambda *_: model  # `startup` measures loading
    try:
        whole = Contender(ANNOTATE, annotate, annotate, f"eight heads, blocks of {BLOCK_ROWS}")
        timing = interleave([whole, Contender(ALONE, alone, lambda: model.encode(texts[:64]))], settings.rounds)
    finally:
        encoding.load_stored_encoder = original
        shutil.rmtree(store, ignore_errors=True)
    if ANNOTATE in timing.absent or summaries[-1].documents != len(texts):
        raise RuntimeError(
            f"annotate failed or did not encode {len(texts)} documents: {timing.absent or summaries[-1]}"
        )
    # The seconds of the graph alone, without imports, planning and the report.
    graph = [summary.seconds for summary in summaries[1:]]
    ratios = [a / b for a, b in zip(timing.seconds[ALONE], graph)]
    figures = {
        "documents": len(texts),
        "annotate_rate_of_encoder_alone": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "documents_per_second_alone": round(timing.per_second(ALONE, len(texts)), 1),
        "encoder_share_of_annotate": round(statistics.median(s.encode_seconds / s.seconds for s in summaries[1:]), 4),
    }
    title = f"annotate compared with encoder.encode, {len(texts)} documents, call to return"
    tables = [timing.table(title, ANNOTATE, len(texts)), Table.of("Seconds of the graph alone", figures)]
    return Report("overhead", tables, figures)
