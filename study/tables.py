"""Render the tables of the results page and draw its plots."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from study import goals, plots, words
from study.measure import ALL_LAYERS, CODES, LAST_LAYER, ROTATED_BITS
from study.records import Record, by_task, mean, percent, percent_mean, select

RIVALS = ("fine-tuned", "student", "sentence embedding", "TF-IDF", "label names", "label names alone")


def fill(text: str) -> str:
    """Wrap a paragraph."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def bullet(text: str) -> str:
    """Return a list item, wrapped."""
    return textwrap.fill(
        text, 120, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tasks(sizes: dict[str, dict[str, Any]]) -> str:
    columns = ("task", "kind", "classes", "training", "validation", "test", "test texts also in training")
    numbers = ("classes", "train", "validation", "test", "test_in_train")
    rows = [(name, size["kind"], *(f"{size[number]:,}" for number in numbers)) for name, size in sizes.items()]
    text = "Rows used. What stands in training word for word flatters all that is compared, as it is trained on the same rows."
    return f"{text}\n\n{table(columns, rows)}"


def encoders(figures: dict[str, Any]) -> str:
    steps, tasks = figures["steps"], figures["settings"]["tasks"]
    frozen, trained = (goals.records_of(steps, name) for name in ("frozen", "trained"))
    full = [record for record in (*frozen, *trained) if "shots" not in record]
    names = {"frozen": "frozen", "multi-task": "multi-task", "left out": "task left out"}
    sources = [
        (f"{names[encoder]}, {layers}, {code}", select(full, encoder=encoder, layers=layers, code=code))
        for encoder in names
        for layers in (LAST_LAYER, ALL_LAYERS)
        for code in (*CODES, ROTATED_BITS)
    ]
    head = "## 1. Encoders\n\n" + fill(
        "A linear head on each. `all layers`: the mean over tokens of the embeddings and of each layer, side by side. "
        "Bits of the frozen base are cut at the mean of each dimension; `rotated bits`, and the bits of trained encoders, "
        "after each layer's vector was turned by a random rotation, which takes nothing from the floats."
    )
    if not full:
        return f"{head}\n\nNot measured."
    parts = [head, per_task(tasks, [(name, records) for name, records in sources if records])]
    if any(name.startswith("task left out") for name, records in sources if records):
        parts.append(
            "`multi-task` was trained on the tested task among the others; `task left out` neither on it nor on its siblings."
        )
    few = [record for record in (*frozen, *trained) if "shots" in record]
    if few:
        parts.append(_few_shot(full, few))
    return "\n\n".join(parts)


def per_task(tasks: Sequence[str], sources: Sequence[tuple[str, list[Record]]]) -> str:
    """Render a table with one column per source and one row per task, the means last."""
    columns = {name: by_task(records) for name, records in sources}
    rows = [(task, *(percent(values.get(task)) for values in columns.values())) for task in tasks]
    shared = set.intersection(*(set(values) for values in columns.values())) if columns else set()
    title = "**mean**" if len(shared) == len(tasks) else f"**mean of the {len(shared)} that all have**"
    rows.append((title, *(percent_mean(mean(records, shared)) for _, records in sources)))
    return table(("task", *columns), rows)


def _few_shot(full: list[Record], few: list[Record]) -> str:
    shots = sorted({record["shots"] for record in few})
    tasks = {record["task"] for record in few}
    rows = []
    for encoder in ("frozen", "left out"):
        for code in ("floats", "bits"):
            mine = select(few, encoder=encoder, code=code)
            if mine:
                all_rows = select(full, encoder=encoder, layers=ALL_LAYERS, code=code)
                cells = [percent_mean(mean(select(mine, shots=count))) for count in shots]
                name = "task left out" if encoder == "left out" else encoder
                rows.append((f"{name}, {code}", *cells, percent_mean(mean(all_rows, tasks))))
    return (
        fill(
            f"Few examples, mean of the {len(tasks)} single-label tasks (all layers; bits of the frozen base not rotated; at "
            "most so many examples a class, as some have fewer: three quarters to fit on, one quarter to choose the strength):"
        )
        + "\n\n"
        + table(("encoder", *(f"{count} a class" for count in shots), "all rows"), rows)
    )


def pooling(figures: dict) -> str:
    steps, s = figures["steps"], figures["settings"]
    head = "## 2. Pooling"
    frozen, trained = (goals.records_of(steps, name) for name in ("pooling", "trained_pooling"))
    records = [*frozen, *trained]
    if not records:
        return f"{head}\n\nNot measured."
    encoders = [name for name in ("frozen", "trained", "trained so") if select(records, encoder=name)]
    rows = []
    for layers, position in dict.fromkeys((r["layers"], r["position"]) for r in records):
        here = select(records, layers=layers, position=position)
        cells = [percent_mean(mean(select(here, encoder=e, code=c))) for e in encoders for c in ("floats", "bits")]
        rows.append((layers, position, f"{here[0]['dims']:,}", *cells))
    columns = ("layers", "position", "dimensions", *(f"{e}, {c}" for e in encoders for c in ("floats", "bits")))
    text = (
        f"Means over the tasks, on at most {s['pooling_rows']:,} training and {s['pooling_test_rows']:,} test rows a task. "
        "`first_K` lays the first K tokens side by side; `last` is the last token."
    )
    if "trained" in encoders:
        text += " `trained`: the encoder trained with the mean of all layers, read at other places"
        if "trained so" in encoders:
            text += ", which favours this one. `trained so`: trained with that pooling."
        else:
            text += "; that favours this pooling, as none was trained with another."
        text += f" It is one encoder, of seed {s['rival_seeds'][0]}."
    text += " All bits are cut at the mean of each dimension, none after a rotation."
    return f"{head}\n\n{fill(text)}\n\n{table(columns, rows)}"


def size(figures: dict, output: Path) -> str:
    steps, s = figures["steps"], figures["settings"]
    head = "## 3. Size of code"
    frozen, trained = (goals.records_of(steps, name) for name in ("size", "trained_size"))
    both = [(name, records) for name, records in (("frozen", frozen), ("multi-task", trained)) if records]
    if not both:
        return f"{head}\n\nNot measured."
    pairs = sorted({(r["bytes"], r["method"]) for _, records in both for r in records})
    rows = [
        (f"{size:g}", method, *(percent_mean(mean(select(r, method=method, bytes=size)), 2) for _, r in both))
        for size, method in pairs
    ]
    drawn = plots.size(both, output / "results-size.svg")
    text = (
        f"Mean over the tasks, heads on at most {s['size_rows']:,} training rows. Every code is of all layers where no other "
        "is named. Thresholds and rotations are fitted on the first training rows of each task, in section 1 on others, so "
        "the same code differs by a few tenths of a point between the two."
    )
    if trained:
        seeds = sorted({record["seed"] for record in trained})
        text += f" `multi-task`: one encoder, of seed {seeds[0]}"
        text += f"; with learned projections one each of seeds {', '.join(map(str, seeds))}." if len(seeds) > 1 else "."
    return "\n\n".join(
        [
            head,
            fill(text),
            "\n".join(map(bullet, words.CODES)),
            _picture(drawn, "accuracy against bytes a document"),
            table(("bytes a document", "code", *(name for name, _ in both)), rows),
        ]
    )


def rivals(figures: dict, output: Path) -> str:
    steps, tasks = figures["steps"], figures["settings"]["tasks"]
    rivals, costs = goals.records_of(steps, "rivals"), steps.get("costs")
    head = "## 4. Rivals"
    if not rivals and not costs:
        return f"{head}\n\nNot measured."
    parts = [head]
    seen = goals.seen_bits(steps)
    ours = f"{seen[0]['encoder']}, bits" if seen else ""
    sources = [(ours, seen), ("task left out, bits", goals.unseen_bits(steps))]
    sources += [(name, select(rivals, rival=name)) for name in RIVALS]
    sources = [(name, records) for name, records in sources if records]
    if rivals:
        s = figures["settings"]
        tried = (
            f"Rates tried: {_list(s['rates'])} for fine-tuned models, {_list(s['student_rates'])} for students; at most "
            f"{s['epochs']} epochs. Rates and layers are chosen with the first seed, the epoch in each training."
        )
        tried += _at_the_edge(rivals, s)
        trained_for = {record["task"] for record in select(rivals, rival="fine-tuned")}
        if left_out := [name for name in tasks if name not in trained_for]:
            tried += f" None was trained for {', '.join(left_out)}: long texts take longest."
        parts += ["\n".join(map(bullet, words.RIVALS)), fill(tried), per_task(tasks, sources)]
    if costs:
        parts.append(_costs(costs))
        curves = [(costs["ours"] if name == ours else name, by_task(records)) for name, records in sources]
        parts.append(
            _picture(
                plots.costs(costs["models"], curves, tasks, output / "results-tasks.svg"), "cost and accuracy over T"
            )
        )
    return "\n\n".join(parts)


def _at_the_edge(rivals: list[Record], s: dict[str, Any]) -> str:
    """Return a sentence on how often the last epoch or the highest rate was the best; empty if there are no recipes."""
    counts = []
    for rival, rates in (("fine-tuned", s["rates"]), ("student", s["student_rates"])):
        chosen = [record["recipe"] for record in select(rivals, rival=rival) if "recipe" in record]
        if chosen:
            epochs = sum(recipe["epoch"] == s["epochs"] for recipe in chosen)
            highest = sum(recipe["rate"] == max(rates) for recipe in chosen)
            counts.append(f"{rival} in {epochs} and {highest} of {len(chosen)} trainings")
    if not counts:
        return ""
    return f" The last epoch and the highest rate were the best: {', '.join(counts)}; more of either might do a little better."


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _costs(costs: dict[str, Any]) -> str:
    rows = []
    for name, model in costs["models"].items():
        one, ten = (1000 * (model["shared"] + count * model["each"]) for count in (1, 10))
        shown = rounds = ""
        if name != costs["ours"]:
            limit = costs["cheaper_up_to"][name]
            shown = _when(costs["break_even"][name], limit, f"1 to {limit or 0:,}")
            verdicts = Counter(
                _when(alone["break_even"], alone["cheaper_up_to"], "at first") for alone in costs["by_round"][name]
            )
            rounds = ", ".join(f"{verdict} ({count})" for verdict, count in sorted(verdicts.items()))
        times = (f"{1000 * model['shared']:.3f}", f"{1000 * model['each']:.4f}", f"{one:.2f}", f"{ten:.2f}")
        rows.append((name, *times, shown, rounds))
    headings = (f"{part}, ms" for part in ("shared", "each task", "1 task", "10 tasks"))
    columns = ("", *headings, "we are cheaper: tasks", "in single rounds")
    text = (
        f"Cost a document, measured in one run of {costs['rounds']} interleaved rounds on {costs['documents']:,} documents of "
        f"all tasks ({costs['machine']}). Fine-tuned models and students run on our own packed encoder, so the gap is not one "
        "of implementation. A shared part is paid once, whatever the number of tasks. Ten tasks cost "
        f"{costs['ten_over_one']:.3f} times one. Times are medians; the last column says in how many rounds, taken alone, "
        "which number of tasks makes us cheaper, as times vary: where rounds disagree the two cost about the same."
    )
    return f"{fill(text)}\n\n{table(columns, rows)}"


def _when(even: int | None, limit: int | None, at_first: str) -> str:
    """Return in words for how many tasks the shared encoder is cheaper."""
    if even is not None:
        return f"{even} on"
    return "never" if limit is None else at_first


def stability(figures: dict) -> str:
    measured = figures["steps"].get("stability")
    head = "## 5. Stability"
    if not measured:
        return f"{head}\n\nNot measured."
    rows = [
        (v["name"], f"{v['documents']:,}", f"{100 * v['bits_differ']:.3f} %", f"{100 * v['labels_differ']:.2f} %", "")
        if "absent" not in v
        else (v["name"], "–", "–", "–", v["absent"])
        for v in measured["variants"]
    ]
    parts = [
        head,
        f"The frozen encoder, rotated, against {measured['reference']}; heads fitted on bits as the other tables' are.",
        table(("against the reference", "documents", "bits that differ", "labels that differ", ""), rows),
    ]
    if measured["records"]:
        parts.append(_long(measured["records"], figures["settings"]))
    return "\n\n".join(parts)


def _long(records: list[Record], s: dict[str, Any]) -> str:
    readings = dict.fromkeys(record["reading"] for record in records)
    tasks = dict.fromkeys(record["task"] for record in records)
    rows = []
    for reading in readings:
        here = select(records, reading=reading)
        tokens = {r["task"]: r["tokens"] for r in here}
        cells = []
        for task in tasks:
            cells.append(f"{tokens[task]:.0f}")
            cells += [percent(by_task(select(here, code=code)).get(task)) for code in ("floats", "bits")]
        rows.append((reading, *cells))
    columns = ["long texts", *(f"{task}, {column}" for task in tasks for column in ("tokens read", "floats", "bits"))]
    text = (
        f"Long texts, frozen encoder, bits not rotated, on at most {s['long_rows']:,} training and test rows a task, hence not "
        "the figures of section 1; tokens read: the mean of 100 test texts."
    )
    return f"{fill(text)}\n\n{table(columns, rows)}"


def _picture(drawn: str, caption: str) -> str:
    return f"![{caption}]({drawn})" if drawn.endswith(".svg") else f"(No plot: {drawn}.)"
