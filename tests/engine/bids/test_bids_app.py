"""The BIDS App on datasets made of phantoms."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_segmentation, save_volume

NAMES = {Modality.T1: "T1w", Modality.T1CE: "ce-gadolinium_T1w", Modality.T2: "T2w", Modality.FLAIR: "FLAIR"}


def write_session(
    root: Path, subject: str, session: str = "", seed: int = 0, without: tuple[Modality, ...] = ()
) -> Path:
    start = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    anat = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "anat"
    anat.mkdir(parents=True)
    for m, v in make_study(seed).volumes.items():
        if m not in without:
            save_volume(v.data, v.grid, anat / f"{start}_{NAMES[m]}.nii.gz")
            (anat / f"{start}_{NAMES[m]}.json").write_text("{}")
    return anat


@pytest.fixture
def raw(tmp_path) -> Path:
    root = tmp_path / "raw"
    write_session(root, "01", "pre", 1)
    write_session(root, "01", "post", 2)
    write_session(root, "02", seed=3)
    content = {"Name": "phantoms", "BIDSVersion": "1.10.0", "License": "CC0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(content))
    (root / "README.md").write_text("Phantoms.\n")
    return root


def call(*words, code=0):
    done = CliRunner().invoke(app, ["bids", *map(str, words)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def test_sessions_become_derivatives_and_one_table(raw, tiny_model, tmp_path):
    out = tmp_path / "derivatives"
    more = ("--model", tiny_model, "--device", "cpu", "--skip-bids-validation")
    call(raw, out, "participant", *more, "--participant-label", "sub-01", "--session-label", "pre")
    start = out / "sub-01" / "ses-pre" / "anat" / "sub-01_ses-pre_space-orig_desc-auto_dseg"
    assert sorted(p.name for p in out.glob("sub-*/**/*dseg.nii.gz")) == [f"{start.name}.nii.gz"]
    content = json.loads(start.with_name(f"{start.name}.json").read_text())
    assert "bids:raw:sub-01/ses-pre/anat/sub-01_ses-pre_ce-gadolinium_T1w.nii.gz" in content["Sources"]
    assert content["Model"] and len(list(start.parent.glob("*_probseg.nii.gz"))) == 3
    again = call(raw, out, "participant", *more)
    assert again.stdout.count("done ") == 2 and again.stdout.count("skipped") == 1
    call(raw, out, "group")
    with (out / "group" / "volumes.tsv").open(newline="") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    assert [(r["participant_id"], r["session_id"]) for r in rows] == [
        ("sub-01", "ses-post"),
        ("sub-01", "ses-pre"),
        ("sub-02", "n/a"),
    ]
    mask = load_segmentation(start.with_name(f"{start.name}.nii.gz"))
    wt = (mask.labels > 0).sum() * mask.grid.voxel_ml
    assert float(rows[1]["WT_ml"]) == pytest.approx(wt, abs=1e-3)


def test_several_runs_and_no_contrast_are_said(raw, tiny_model, tmp_path):
    anat = raw / "sub-02" / "anat"
    (anat / "sub-02_ce-gadolinium_T1w.nii.gz").unlink()
    twice = raw / "sub-01" / "ses-pre" / "anat"
    shutil.move(twice / "sub-01_ses-pre_T2w.nii.gz", twice / "sub-01_ses-pre_run-1_T2w.nii.gz")
    shutil.copy(twice / "sub-01_ses-pre_run-1_T2w.nii.gz", twice / "sub-01_ses-pre_run-2_T2w.nii.gz")
    more = ("--model", tiny_model, "--device", "cpu", "--skip-bids-validation")
    done = call(raw, tmp_path / "out", "participant", *more, code=3)
    said = " ".join(done.stdout.split())
    assert "run-1_T2w" in said and "run-2_T2w" in said and "lacks T1ce" in said and said.count("done ") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--participant-label", "09"), "no sub-09"), (("--session-label", "none"), "no ses-none"),
     (("--participant-label", "a/b"), "no BIDS label"), (("--participant-label", "02", "--session-label", "pre"), "no such")],
)  # fmt: skip
def test_labels_that_are_not_there(words, said, raw, tiny_model, tmp_path):
    done = call(raw, tmp_path / "out", "participant", "--model", tiny_model, *words, code=3)
    assert said in " ".join(done.stderr.split())


def test_what_is_no_dataset_is_refused(raw, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *a, **k: None)
    assert "level 'participant' first" in call(raw, tmp_path / "out", "group", code=3).stderr
    (tmp_path / "empty").mkdir()
    assert "root of a BIDS dataset" in " ".join(
        call(tmp_path / "empty", tmp_path / "out", "participant", code=3).stderr.split()
    )
    assert "raw dataset itself" in call(raw, raw, "participant", code=3).stderr
    (raw / "dataset_description.json").unlink()
    said = call(raw, tmp_path / "out", "participant", "--model", tiny_model, code=3).stderr
    assert "--skip-bids-validation" in said and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_validator_accepts_what_comes_in_and_what_goes_out(raw, tiny_model, tmp_path):
    from brainseg_engine.bids import require_valid
    from brainseg_engine.bids.validation import PROGRAM, _errors

    program = shutil.which(PROGRAM, path=str(Path(__import__("sys").executable).parent)) or shutil.which(PROGRAM)
    if program is None:
        pytest.skip(f"{PROGRAM} is not installed: pip install -c constraints.txt '.[slow]'")
    out = tmp_path / "out"
    call(raw, out, "participant", "--model", tiny_model, "--device", "cpu")
    call(raw, out, "group")
    assert _errors(program, out) == []
    (raw / "sub-01" / "ses-pre" / "anat" / "nonsense_name.nii.gz").write_bytes(b"x")
    with pytest.raises(Exception, match="no valid BIDS dataset"):
        require_valid(raw)


def test_the_containers_run_the_app_as_no_root():
    root = Path(__file__).parents[3]
    docker = (root / "containers" / "Dockerfile").read_text()
    lines = [line.split() for line in docker.splitlines() if line and not line.startswith("#")]
    assert (
        ["USER", "1000:1000"] in lines
        and "--uid 1000 brainseg" in docker
        and 'ENTRYPOINT ["napari-brainseg", "bids"]' in docker
    )
    assert lines.index(["USER", "1000:1000"]) > max(n for n, line in enumerate(lines) if line[0] == "RUN")
    apptainer = (root / "containers" / "brainseg.def").read_text()
    assert 'exec napari-brainseg bids "$@"' in apptainer
    copied = {name for line in lines if line[0] == "COPY" for name in line[1:-1]}
    assert copied == {
        line.split()[0]
        for line in apptainer.splitlines()
        if "/opt/brainseg/" in line and line.startswith("    ") and " /opt" in line
    }
    assert all((root / name).exists() for name in copied)


@pytest.mark.slow
def test_the_dockerfile_passes_its_lint_and_its_steps_run(tmp_path):
    """What the image copies is all that the package is built from, and torch's pin is found as the image finds it."""
    import subprocess
    import sys

    root = Path(__file__).parents[3]
    docker = (root / "containers" / "Dockerfile").read_text(encoding="utf-8")
    for line in docker.splitlines():
        if line.startswith("COPY"):
            *names, target = line.split()[1:]
            for name in names:
                there = tmp_path / (name if target == "./" else target)
                (shutil.copytree if (root / name).is_dir() else shutil.copy)(root / name, there)
    pin = docker.split('"torch==$(')[1].split(')" ')[0]
    found = subprocess.run(["sh", "-c", pin], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert f"torch=={found}" in (root / "constraints.txt").read_text(encoding="utf-8")
    pytest.importorskip(
        "hatch_fancy_pypi_readme", reason="hatch-fancy-pypi-readme is not installed: the steps are NOT run"
    )
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        "-w",
        "dist",
    ]
    done = subprocess.run(wheel, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert next((tmp_path / "dist").glob("*.whl")).stat().st_size > 2**20
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install -c constraints.txt '.[slow]'")
    linted = subprocess.run(
        [hadolint, "--no-color", root / "containers" / "Dockerfile"], capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout
