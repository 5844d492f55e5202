"""Write the measured figures into README and docs, from one file of results. Run by `make figures`.

    python -m benchmarks.page --results build/bench/results.jsonl    # take over what was measured, then write the pages
    python -m benchmarks.page                                        # write the pages again from docs/figures.json

Pages hold blocks between `<!-- figures: NAME -->` and `<!-- end of figures -->`. Everything between these lines is
written here; the rest of a page is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
FIGURES = REPOSITORY / "docs" / "figures.json"
PAGES = ("README.md", "docs/performance.md")
FIRST_VECTOR = "shell to sentence-transformers' first vector"  # as `startup` names it
NOT_MEASURED = "Not measured."
_BLOCK = re.compile(r"(<!-- figures: (?P<name>[a-z_]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)

Figures = dict[str, dict[str, Any]]  # the JSON line of each part, by its name


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines of `python -m benchmarks --output`")
    options = parser.parse_args()
    figures = read(FIGURES)
    if options.results is not None:
        figures |= last_lines(options.results)
        FIGURES.write_text(dump(figures), encoding="utf-8")
        draw(figures, FIGURES.parent)
    for page in PAGES:
        path = REPOSITORY / page
        path.write_text(filled(path.read_text(encoding="utf-8"), figures), encoding="utf-8")
    return 0


def read(path: Path) -> Figures:
    """Read the figures of all parts; none if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def last_lines(results: Path) -> Figures:
    """Read the last JSON line of each part that `python -m benchmarks --output` wrote."""
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {line.pop("benchmark"): line for line in lines if line["benchmark"] != "machine"}


def dump(figures: Figures) -> str:
    """Return the figures as JSON text, one line for each figure of a part."""
    parts = []
    for name in sorted(figures):
        lines = [
            f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in figures[name].items()
        ]
        parts.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def filled(page: str, figures: Figures) -> str:
    """Return a page with all its blocks written anew.

    Raises:
        KeyError: there is no block of that name.
    """
    return _BLOCK.sub(lambda found: found[1] + BLOCKS[found["name"]](figures) + "\n" + found[3], page)


def draw(figures: Figures, folder: Path) -> None:
    """Draw the plots of the parts that were measured. Needs matplotlib."""
    from benchmarks import plots

    if "heads" in figures:
        plots.costs(figures["heads"]["costs"], folder / "cost-of-tasks.svg")
    if "encode" in figures:
        plots.rates(_contenders(figures["encode"]), figures["encode"]["ours"], folder / "encoding.svg")


def _machine(figures: Figures) -> str:
    """Name the machine, versions and encoder; where parts differ, name the parts."""
    by_description: dict[str, list[str]] = {}
    for part, values in figures.items():
        by_description.setdefault(describe(values), []).append(part)
    if len(by_description) <= 1:
        return next(iter(by_description), NOT_MEASURED)
    return "\n".join(f"- `{'`, `'.join(parts)}`: {text}" for text, parts in by_description.items())


def describe(part: dict[str, Any]) -> str:
    """Return one sentence on the machine, the versions and the encoder of a part's figures."""
    machine, packages = part["machine"], part["machine"]["packages"]
    names = ("apache-beam", "torch", "pyarrow", "onnxruntime", "sentence-transformers", "transformers")
    versions = ", ".join(f"{name} {packages[name]}" for name in names)
    features = ", ".join(machine["simd"]) or "SIMD unknown"
    bundle = part["bundle"]
    return (
        f"{machine['processor']}, {machine['cores']} cores ({features}); Python {machine['python']}, {versions}; "
        f"encoder `{bundle['name']}` {bundle['fingerprint']} ({bundle['bits']:,} bits); measured {part['date']}."
    )


def _summary(figures: Figures) -> str:
    rows = []
    if memory := figures.get("memory"):
        whole, quarter = memory["whole"], memory["quarter"]
        rows.append(
            (
                f"the whole corpus ({whole['documents']:,} documents, {whole['tokens']:,} tokens), shell to shell",
                f"{whole['shell_seconds']:,.0f} s: {whole['documents'] / whole['shell_seconds']:,.0f} documents/s; "
                f"{whole['encoding_share_of_time']:.1%} of the graph's time in the encoder",
                "memory",
            )
        )
        rows.append(
            (
                "peak memory, the whole corpus / a quarter",
                f"{whole['peak_mb']:,} MB / {quarter['peak_mb']:,} MB: {memory['peak_ratio']:.2f} times",
                "memory",
            )
        )
    if overhead := figures.get("overhead"):
        ratios = ", ".join(f"{ratio:.2f}" for ratio in overhead["ratios"])
        rows.append(
            (
                f"`annotate` with eight heads beside `encoder.encode` alone, {overhead['documents']:,} documents",
                f"{overhead['annotate_rate_of_encoder_alone']:.2f} of its rate (rounds: {ratios})",
                "overhead",
            )
        )
    if repeat := figures.get("repeat"):
        rows.append(
            (
                f"a second run over {repeat['documents']:,} documents, nothing to do",
                f"{repeat['nothing_to_do_shell_seconds']:.2f} s shell to shell",
                "repeat",
            )
        )
        rows.append(
            (
                "one new head over all these codes",
                f"{repeat['new_head_shell_seconds']:.2f} s shell to shell, {repeat['new_head_graph_seconds']:.2f} s of "
                "it the graph; no text is read",
                "repeat",
            )
        )
    if startup := figures.get("startup"):
        seconds = startup["seconds"]
        rows.append(
            (
                "from the shell to the first committed block",
                f"{seconds['shell to first committed block']:.1f} s; sentence-transformers' first vector "
                f"{seconds[FIRST_VECTOR]:.1f} s",
                "startup",
            )
        )
        rows.append(
            (
                "short commands",
                f"`--help` {seconds['encode-once --help']:.2f} s, `status` {seconds['encode-once status']:.2f} s, "
                f"`annotate --dry_run --no_measure` {seconds['encode-once annotate --dry_run --no_measure']:.2f} s; "
                f"Python alone {seconds['python -c pass']:.2f} s",
                "startup",
            )
        )
    if label := figures.get("label"):
        for documents, size in label["job"]["sizes"].items():
            rows.append(
                (
                    f"eight heads over {int(documents):,} stored codes",
                    f"{size['documents_per_second']:,} documents/s of the graph, "
                    f"{size['shell_documents_per_second']:,} shell to shell; peak memory {size['peak_mb']:,} MB",
                    "label",
                )
            )
    if kills := figures.get("kills"):
        same = "identical to" if kills["identical"] else "DIFFERENT from"
        rows.append(
            (
                f"{kills['kills']} kills (SIGKILL) and resumes",
                f"all {kills['files']} files of codes and labels {same} those of an undisturbed run",
                "kills",
            )
        )
    if not rows:
        return NOT_MEASURED
    return _table(("what", "figure", "part"), [(what, figure, f"`{part}`") for what, figure, part in rows])


def _goals(figures: Figures) -> str:
    """Judge the goals of which the parts were measured."""
    rows: list[tuple[str, str, str]] = []

    def judge(goal: str, measured: str, met: bool) -> None:
        rows.append((goal, measured, "met" if met else "missed"))

    if encode := figures.get("encode"):
        for rival, times in (("ONNX Runtime, dynamic int8", 1.2), ("sentence-transformers, defaults", 4.0)):
            contender = encode["contenders"][rival]
            if "absent" not in contender:
                ours = contender["ours_times_as_fast"]
                judge(f"encode {times:g} times as fast as {rival}", f"{ours:.2f} times", ours >= times)
    if label := figures.get("label"):
        documents, size = max(label["job"]["sizes"].items(), key=lambda item: int(item[0]))
        rate = size["documents_per_second"]
        measured = f"{rate:,} documents/s of the graph over {int(documents):,}"
        judge("the `label` job with eight heads: 500,000 documents/s", measured, rate >= 500_000)
        ratio = label["job"]["peak_ratio_large_to_small"]
        judge("`label`: memory flat", f"{ratio:.2f} times with five times the codes", ratio < 1.1)
    if overhead := figures.get("overhead"):
        share = overhead["annotate_rate_of_encoder_alone"]
        judge("`annotate` at 0.97 of the encoder's rate", f"{share:.2f}", share >= 0.97)
    if memory := figures.get("memory"):
        judge(
            "`annotate`: memory flat",
            f"{memory['peak_ratio']:.2f} times with four times the corpus",
            memory["peak_ratio"] < 1.1,
        )
    if startup := figures.get("startup"):
        first = startup["seconds"]["shell to first committed block"]
        judge("the first committed block within 8 s", f"{first:.1f} s", first <= 8)
    if kills := figures.get("kills"):
        judge("the same bytes after kills", f"{kills['kills']} kills", kills["identical"])
    return _table(("goal", "measured", "verdict"), rows) if rows else NOT_MEASURED


def _contenders(encode: dict[str, Any]) -> dict[str, float]:
    """Return documents/s by contender, the fastest first."""
    rates = {name: c["per_second"] for name, c in encode["contenders"].items() if "per_second" in c}
    return dict(sorted(rates.items(), key=lambda item: -item[1]))


def _encode(figures: Figures) -> str:
    encode = figures.get("encode")
    if encode is None:
        return NOT_MEASURED
    rows = []
    for name, rate in _contenders(encode).items():
        contender = encode["contenders"][name]
        ratios = contender["ratios"]
        times = (
            ""
            if name == encode["ours"][0]
            else f"{contender['ours_times_as_fast']:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        )
        rows.append((name, f"{rate:,.0f}", times, encode["settings"].get(name, "")))
    absent = [f"{name} ({c['absent']})" for name, c in encode["contenders"].items() if "absent" in c]
    text = (
        f"{encode['documents']:,} documents of {encode['tokens'] / encode['documents']:.0f} tokens on the mean, "
        f"{len(rows)} contenders in {len(next(iter(encode['contenders'].values()))['ratios'])} interleaved rounds, medians:"
    )
    parts = [text, _table(("contender", "documents/s", "encode-once is faster by", "settings"), rows)]
    if absent:
        parts.append(f"Absent: {'; '.join(absent)}.")
    return "\n\n".join(parts)


def _precisions(figures: Figures) -> str:
    encode = figures.get("encode")
    if encode is None:
        return NOT_MEASURED
    rows = []
    for name, values in encode["precisions"].items():
        if "absent" in values:
            rows.append((name, f"absent: {values['absent']}", "", ""))
            continue
        by_head = values["same_labels_by_head"]
        worst = min(by_head, key=lambda head: by_head[head])
        rows.append(
            (
                name,
                f"{values['differing_bits']:.2%}",
                f"{values['same_labels']:.2%}",
                f"{by_head[worst]:.2%} ({worst})",
            )
        )
    return _table(
        ("precision", "bits that differ from float32's", "same labels, mean of the heads", "worst head"), rows
    )


def _roofline(figures: Figures) -> str:
    encode = figures.get("encode")
    if encode is None:
        return NOT_MEASURED
    roofline = encode["roofline"]
    return (
        f"The encoder does {roofline['encoder_gflops']:,.0f} GFLOP/s in {roofline['dtype']} where plain products of the "
        f"model's shapes do {roofline['plain_products_gflops']:,.0f}: {roofline['share_of_plain_products']:.0%}, the median "
        f"of the rounds' ratios."
    )


def _kernels(figures: Figures) -> str:
    label = figures.get("label")
    if label is None:
        return NOT_MEASURED
    rows = []
    for entry in label["kernels"]:
        logits, labels = entry["logits"], entry["labels"]
        rows.append(
            (
                entry["head"],
                f"{entry['bits']:,}",
                str(entry["classes"]),
                f"{logits['ours']['per_second']:,.0f}",
                _times(logits["NumPy unpackbits + product"]),
                _times(labels["scikit-learn predict"]),
            )
        )
    columns = ("head", "bits", "classes", "logits, documents/s", "times NumPy's", "labels, times scikit-learn's")
    return _table(columns, rows)


def _times(rival: dict[str, Any]) -> str:
    return "absent" if "absent" in rival else f"{rival['ours_times_as_fast']:.1f}"


def _tasks(figures: Figures) -> str:
    costs = figures.get("heads")
    if costs is None:
        return NOT_MEASURED
    rows = [
        (
            str(cost["tasks"]),
            f"{cost['ours_documents_per_second']:,}",
            f"{cost['models_documents_per_second']:,}",
            f"{cost['ours_times_as_fast']}",
            f"{cost['labels_alone_seconds_per_million']:,}",
        )
        for cost in costs["costs"]
    ]
    columns = (
        "tasks",
        "encode-once, documents/s",
        "one model per task, documents/s",
        "times as fast",
        "labels alone, s per million",
    )
    return f"{costs['documents']:,} documents; models: {costs['models']}.\n\n" + _table(columns, rows)


def _reading(figures: Figures) -> str:
    read_ = figures.get("read")
    if read_ is None:
        return NOT_MEASURED
    rows = []
    for name, contenders in read_["shards"].items():
        rates = [f"{c['per_second'] / 1e6:.2f}" if "per_second" in c else "absent" for c in contenders.values()]
        rows.append((name, *rates))
    return f"{read_['rows']:,} rows, million rows/s:\n\n" + _table(
        ("file", *next(iter(read_["shards"].values()))), rows
    )


def _readme(figures: Figures) -> str:
    """Return the README's item on speed."""
    encode, memory, repeat = (figures.get(part) for part in ("encode", "memory", "repeat"))
    if encode is None or memory is None or repeat is None:
        return f"- **Speed.** {NOT_MEASURED}"
    contenders, whole = encode["contenders"], memory["whole"]
    defaults, best = (
        contenders[f"sentence-transformers, {kind}"]["ours_times_as_fast"] for kind in ("defaults", "best")
    )
    text = (
        f"- **Speed.** On two CPU cores ({encode['machine']['processor']}) a corpus of {whole['documents']:,} documents took "
        f"{whole['shell_seconds']:,.0f} s ({whole['documents'] / whole['shell_seconds']:,.0f} documents/s). One new head over "
        f"these codes took {repeat['new_head_shell_seconds']:.1f} s. Encoding is {defaults:.1f} times as fast as "
        f"`SentenceTransformer.encode` at its defaults, and {best:.1f} times as fast as at its best settings. "
        "[Performance](docs/performance.md) lists every figure with the command that measures it."
    )
    return wrap(text, "  ")


def wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


BLOCKS: dict[str, Callable[[Figures], str]] = {
    "machine": _machine,
    "goals": _goals,
    "summary": _summary,
    "encode": _encode,
    "precisions": _precisions,
    "roofline": _roofline,
    "kernels": _kernels,
    "tasks": _tasks,
    "reading": _reading,
    "readme": _readme,
}

if __name__ == "__main__":
    sys.exit(main())
