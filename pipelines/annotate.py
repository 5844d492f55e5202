"""Annotate a corpus: encode every new document once, label it with every head.

    encode-once annotate --input 'corpus/*.jsonl.gz' --store my-store --text_field body --id_field id
    encode-once annotate --input 'gs://bucket/corpus/*.parquet' --store gs://bucket/store --runner DataflowRunner …

Exit codes: 0 done; 2 the call cannot be carried out; 3 some units failed (everything else is done); 4 more rows were
rejected than --max_reject_share.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.beam_options import (
    beam_pipeline_options,
    check_options,
    check_pipeline_options,
    check_runner,
    create_pipeline,
    is_local,
    prepare_files,
)
from pipelines.cli import main_of
from pipelines.interruption import run_and_wait
from pipelines.options import AnnotateOptions, annotate_parser, parse_annotate
from transforms.machine import usable_cores

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from encoder import Bundle
    from heads import Head
    from pipelines.report import Summary
    from transforms.plan import Plan
    from transforms.store import Store


_log = logging.getLogger(__name__)


def run(argv: Sequence[str]) -> Summary:
    """Run annotate and return its summary; `summary.exit_code` is what the shell gets."""
    return _run(argv, "annotate")


def run_encode(argv: Sequence[str]) -> Summary:
    """Run encode: annotate without heads."""
    return _run(argv, "encode")


def run_label(argv: Sequence[str]) -> Summary:
    """Run label: every head over the codes in the store, without looking at any shard."""
    return _run(argv, "label")


def _run(argv: Sequence[str], command: str) -> Summary:
    options = parse_annotate(argv, command)  # answers --help before anything heavy is imported
    from pipelines import prepare, report
    from pipelines.runs import Run

    check_options(options.beam_args, annotate_parser(command))  # a mistyped option is said before anything is done
    check_runner(options.beam_args)
    prepare_files([options.store, *options.input, options.input_root or ""], options.beam_args)
    bundle, store, plan, heads = prepare.prepare(options, command)
    if options.dry_run:
        report.print_plan(plan, bundle, heads)
        return report.Summary(plan=plan.counts)
    if not plan.to_encode and not plan.to_label and not plan.unreadable:
        summary = report.Summary(plan=plan.counts)
        print(report.describe_done(plan, heads))
        return summary
    beam_options = beam_pipeline_options(options.beam_args)
    check_pipeline_options(beam_options)
    local = is_local(beam_options)
    if local and plan.to_encode:
        check_encoding(bundle, options)
    elif not local and plan.to_encode and os.path.isdir(bundle.base_id):
        _log.warning("workers must find the base model where it is found here, at %s", bundle.base_id)
    elif local:
        _spread_over_cores(beam_options, options)
    with Run(store, command, argv) as record:
        store = record.store
        record.note(plan=plan.counts, encoder=bundle.fingerprint, heads={h.task: h.fingerprint for h in heads})
        prepare.keep_models(store, bundle, heads)
        store.write_file(f"runs/{store.run_id}/plan.jsonl", plan.to_lines())
        for key, path, reason in plan.unreadable:
            store.record_failure({"shard": key, "unit": 0, "path": path, "step": "plan", "reason": reason})
        counters = _execute(options, beam_options, bundle, store, plan, heads)
        failures = prepare.still_failed(store, bundle, heads)
        summary = report.summarize(counters, plan, heads, failures, options.max_reject_share)
        record.note(summary=summary.to_dict())
    print(report.format_summary(summary, store))
    return summary


def _execute(
    options: AnnotateOptions,
    beam_options: PipelineOptions,
    bundle: Bundle,
    store: Store,
    plan: Plan,
    heads: list[Head],
) -> dict[str, int]:
    """Build the graph, run it, and return its counters, with the pipeline's `milliseconds` among them."""
    from pipelines.progress import Progress

    started = time.monotonic()
    fingerprints = {head.task: head.fingerprint for head in heads}
    with Progress(store, bundle.fingerprint, fingerprints, plan, options.progress):
        pipeline = create_pipeline(beam_options)
        build(pipeline, options, bundle, store, plan, heads, worker_threads(options, beam_options))
        result = run_and_wait(pipeline, is_local(beam_options))
    found = result.metrics().query()["counters"]
    counters: collections.Counter[str] = collections.Counter()
    for counter in found:
        if counter.key.metric.namespace == "encode_once":  # the same counter is on both branches
            # A portable runner gives None for a counter that was made and never raised.
            counters[counter.key.metric.name] += counter.result or 0
    return counters | {"milliseconds": round((time.monotonic() - started) * 1000)}


def check_encoding(bundle: Bundle, options: AnnotateOptions) -> None:
    """Check here what a local worker would stumble over: the base model, the device, the precision.

    Raises:
        EncoderError: one of them cannot be had.
    """
    bundle.find_base()
    if options.encoding.device not in ("auto", "cpu"):  # looking for another one imports torch
        from encoder.forward.model import choose_device

        choose_device(options.encoding.device)


def build(
    pipeline: beam.Pipeline,
    options: AnnotateOptions,
    bundle: Bundle,
    store: Store,
    plan: Plan,
    heads: list[Head],
    threads: int | None,
) -> None:
    """Build the graph: units with codes are labelled from them; the others are read, encoded, written and labelled.

    The two branches are never flattened, and nothing but units is shuffled: blocks stream through one fused stage, so
    memory does not grow with the corpus. A branch without units is left out.
    """
    import transforms
    from transforms.machine import installed

    encoding = dataclasses.replace(options.encoding, threads=threads, base_id=bundle.base_id, version=installed())
    units = pipeline | "ReadPlan" >> transforms.ReadPlan(store.path("runs", store.run_id, "plan.jsonl"))
    if plan.to_encode:
        branch = transforms.EncodeAndLabel(store, options.reading, bundle.fingerprint, encoding, heads)
        if encoding.accelerator:
            branch = branch.with_resource_hints(accelerator=encoding.accelerator)
        units.uncoded | "EncodeAndLabel" >> branch
    if plan.to_label:
        stored = units.coded | "ReadCodes" >> transforms.ReadCodes(store, bundle.fingerprint)
        rows = store.rules.block_rows * sum(unit.coded_blocks for unit in plan.to_label)
        stored | "LabelStored" >> transforms.LabelAndWrite(store, heads, rows)


def _spread_over_cores(beam_options: PipelineOptions, options: AnnotateOptions) -> None:
    """Give a local run that only labels a worker thread a core, where nothing else is asked for.

    Encoding spreads each batch over the cores by itself; labelling a block is the work of one.
    """
    from apache_beam.options.pipeline_options import DirectOptions

    workers = options.encoding.threads or usable_cores()
    if workers > 1 and not any(arg.startswith("--direct_") for arg in options.beam_args):
        direct = beam_options.view_as(DirectOptions)
        direct.direct_num_workers = workers
        direct.direct_running_mode = "multi_threading"


def worker_threads(options: AnnotateOptions, beam_options: PipelineOptions) -> int | None:
    """Return the CPU threads of one worker: several local workers share the cores; elsewhere torch decides."""
    from apache_beam.options.pipeline_options import DirectOptions

    direct = beam_options.view_as(DirectOptions)
    if options.encoding.threads or direct.direct_num_workers == 1:
        return options.encoding.threads
    return max(1, usable_cores() // (direct.direct_num_workers or usable_cores()))


if __name__ == "__main__":
    sys.exit(main_of(run))
