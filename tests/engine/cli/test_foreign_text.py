"""Text of others is shown as text: no markup in it is obeyed, and nothing of it reaches the terminal as a command."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from helpers.small_study import make_study
from helpers.small_world import make_world
from rich.table import Table
from typer.testing import CliRunner

import brainseg_engine.cli
from brainseg_engine.cli import app
from brainseg_engine.core.text import console, printable_json
from brainseg_engine.phantom import write_study

WICKED = ["[/]", "[bold red]Ann", "[link=file:///etc]x", "\x1b[2J\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "a\u202eb", ":skull:",
          "a\r\rb", "\udcff", "\x00", "{task}", "%s", "[green"]  # fmt: skip
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")


@pytest.mark.parametrize("text", WICKED)
def test_a_text_is_shown_letter_by_letter(text):
    out = io.StringIO()
    shown = console(file=out, width=200, force_terminal=False)
    table = Table(text, box=None)
    table.add_row(text)
    shown.print(text)
    shown.print(table)
    assert not COMMANDS.search(out.getvalue())
    if not COMMANDS.search(text):
        assert out.getvalue().count(text) == 3
    assert json.loads(printable_json(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("by", WICKED)
def test_a_record_with_markup_is_listed(by, tmp_path):
    store, _ = make_world(tmp_path, corrections=1, anchors=0)
    (c,) = store.corrections()
    c.sidecar.chmod(0o644)
    record = json.loads(c.sidecar.read_text()) | {"by": by, "study_id": by, "base_model": {"name": by}}
    c.sidecar.write_text(json.dumps(record))
    for more in ([], ["--json"]):
        done = CliRunner().invoke(app, ["corrections", "list", str(store.path), *more])
        assert done.exit_code == 0, done.output
        assert not COMMANDS.search(done.output)
        if more:
            assert json.loads(done.output)["corrections"][0]["by"] == by
        elif not COMMANDS.search(by):
            assert by in done.output
    done = CliRunner().invoke(app, ["corrections", "check", str(store.path)])
    assert not COMMANDS.search(done.output)


@pytest.mark.parametrize("name", ["[bold red]x", "a\x1b[2Jb", "[link]", "caf\udce9"])
def test_a_folder_with_such_a_name(name, tmp_path, tiny_model):
    study = write_study(make_study(id="Case"), tmp_path)
    place = tmp_path / name
    study.rename(place)
    out = tmp_path / "out"
    for words in (["inspect", str(place)], ["inspect", str(place), "--json"], ["data", "check", str(tmp_path)],
                  ["predict", str(place), "--out", str(out), "--model", str(tiny_model), "--device", "cpu"],
                  ["predict", str(tmp_path / name / "absent"), "--out", str(out)],
                  ["evaluate", "--truth", str(place), "--predictions", str(out)]):  # fmt: skip
        done = CliRunner().invoke(app, words)
        assert done.exit_code in (0, 3), (words, done.output, done.exception)
        assert not COMMANDS.search(done.output), words


def test_commands_print_through_the_one_door():
    for file in Path(brainseg_engine.cli.__file__).parent.glob("*.py"):
        if file.name != "printing.py":
            found = re.findall(
                r"typer\.echo\(|(?<![\w.])Console\(|sys\.stdout\.write|(?<![\w.])print\((?!printable)",
                file.read_text("utf-8"),
            )
            assert found in ([], ["print("]) and (not found or file.name in ("demo.py", "train.py")), (file.name, found)
