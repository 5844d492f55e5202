"""Summarise a run: its plan and its results, for people and for programs."""

from __future__ import annotations

import dataclasses
from typing import Any

from encoder import Bundle
from heads import Head
from transforms.plan import Plan
from transforms.store import Store

_INCOMPLETE_HINT = "annotate or encode completes them, unless their shards have changed: see status"
EXIT_UNITS_FAILED = 3
EXIT_TOO_MANY_REJECTS = 4


@dataclasses.dataclass
class Summary:
    """Results of a run.

    Attributes:
        plan: shards and units by their state when the run began.
        documents: documents encoded in this run.
        tokens: tokens the model read for them.
        truncated: documents of which only a part was read.
        padding_share: share of padding among the tokens that the model processed.
        rejected: rows that could not be used, by reason.
        labelled: documents labelled, by task.
        label_shares: share of the documents labelled that got a label, by task and label.
        failures: units that failed, each with shard, unit, path, step and reason.
        seconds: wall time of the pipeline.
        encode_seconds: time in the encoder, summed over workers.
        recognised: shards that were recognised by their content, under another path or time.
        replaced_shards: shards whose earlier version was removed, because a later one is complete.
        replaced_documents: documents of those earlier versions.
        models_loaded: how often a worker loaded the encoder.
        exit_code: 0, 3 (units failed) or 4 (too many rejects).
        estimate: of a dry run: what the run would take (`pipelines.estimate.Estimate`).
    """

    plan: dict[str, int]
    documents: int = 0
    tokens: int = 0
    truncated: int = 0
    padding_share: float = 0.0
    rejected: dict[str, int] = dataclasses.field(default_factory=dict)
    labelled: dict[str, int] = dataclasses.field(default_factory=dict)
    label_shares: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    encode_seconds: float = 0.0
    reject_share: float = 0.0
    recognised: int = 0
    replaced_shards: int = 0
    replaced_documents: int = 0
    models_loaded: int = 0
    exit_code: int = 0
    estimate: dict[str, Any] | None = None

    @property
    def documents_per_second(self) -> float:
        done = self.documents or max(self.labelled.values(), default=0)
        return done / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"documents_per_second": round(self.documents_per_second, 1)}


def summarize(
    counters: dict[str, int], plan: Plan, heads: list[Head], failures: list[dict[str, Any]], max_reject_share: float
) -> Summary:
    """Make the summary of a run from its counters and failures."""
    documents, padded = counters.get("documents", 0), counters.get("padded_tokens", 0)
    rejected = _under(counters, "rejected/")
    # Rows that an earlier, killed run of the same units had read count too.
    rows = documents + sum(rejected.values()) + counters.get("resumed_rows", 0)
    all_rejected = sum(rejected.values()) + counters.get("resumed_rejected", 0)
    reject_share = all_rejected / rows if rows else 0.0
    counts = _under(counters, "labelled/")
    labelled = {head.task: counts[head.task] for head in heads if head.task in counts}
    shares = {}
    for head in heads:
        by_label = _under(counters, f"label/{head.task}/")
        if by_label and labelled.get(head.task):
            shares[head.task] = {label: by_label.get(label, 0) / labelled[head.task] for label in head.labels}
    too_many = reject_share > max_reject_share
    return Summary(
        plan=plan.counts,
        documents=documents,
        tokens=counters.get("tokens", 0),
        truncated=counters.get("truncated", 0),
        padding_share=1 - counters.get("tokens", 0) / padded if padded else 0.0,
        rejected=dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0]))),
        labelled=labelled,
        label_shares=shares,
        failures=failures,
        seconds=counters["milliseconds"] / 1000,
        encode_seconds=counters.get("encode_milliseconds", 0) / 1000,
        reject_share=reject_share,
        models_loaded=counters.get("models_loaded", 0),
        exit_code=EXIT_UNITS_FAILED if failures else EXIT_TOO_MANY_REJECTS if too_many else 0,
    )


def print_plan(plan: Plan, bundle: Bundle, heads: list[Head]) -> None:
    """Print the plan of a dry run."""
    counts = plan.counts
    print(f"encoder {bundle.name} ({bundle.fingerprint[:12]}, {bundle.bits} bits), {len(heads)} heads")
    if "shards_new" in counts:
        states = ", ".join(f"{counts[f'shards_{state}']} {state}" for state in ("new", "changed", "partial", "coded"))
        print(f"shards  {counts['shards']:>10,}  ({states}; {format_bytes(counts['source_bytes'])})")
    print(f"units   {counts['units']:>10,}")
    if "units_new" in counts:
        states = ", ".join(f"{counts[f'units_{state}']} of {state} shards" for state in ("new", "changed", "partial"))
        print(
            f"  to encode and label {counts['units_to_encode']:>8,}  ({states}; {format_bytes(counts['bytes_to_encode'])})"
        )
    if left_out := counts.get("units_left_out"):
        print(f"  left out by --sample {left_out:>7,}")
    if counts.get("units_incomplete"):
        print(f"  incomplete, left out {counts['units_incomplete']:>7,}  ({_INCOMPLETE_HINT})")
    print(f"  coded, labels missing {counts['units_to_label']:>6,}")
    print(f"  coded and labelled  {counts['units_done']:>8,}")
    for task in [head.task for head in heads]:
        missing = sum(task in unit.tasks for unit in plan.units)
        print(f"    {task:<20} {missing:>8,} units to label")
    for _, path, reason in plan.unreadable:
        print(f"unreadable: {path}: {reason}")


def describe_done(plan: Plan, heads: list[Head], summary: Summary) -> str:
    """Format the summary of a run that had nothing to encode or label."""
    return "\n".join([_nothing_to_do(plan, heads), *_versions(summary)])


def _versions(summary: Summary) -> list[str]:
    lines = []
    if summary.recognised:
        lines.append(f"recognised  {summary.recognised:>12,}  shards that were moved or touched; they keep their codes")
    if summary.replaced_shards:
        lines.append(
            f"replaced    {summary.replaced_shards:>12,}  shards that changed: the {summary.replaced_documents:,} documents "
            "of their earlier versions were removed"
        )
    return lines


def _nothing_to_do(plan: Plan, heads: list[Head]) -> str:
    counts = plan.counts
    labels = f" and the labels of {len(heads)} heads" if heads else ""
    done = f"all {counts['units']:,} units of {counts['shards']:,} shards have their codes{labels}"
    if left_out := counts.get("units_left_out"):
        done += f"; {left_out:,} units are left out by --sample"
    if left := counts.get("units_incomplete"):
        return f"nothing to do: {done}, but {left:,} more units are incomplete; {_INCOMPLETE_HINT}"
    return f"nothing to do: {done}"


def format_summary(summary: Summary, store: Store) -> str:
    """Format a run's summary for people."""
    lines = []
    if summary.documents or summary.rejected:
        padding = f", {summary.padding_share:.1%} padding" if summary.tokens else ""
        lines.append(f"documents   {summary.documents:>12,}  encoded ({summary.tokens:,} tokens{padding})")
        lines.append(f"truncated   {summary.truncated:>12,}")
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in summary.rejected.items())
        lines.append(f"rejected    {sum(summary.rejected.values()):>12,}" + (f"  ({reasons})" if reasons else ""))
    lines += _versions(summary)
    if left_out := summary.plan.get("units_left_out"):
        lines.append(f"left out    {left_out:>12,}  units, by --sample; the same command without it processes them")
    lines.append(f"time        {summary.seconds:>12,.1f}  s, {summary.documents_per_second:,.0f} documents/s")
    for task, count in summary.labelled.items():
        lines.append(f"{task:<24} {count:>10,} labelled  {_shares(summary.label_shares.get(task, {}))}")
    for failure in summary.failures[:10]:
        lines.append(f"FAILED at {failure['step']}: unit {failure['unit']} of {failure['path']}: {failure['reason']}")
    if len(summary.failures) > 10:
        lines.append(f"… and {len(summary.failures) - 10:,} more failed units")
    if summary.exit_code == EXIT_TOO_MANY_REJECTS:
        common = ", ".join(f"{reason} ({count:,})" for reason, count in list(summary.rejected.items())[:3])
        lines.append(
            f"{summary.reject_share:.1%} of the rows were rejected, more than --max_reject_share allows; most often: {common}"
        )
    trial = "" if store.limit is None else f"  (a trial: the first {store.limit:,} rows)"
    lines.append(f"store       {store.root}{trial}")
    lines.append(f"report      {store.path('runs', store.run_id, 'report.html')}")
    return "\n".join(lines)


def _under(counters: dict[str, int], prefix: str) -> dict[str, int]:
    return {name[len(prefix) :]: value for name, value in counters.items() if name.startswith(prefix)}


def _shares(shares: dict[str, float]) -> str:
    top = sorted(shares.items(), key=lambda item: -item[1])[:4]
    return ", ".join(f"{label} {share:.0%}" for label, share in top)


def format_bytes(count: float) -> str:
    """Format a number of bytes for people."""
    if count < 1024:
        return f"{count:,.0f} bytes"
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} GiB"
