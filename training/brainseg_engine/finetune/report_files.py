"""The report of a run: ``report.json`` for programs, ``report.md`` for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core.paths import atomic
from brainseg_engine.finetune.proof import SETS, BeforeAfter
from brainseg_engine.finetune.table import MEAN, differences, rows
from brainseg_engine.finetune.wording import number, weights

JSON, PAGE = "report.json", "report.md"
README = """One fine-tuning of napari-brainseg.

report.md, report.json  what the new model gained and lost, case by case, and what was concluded
model.safetensors       the new model; a copy of it lies in the user's models folder under its name
plan.json               base model, corrections, anchors and settings, as they were decided
status.json             which process works here, and how far it is; events.jsonl tells all, one JSON object a line
stop                    make this file, and the run ends after its present step; --resume goes on
data/, split.csv        the corrections as cases: links to the patients' images, the corrected masks
training/               the training: metrics.csv, the trained weights before they were mixed with the base's, examples
train.log               warnings and notes
"""


def write(out: Path, report: Mapping[str, Any], sets: Mapping[str, BeforeAfter]) -> None:
    """Both files. Raises OutputError."""
    for name, text in (
        (JSON, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)),
        (PAGE, page(report, sets)),
    ):
        with atomic(out / name) as part:
            part.write_text(text + "\n", encoding="utf-8")


def page(report: Mapping[str, Any], sets: Mapping[str, BeforeAfter]) -> str:
    """The page, in Markdown."""
    model, base, guard = report["model"], report["base"], report["guard"]
    lines = [f"# {model['name']}, fine-tuned from {base['name']} {base['version']}".rstrip(), "", report["words"], ""]
    lines += [f"- {note}" for note in report["notes"]]
    lines += [f"- Left out: {why}" for why in report["refused"].values()]
    lines += [
        "",
        "## What was chosen",
        "",
        weights(guard["alpha"], guard["why"]),
        "",
    ]
    lines += ["| α | Dice, anchors kept for choosing |", "|---|---|"]
    for row in guard["rows"]:
        mark = " **chosen**" if row["alpha"] == guard["alpha"] else ""
        lines.append(f"| {row['alpha']:g}{mark} | {number(row['anchors'])} |")
    lines += [
        "",
        "The weights are those of the last step, and α was chosen on anchors that are not scored below: nothing was chosen "
        "on the cases that judge the model.",
        "",
    ]
    for key, one in sets.items():
        if one.before.cases:
            lines += _section(SETS[key], one)
    return "\n".join(lines).rstrip()


def _section(title: str, one: BeforeAfter) -> list[str]:
    lines = [f"## {title[0].upper()}{title[1:]}: {one.verdict}", ""]
    lines += ["| case | region | Dice before | after | HD95 before, mm | after |", "|---|---|---|---|---|---|"]
    scores = one.to_dict()
    for row in rows(scores):
        case = "mean" if row.case == MEAN else row.case
        lines.append(f"| {case} | {row.region} | {' | '.join((*row.dice[:2], *row.hd95[:2]))} |")
    lines += ["", "| difference (95 % interval) | Dice | HD95, mm |", "|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in differences(scores)]
    if one.before.seen_in_training:
        seen = ", ".join(one.before.seen_in_training)
        lines += ["", f"The base model was trained on {seen}: its scores there flatter it."]
    return [*lines, ""]
