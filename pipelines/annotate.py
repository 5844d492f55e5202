"""Annotate a corpus: encode every new document once, label it with every head.

    encode-once annotate --input 'corpus/*.jsonl.gz' --store my-store --text_field body --id_field id
    encode-once annotate --input 'gs://bucket/corpus/*.parquet' --store gs://bucket/store --runner DataflowRunner …

Exit codes: 0 done; 2 the command cannot be carried out; 3 some units failed (everything else is done); 4 more rows were
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
from typing import TYPE_CHECKING, Any

from pipelines.command_line.cli import RESUME_HINT, main_of
from pipelines.command_line.config import expand_config
from pipelines.command_line.options import AnnotateOptions, annotate_parser, parse_annotate
from pipelines.running.beam_options import (
    beam_pipeline_options,
    check_options,
    check_pipeline_options,
    check_runner,
    create_pipeline,
    is_local,
    prepare_files,
)
from pipelines.running.interruption import run_and_wait
from pipelines.running.notebooks import hidden_from_beam
from transforms.layout import codes_folder
from transforms.machine import usable_cores
from transforms.models import HeadName, set_current_heads, store_models
from transforms.plan import rows_to_label
from transforms.remove import remove_shards
from transforms.store import StoreError, check_unchanged

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from encoder import Bundle
    from pipelines.prepare import Job
    from pipelines.report import Summary

_log = logging.getLogger(__name__)


def run(argv: Sequence[str]) -> Summary:
    """Run annotate and return its summary; `summary.exit_code` is the exit code of the command."""
    return _run(argv, "annotate")


def run_encode(argv: Sequence[str]) -> Summary:
    """Run encode: annotate without heads."""
    return _run(argv, "encode")


def run_label(argv: Sequence[str]) -> Summary:
    """Run label: apply every head to the codes in the store, without reading any shard."""
    return _run(argv, "label")


def _run(argv: Sequence[str], command: str) -> Summary:
    argv = expand_config(argv, annotate_parser(command))  # the run's record shows these
    options = parse_annotate(argv, command)  # answers --help before anything heavy is imported
    from pipelines import prepare, report

    check_options(options.beam_args, annotate_parser(command))  # a mistyped option is reported before anything is done
    check_runner(options.beam_args)
    prepare_files([options.store, *options.input, options.input_root or ""], options.beam_args)
    job = prepare.prepare(options, command)
    if options.dry_run:
        report.print_plan(job.plan, job.bundle, job.heads)
        return report.Summary(plan=job.plan.counts, estimate=_estimate(job, options))
    beam_options = None
    if has_work := bool(job.plan.units or job.plan.unreadable):
        beam_options = beam_pipeline_options(options.beam_args)
        check_pipeline_options(beam_options)
        _check_workers(job, options, beam_options)
    check_unchanged(job.store, options.input_root)
    try:
        summary = _run_job(options, beam_options, job, command, argv)
    except OSError as error:  # of this program's own files; workers report theirs
        raise StoreError(f"the store cannot be written: {error.strerror or error}; {RESUME_HINT}") from error
    print(report.format_summary(summary, job.store) if has_work else report.describe_done(job.plan, job.heads, summary))
    return summary


def _estimate(job: Job, options: AnnotateOptions) -> dict[str, Any] | None:
    """Measure and print what a dry run would take; None if there is nothing to do, or nothing can be measured."""
    if not options.measure or not job.plan.units:
        return None
    from pipelines.estimate import NotMeasuredError, estimate, format_estimate

    try:
        found = estimate(job, options)
    except NotMeasuredError as error:
        print(f"time and size are not estimated: {error}")
        return None
    print(format_estimate(found))
    return found.to_dict()


def _run_job(
    options: AnnotateOptions, beam_options: PipelineOptions | None, job: Job, command: str, argv: Sequence[str]
) -> Summary:
    """Run a job and write its record into the store. Without `beam_options` there are no units to process."""
    from pipelines import prepare, report
    from pipelines.prune import prune
    from pipelines.runs import Run

    with Run(job.store, command, argv) as record:
        job.store = record.store
        heads = {head.task: head.fingerprint for head in job.heads}
        record.note(plan=job.plan.counts, encoder=job.bundle.fingerprint, heads=heads)
        job.known.write_new(job.store, job.plan.shards)
        store_models(job.store, job.bundle, job.heads)
        counters = _execute(options, beam_options, job) if beam_options is not None else {"milliseconds": 0}
        failures = prepare.still_failed(job)
        set_current_heads(job.store, job.heads)
        summary = report.summarize(counters, job.plan, job.heads, failures, options.max_reject_share)
        summary.recognised = len(job.recognised)
        summary.replaced_shards, summary.replaced_documents = remove_earlier_versions(job)
        record.note(summary=summary.to_dict())
        if options.prune:
            prune(job.store, options.input)
    return summary


def _check_workers(job: Job, options: AnnotateOptions, beam_options: PipelineOptions) -> None:
    """Check before a run begins what workers need, as far as this machine can tell."""
    local = is_local(beam_options)
    if local and job.plan.to_encode:
        check_encoding(job.bundle, options)
    elif not local and job.plan.to_encode and os.path.isdir(job.bundle.base_id):
        _log.warning("every worker needs the base model at the same path as here: %s", job.bundle.base_id)
    elif local:
        _spread_over_cores(beam_options, options)


def _execute(options: AnnotateOptions, beam_options: PipelineOptions, job: Job) -> dict[str, int]:
    """Build the graph, run it, and return its counters, with the pipeline's `milliseconds` among them."""
    from pipelines.progress import Progress

    started = time.monotonic()
    for key, path, reason in job.plan.unreadable:
        job.store.record_failure({"shard": key, "unit": 0, "path": path, "step": "plan", "reason": reason})
    if not job.plan.units:
        return {"milliseconds": 0}
    job.store.write_file(f"runs/{job.store.run_id}/plan.jsonl", job.plan.to_lines(job.store.run_id))
    progress = Progress(job.store, job.bundle.fingerprint, job.heads, job.plan, options.progress)
    with hidden_from_beam(), progress:
        pipeline = create_pipeline(beam_options)
        build(pipeline, options, job, worker_threads(options, beam_options))
        result = run_and_wait(pipeline, is_local(beam_options))
    counters: collections.Counter[str] = collections.Counter()
    for counter in result.metrics().query()["counters"]:
        if counter.key.metric.namespace == "encode_once":  # the same counter is on both branches
            # A portable runner gives None for a counter that was made and never raised.
            counters[counter.key.metric.name] += counter.result or 0
    return counters | {"milliseconds": round((time.monotonic() - started) * 1000)}


def remove_earlier_versions(job: Job) -> tuple[int, int]:
    """Remove shards whose later version is complete; return the numbers of shards and documents.

    Readers that see files only (DuckDB) would count both versions.
    """
    from pipelines import prepare

    if not job.plan.earlier:
        return 0, 0
    listings = [
        job.store.listing(codes_folder(job.bundle.fingerprint)),
        *prepare.label_listings(job.store, job.heads).values(),
    ]
    keys = [
        old
        for key, earlier in job.plan.earlier.items()
        if all(listing.is_complete_shard(key) for listing in listings)
        for old in earlier
        if old in listings[0].shards
    ]
    return len(keys), remove_shards(job.store, job.bundle.fingerprint, keys)


def check_encoding(bundle: Bundle, options: AnnotateOptions) -> None:
    """Check what a local worker needs: the base model, the device, the precision.

    Raises:
        EncoderError: one of them is not available.
    """
    bundle.find_base()
    if options.encoding.device not in ("auto", "cpu"):  # looking for another one imports torch
        from encoder.forward.model import choose_device

        choose_device(options.encoding.device)


def build(pipeline: beam.Pipeline, options: AnnotateOptions, job: Job, threads: int | None) -> None:
    """Build the graph: units without codes are read, encoded and committed; committed files of codes are labelled.

    The branches of new and of stored codes are never flattened, and only units are shuffled: a Flatten or a shuffle of text
    would hold the corpus in memory on some runners. A branch without units is left out.
    """
    import transforms
    from transforms.label import with_torch
    from transforms.machine import package_version

    store, plan, encoder = job.store, job.plan, job.bundle.fingerprint
    encoding = dataclasses.replace(
        options.encoding, threads=threads, base_id=job.bundle.base_id, version=package_version()
    )
    heads = [HeadName.of(head) for head in job.heads]
    units = pipeline | "ReadPlan" >> transforms.ReadPlan(store.path("runs", store.run_id, "plan.jsonl"))
    if plan.to_encode:
        encode = transforms.EncodeUnits(store, options.reading, encoder, encoding)
        if encoding.accelerator:
            encode = encode.with_resource_hints(accelerator=encoding.accelerator)
        encoded = units.uncoded | "EncodeUnits" >> encode
        if heads:
            encoded | "LabelNew" >> transforms.LabelAndWrite(store, encoder, heads)
    if plan.to_label:
        few = not with_torch(job.heads, rows_to_label(plan.to_label))
        units.coded | "LabelStored" >> transforms.LabelAndWrite(store, encoder, heads, with_torch=not few)


def _spread_over_cores(beam_options: PipelineOptions, options: AnnotateOptions) -> None:
    """Use one worker thread per core for a local run that only labels, unless options say otherwise.

    Encoding uses all cores for each batch; labelling a block uses one core.
    """
    from apache_beam.options.pipeline_options import DirectOptions

    workers = options.encoding.threads or usable_cores()
    if workers > 1 and not any(arg.startswith("--direct_") for arg in options.beam_args):
        direct = beam_options.view_as(DirectOptions)
        direct.direct_num_workers = workers
        direct.direct_running_mode = "multi_threading"


def worker_threads(options: AnnotateOptions, beam_options: PipelineOptions) -> int | None:
    """Return the number of CPU threads of one worker. Several local workers share the cores; None: torch decides."""
    from apache_beam.options.pipeline_options import DirectOptions

    direct = beam_options.view_as(DirectOptions)
    if options.encoding.threads or direct.direct_num_workers == 1:
        return options.encoding.threads
    return max(1, usable_cores() // (direct.direct_num_workers or usable_cores()))


if __name__ == "__main__":
    sys.exit(main_of(run))
