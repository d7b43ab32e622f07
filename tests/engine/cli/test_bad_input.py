"""Bad input through the command line, in a process of its own: damaged files really on disk, told in a sentence each."""

import csv
import json

import pytest
from helpers import damage
from helpers.commands import call
from helpers.small_study import make_study

from brainseg_engine.phantom import write_study


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """One data folder with every kind of damage, and one sound study."""
    data = tmp_path_factory.mktemp("data")
    for kind, (spoil, _) in {**damage.IMAGES, **damage.DOUBTS}.items():
        write_study(make_study(1, id=kind), data)
        spoil(data / kind)
    write_study(make_study(1, id="sound"), data)
    write_study(make_study(1, id="bad_mask"), data)
    damage.unknown_mask_values(data / "bad_mask")
    return data


def test_predict_names_file_and_remedy_and_goes_on(spoilt, tiny_model, tmp_path):
    out = tmp_path / "out"
    folders = sorted(p for p in spoilt.iterdir() if p.is_dir())
    done = call("predict", *folders, "--out", out, "--model", tiny_model, "--device", "cpu")
    assert done.exit_code == 3, done.stderr
    assert "Traceback" not in done.stderr
    rows = {r["id"]: r for r in csv.DictReader((out / "summary.csv").read_text().splitlines())}
    for kind, (_, words) in damage.IMAGES.items():
        row = rows[kind]
        assert row["status"] == "failed", row
        assert all(w in row["message"] for w in words), row
        assert row["message"].rstrip().endswith("."), row
        assert not list(out.glob(f"{kind}*")), kind
    for kind, (_, words) in damage.DOUBTS.items():
        assert rows[kind]["status"] == "done"
        assert all(w in rows[kind]["message"] for w in words)
    # a damaged mask beside the images is no reason not to segment them
    assert rows["sound"]["status"] == rows["bad_mask"]["status"] == "done"
    assert not list(out.glob(".part*"))


@pytest.mark.parametrize("kind", ["truncated", "missing_modality"])
def test_inspect_tells_all_and_exits_3(spoilt, kind):
    done = call("inspect", spoilt / kind, "--json")
    assert done.exit_code == 3, done.stderr
    assert "Traceback" not in done.stderr
    printed = json.dumps(json.loads(done.stdout))
    assert all(w in printed for w in damage.IMAGES[kind][1])


def test_evaluate_names_the_mask_with_unknown_values(spoilt, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("sound", "bad_mask"):
        source = next((spoilt / name).glob("*-seg.nii.gz"))
        (masks / f"{name}_seg.nii.gz").write_bytes(source.read_bytes())
        (masks / f"{name}_seg.json").write_text('{"coding": "brats2023"}')
    truth = tmp_path / "truth"
    write_study(make_study(1, id="sound"), truth)
    write_study(make_study(1, id="bad_mask"), truth)
    done = call("evaluate", "--truth", truth, "--predictions", masks, "--json")
    assert done.exit_code != 0
    assert "Traceback" not in done.stderr
    assert "bad_mask_seg.nii.gz" in done.stderr
    assert "7" in done.stderr
    assert json.loads(done.stdout)["cases"]["sound"]["WT"]["dice"] == 1


@pytest.mark.skipif(damage.AS_ROOT, reason="root reads and writes everywhere")
def test_unreadable_and_read_only_places(spoilt, tiny_model, tmp_path):
    closed = tmp_path / "closed"
    write_study(make_study(1, id="c"), closed)
    closed.chmod(0)
    try:
        done = call("predict", closed, "--out", tmp_path / "o", "--model", tiny_model)
        assert done.exit_code in {3, 4}
        assert "closed" in done.stderr
    finally:
        closed.chmod(0o755)
