"""Write the results page from the figures alone: the goals, then the method, then the tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import encoder
from encoder.training.options import TrainOptions
from study import goals, tables, words
from study.records import by_task, sampling_error
from study.settings import Settings
from study.steps import STEPS
from study.tables import bullet, fill, table
from study.tasks import Labelled


def settings_of(settings: Settings) -> dict[str, Any]:
    """Return the settings of a study as JSON values."""
    recorded = {name: str(value) if isinstance(value, Path) else value for name, value in settings.decisive().items()}
    recorded |= {
        "tasks": settings.tasks,
        "rival_tasks": settings.rival_tasks,
        "unlabelled": settings.unlabelled is not None,
    }
    return json.loads(json.dumps(recorded))


def figures(
    settings: Settings, tasks: dict[str, Labelled], results: dict[str, dict[str, Any]], note: str = ""
) -> dict[str, Any]:
    """Return all figures as JSON values. `note` is a sentence on how they were measured."""
    shipped = encoder.describe("default")
    collected = {
        "settings": settings_of(settings),
        "bundle": {"name": shipped.name, "fingerprint": shipped.fingerprint[:12]},
        "note": note,
        "tasks": {name: task.summary() for name, task in tasks.items()},
        "goals": [dataclasses.asdict(goal) for goal in goals.all_goals(results)],
        "steps": results,
    }
    return json.loads(json.dumps(collected))


def write(figures: dict[str, Any], output: Path) -> str:
    """Draw the plots into `output` and return the page."""
    parts = [
        "# Results\n\nWritten by `make study` together with its plots and [every figure as JSON](results.json).",
        _goals(figures["goals"]),
        _method(figures),
        tables.tasks(figures["tasks"]),
        tables.encoders(figures),
        tables.pooling(figures),
        tables.size(figures, output),
        tables.rivals(figures, output),
        tables.stability(figures),
        _notes(),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def render(value: Any, indent: str = "") -> str:
    """Return JSON text with short values on one line and one line per record."""
    short = json.dumps(value, ensure_ascii=False)
    of_records = isinstance(value, list) and any(isinstance(part, dict) for part in value)
    if not isinstance(value, (dict, list)) or (len(short) < 400 and not of_records):
        return short
    inner = indent + " "
    if isinstance(value, list):
        parts = [render(part, inner) for part in value]
        ends = "[]"
    else:
        parts = [f"{json.dumps(name, ensure_ascii=False)}: {render(part, inner)}" for name, part in value.items()]
        ends = "{}"
    return f"{ends[0]}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{ends[1]}"


def _goals(judged: list[dict[str, Any]]) -> str:
    rows = [(g["asks"], g["measured"], goals.Goal(**g).verdict) for g in judged]
    return f"## Goals\n\n{fill(words.WORDS)}\n\n" + table(("goal", "measured", "verdict"), rows)


def _method(figures: dict[str, Any]) -> str:
    s, steps = figures["settings"], figures["steps"]
    not_run = [name for name in STEPS if name not in steps]
    minutes = ", ".join(f"{name} {steps[name]['seconds'] / 60:.1f}" for name in STEPS if name in steps)
    machines = dict.fromkeys(step["ran_on"] for step in steps.values())
    steps_of = f"{s['train_steps'] or TrainOptions().steps:,} steps"
    if s["held_out_steps"] is not None:
        steps_of += f", without a group of tasks with {s['held_out_steps']:,},"
    method = (
        f"{len(s['tasks'])} tasks. Of each at most {s['train_rows']:,} training, {s['validation_rows']:,} validation and "
        f"{s['test_rows']:,} test rows, samples fixed once (seed 0): the same rows for all that is compared, the training "
        "of encoders and the fine-tuning of rivals included, so the cap favours nobody. Texts are cut at "
        f"{s['max_tokens']} tokens, but where windows are looked at. The figure is accuracy, for tasks with several labels a "
        "text (`reuters_topics`) micro F1, in %; macro F1 is in the JSON. A head is fitted as `train-head` fits it, on bits "
        "or on standardised floats, its strength chosen on validation rows. All choices are made on "
        "validation rows; test rows are scored once for each entry. A mean is over tasks; ± is the standard deviation of "
        f"this mean over seeds ({_seeds(s['seeds'])}; of rivals and encoders trained on all tasks "
        f"{_seeds(s['rival_seeds'])}). Where there is no ± there is one run, or one draw (the frozen base on all rows, what "
        f"is of one encoder). The sampling error of the test rows is not in it{_sampling_error(figures)}. The encoder that "
        f"shipped when this was written: `{figures['bundle']['name']}`, {figures['bundle']['fingerprint']}."
    )
    lines = [
        "## How it was measured",
        "",
        fill(method),
        "",
        bullet(
            f"Base: `{s['base']}`. Encoders pool the embeddings and all layers, the upper half moves; "
            f"they are trained with {steps_of} and else as `train-encoder` does"
            + (", with unlabelled prose beside the tasks." if s["unlabelled"] else ".")
        ),
        bullet(f"Machine: {' and '.join(machines) or '–'}; models run on {s['device']} in {s['precision']}."),
        bullet(
            f"Minutes by the clock that a step's work took, beside whatever else ran: {minutes or 'none was run'}. "
            "What several share may be counted with each."
        ),
    ]
    if "trained" in steps:
        groups = "; ".join(", ".join(group) for group in steps["trained"]["plan"])
        lines.insert(
            -2, bullet(f"Held out together, so that no near sibling of a tested task was seen: {groups}. {words.KINDS}")
        )
    if kept := {name: steps[name]["kept"] for name in STEPS if "kept" in steps.get(name, ())}:
        lines.append(bullet(f"Kept from an earlier page, not measured again for this one: {_kept(kept, s)}."))
    if figures["note"]:
        lines.append(bullet(figures["note"]))
    if asked := _changed_options(s):
        lines.append(bullet(f"Asked for beyond what `make study` does by itself on such a machine: {asked}."))
    if not_run:
        missing = ", ".join(f"{name} ({STEPS[name][2]})" for name in not_run)
        lines.append(bullet(f"**Not run: {missing}.** What rests on it says 'not measured', or has no column here."))
    return "\n".join(lines)


def _kept(steps: dict[str, dict[str, Any]], now: dict[str, Any]) -> str:
    """Return the names of kept steps, each with the settings that differ from this page's."""
    texts = {}
    for name, then in steps.items():
        others = [f"`{key} {_words(value)}`" for key, value in then.items() if key not in now or value != now[key]]
        texts[name] = " ".join(others)
    groups = {text: [name for name in texts if texts[name] == text] for text in texts.values()}
    return "; ".join(", ".join(names) + (f" ({text})" if text else "") for text, names in groups.items())


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _changed_options(s: dict[str, Any]) -> str:
    """Return the options that differ from the defaults of the device."""
    defaults = Settings(Path(), Path())
    if s["device"] == "cpu":
        defaults = defaults.for_cpu()
    usual = json.loads(json.dumps(dataclasses.asdict(defaults), default=str))
    changed = {
        name: value
        for name, value in s.items()
        if name not in ("device", "precision", "unlabelled") and value != usual[name]
    }
    return ", ".join(f"`--{name} {_words(value)}`" for name, value in changed.items())


def _sampling_error(figures: dict[str, Any]) -> str:
    """Return a clause on the standard error that the sampling of test rows adds to a difference; empty without figures."""
    values = by_task(goals.frozen_floats(figures["steps"]))
    if not values:
        return ""
    error = sampling_error(values, {name: task["test"] for name, task in figures["tasks"].items()})
    return (
        f": for the difference between two means over {len(values)} tasks it is about {100 * error:.1f} points at most "
        "(one standard error, as if the two erred on different rows and micro F1 were accuracy)"
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]} alone" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _notes() -> str:
    return """## What was tried

What was tried on the way to the training's defaults, and dropped, is in [training.md](training.md). In this study: a goal
that is missed says so above, with its figure."""
