"""What a run's folder tells: curves however the events come, tables, counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.run_folders import REGIONS, make_report, tell
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.events import EpochDone, Failed, Progress
from brainseg_engine.finetune import usable
from brainseg_engine.finetune.status import EVENTS
from napari_brainseg.features.finetune import candidates, table
from napari_brainseg.features.finetune.candidates import Candidate
from napari_brainseg.features.finetune.run import Run


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans(), st.booleans()), max_size=8))
def test_what_is_counted_is_what_can_be_learnt_from(given_rows):
    rows = [
        Candidate(str(i), str(i), str(p), "", held, excluded, barred, "why" if barred else "")
        for i, (p, held, excluded, barred) in enumerate(given_rows)
    ]
    usable_rows = [r for r in rows if not r.excluded and not r.barred]
    patients = len({r.patient for r in usable_rows})
    words, blocker = candidates.in_words(rows), candidates.blocker(rows, Path("/store"))
    held = sum(r.held_out for r in usable_rows)
    assert bool(blocker) == (held == len(usable_rows))
    assert words.lower().replace("one", "1").startswith(f"{len(usable_rows)} correction") or not usable_rows
    assert ("no claim of improvement" in words) == (bool(usable_rows) and not held and usable.share_of(patients) == 0)


def events(n: int) -> list[str]:
    """``n`` rows of a training, the last fourth told twice as after a crash."""
    rows = [EpochDone(i, 10 * i, 1 / i, 1e-3, {"WT": i / n} if i % 2 else {}).to_json() for i in range(1, n + 1)]
    return [Progress(f"step 1 of {10 * n}, loss 1, 2 samples/s", 0.2, 1, 10 * n).to_json(), *rows, *rows[-(n // 4) :]]


@given(st.data())
def test_however_the_events_come_the_curves_are_the_same(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("run")
    tell(out)
    whole = ("\n".join([*events(8), "{damaged", Failed("x", "é").to_json()]) + "\n").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    run = Run.of(out)
    with (out / EVENTS).open("ab") as f:
        for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            f.write(whole[a:b])
            f.flush()
            run.read()
    assert run.loss == [(10 * i, 1 / i) for i in range(1, 9)]
    assert run.dice == {"WT": [(10 * i, i / 8) for i in range(1, 9, 2)]}
    assert run.steps == 80


def test_reading_costs_what_is_new(tmp_path, monkeypatch):
    tell(tmp_path)
    (tmp_path / EVENTS).write_text("\n".join(events(40)) + "\n")
    run = Run.of(tmp_path)
    heard = []
    monkeypatch.setattr(run, "_take_event", heard.append)
    assert not run.read() and heard == []
    with (tmp_path / EVENTS).open("a") as f:
        f.write(EpochDone(41, 500, 0.1, 1e-3).to_json() + "\n")
    assert run.read() and len(heard) == 1


def test_the_table_holds_every_case_and_region_with_its_difference():
    report = make_report(held_out={"C1": (0.5, 0.6), "C2": (0.4, 0.3)})
    held_out, anchors = table.table(report, {"C1": "Study 1"})
    assert (held_out.verdict, anchors.verdict, anchors.title) == ("better", "no worse", "Anchors, phantoms (1 case)")
    assert [b.title for b in held_out.blocks] == ["Mean", "Study 1", "C2"]
    for block, (before, after) in zip(held_out.blocks[1:], ((0.5, 0.6), (0.4, 0.3)), strict=True):
        assert [line.region for line in block.lines] == [r.value for r in REGIONS]
        for line in block.lines:
            numbers = [float(c) for c in line.cells]
            assert numbers == pytest.approx([before, after, after - before, 10 * (1 - before), 10 * (1 - after),
                                             10 * (before - after)])  # fmt: skip
            assert line.sign == (1 if after > before else -1)
    assert held_out.blocks[0].intervals[0] == "WT  Dice +0.050 (+0.010 to +0.090), HD95 +0.1 (+0.0 to +0.1) mm"
    assert "it gains most" in table.guard_in_words(report)
    assert table.notes_in_words(report) == "• a note\n• Left out: it changed."


def test_no_case_held_out_leaves_the_anchors_alone():
    (anchors,) = table.table(make_report(verdict="no claim"), {})
    assert anchors.title.startswith("Anchors")
