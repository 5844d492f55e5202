"""Render the record of a run as one self-contained HTML page: no script, no picture, no network."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
code { background: #f3f4f6; padding: .1rem .3rem; overflow-wrap: anywhere }
table { border-collapse: collapse } td, th { padding: .15rem 1rem .15rem 0; text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums } td.bar { width: 20rem }
td.bar div { background: #0072b2; height: .8rem } .bad { color: #b42318 }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e6e8eb } code { background: #262a30 } }
"""
_PLAN_ROWS = {  # counts of the plan that are shown
    "shards": "shards",
    "source_bytes": "bytes in them",
    "shards_changed": "shards that changed",
    "shards_unreadable": "shards that cannot be read",
    "units": "units",
    "units_to_encode": "units to encode and label",
    "units_to_label": "units coded, labels missing",
    "units_done": "units coded and labelled before",
}


def render(record: dict[str, Any]) -> str:
    """Render the content of `run.json`; parts that are missing are left out."""
    failed = len(record.get("summary", {}).get("failures", ()))
    title = f"{record['command']}: {record['state']}" + (f", {failed:,} units failed" if failed else "")
    parts = [f"<h1>{escape(title)}</h1>", _asked(record)]
    if "plan" in record:
        rows = [(name, f"{record['plan'][key]:,}") for key, name in _PLAN_ROWS.items() if record["plan"].get(key)]
        parts.append(_section("Found", _table(rows)))
    if "error" in record:
        parts.append(_section("Error", f'<p class="bad">{escape(record["error"])}</p>'))
    if summary := record.get("summary"):
        parts += [_done(summary), _labels(summary), _failures(summary["failures"])]
    parts.append(_machine(record))
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _asked(record: dict[str, Any]) -> str:
    command = shlex.join(["encode-once", record["command"], *record["arguments"]])
    rows = [("run", record["run"]), ("started", record["started"])]
    rows += [(key, record[key]) for key in ("finished", "encoder") if key in record]
    rows += [(f"head {task}", fingerprint) for task, fingerprint in record.get("heads", {}).items()]
    return f"<p><code>{escape(command)}</code></p>\n" + _table(rows)


def _done(summary: dict[str, Any]) -> str:
    rejected = sum(summary["rejected"].values())
    rows = [
        ("documents encoded", f"{summary['documents']:,}"),
        ("tokens read", f"{summary['tokens']:,}"),
        ("documents truncated", f"{summary['truncated']:,}"),
        ("rows rejected", f"{rejected:,} ({summary['reject_share']:.2%})"),
        *((f"… {reason}", f"{count:,}") for reason, count in summary["rejected"].items()),
        ("seconds", f"{summary['seconds']:,.1f}"),
        ("documents per second", f"{summary['documents_per_second']:,.1f}"),
    ]
    if summary.get("recognised"):
        rows.append(("shards recognised after a move or touch", f"{summary['recognised']:,}"))
    if summary.get("replaced_shards"):
        replaced = f"{summary['replaced_shards']:,} ({summary['replaced_documents']:,} documents)"
        rows.append(("earlier versions of shards removed", replaced))
    if summary["documents"] and summary["seconds"]:
        rows.append(("seconds in the encoder, all workers", f"{summary['encode_seconds']:,.1f}"))
        rows.append(("padding", f"{summary['padding_share']:.1%}"))
    return _section("Done", _table(rows))


def _labels(summary: dict[str, Any]) -> str:
    parts = []
    for task, count in summary["labelled"].items():
        parts.append(f"<h3>{escape(task)}: {count:,} documents</h3>")
        shares = sorted(summary["label_shares"].get(task, {}).items(), key=lambda item: -item[1])
        lines = (
            f'<tr><td>{escape(label)}</td><td class="n">{share:.1%}</td>'
            f'<td class="bar"><div style="width: {100 * min(share, 1):.1f}%"></div></td></tr>'
            for label, share in shares
        )
        parts.append(f"<table>{''.join(lines)}</table>")
    return _section("Labels", "\n".join(parts)) if parts else ""


def _failures(failures: Sequence[dict[str, Any]]) -> str:
    rows = [(f"{f['path']}, unit {f['unit']}, {f['step']}", f["reason"]) for f in failures]
    return _section("Failed", f'<div class="bad">{_table(rows)}</div>') if rows else ""


def _machine(record: dict[str, Any]) -> str:
    rows = [*record["machine"].items(), *record["versions"].items()]
    return _section("Machine and versions", _table(rows))


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}"


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    lines = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(lines)}</table>"
