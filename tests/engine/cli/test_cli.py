"""The command line: help, options shared by all commands, errors and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Annotated

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from brainseg_engine import __version__, cli
from brainseg_engine.cli import dispatch
from brainseg_engine.core.errors import BrainsegError, Cancelled, InputError, OutputError

HEAVY = {"torch", "monai", "nibabel", "matplotlib", "scipy", "skimage", "SimpleITK", "napari", "qtpy", "torchio"}


def call(*args, app=cli.app):
    return CliRunner().invoke(app, [str(a) for a in args], prog_name=cli.PROGRAM)


def program(error):
    """The program with one command, which fails with that error."""
    app = dispatch.CommandApp(cls=dispatch.Program)
    app.callback()(cli._program)

    @app.command("fail")
    def fail(count: int = 1) -> None:
        """Fail."""
        raise error

    return app


def mask(path, values=(0, 1, 2, 3), shape=(4, 5, 6)):
    path.parent.mkdir(exist_ok=True)
    data = np.resize(np.array(values, np.uint8), shape)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


@pytest.fixture
def masks(tmp_path):
    for folder in ("truth", "masks"):
        for case in "AB":
            mask(tmp_path / folder / f"{case}_seg.nii.gz")
    return ["--truth", tmp_path / "truth", "--predictions", tmp_path / "masks", "--coding", "brats2023",
            "--truth-coding", "brats2023"]  # fmt: skip


def test_help_names_every_command_and_its_panel():
    result = call("--help")
    assert result.exit_code == 0
    for command, panel in cli.COMMANDS.items():
        assert re.search(rf"^\W+{command} {{2,}}\S", result.output, re.MULTILINE), command  # a row of its own
        assert re.search(rf"^\W+{panel} \W+$", result.output, re.MULTILINE), panel
    assert "napari-brainseg predict" in result.output  # an example


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "--verbose" in result.output
    assert f"Usage: napari-brainseg {command}" in result.output


def test_help_and_the_package_load_nothing_heavy():
    deeper = [["data", "check", "--help"], ["data", "--help"]]
    calls = [["--help"], *([command, "--help"] for command in cli.COMMANDS), *deeper]
    code = (
        f"import sys, brainseg_engine\nfrom brainseg_engine.cli import app\nfor args in {calls!r}:\n"
        "    try: app(args)\n    except SystemExit: pass\n"
        f"    print(args, sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [f"{args} []" for args in calls]


def test_version():
    assert call("--version").output.strip() == f"napari-brainseg {__version__}"


@pytest.mark.parametrize("args", [["nonsense"], ["evaluate", "--nonsense"], ["evaluate"], []])
def test_usage_errors_exit_2(args):
    assert call(*args).exit_code == 2


def group(ran, alone=True):
    """A program with the group `things`: `show NAME`, and with ``alone`` something to do without a sub-command."""

    things = dispatch.CommandApp(None if alone else "`things`.\n\nAll about things.")
    if alone:

        @things.callback(invoke_without_command=True)
        def list_(ctx: typer.Context, count: Annotated[int, typer.Option("--count")] = 1) -> None:
            """List things."""
            if ctx.invoked_subcommand is None:
                ran.append(("things", count))

    @things.command()
    def show(name: str) -> None:
        """Show one."""
        ran.append(("show", name))
        if name == "lost":
            raise InputError("There is no such thing.")

    app = dispatch.CommandApp(cls=dispatch.Program)
    app.callback()(cli._program)
    app.add_typer(things, name="things")
    return app


@pytest.mark.parametrize(
    ("args", "did"),
    [
        (["things"], ("things", 1)),
        (["things", "--count", "3"], ("things", 3)),
        (["things", "show", "a"], ("show", "a")),
        (["things", "-v", "show", "a"], ("show", "a")),
        (["things", "show", "a", "-v"], ("show", "a")),
    ],
)
def test_a_group_runs_its_sub_command_or_else_what_it_does_alone(args, did):
    ran = []
    assert call(*args, app=group(ran)).exit_code == 0
    assert ran == [did]


def test_a_group_that_does_nothing_alone_explains_itself():
    ran = []
    result = call("things", app=group(ran, alone=False))
    assert (result.exit_code, ran) == (2, [])
    assert "All about things." in result.output
    assert re.search(r"^\W+show +Show one", result.output, re.MULTILINE)


def test_an_option_of_the_group_before_a_sub_command_is_refused_not_lost():
    ran = []
    result = call("things", "--count", "3", "show", "a", app=group(ran))
    assert (result.exit_code, ran) == (2, [])
    assert "--count belongs behind 'show'" in result.stderr


@pytest.mark.parametrize("args", [["things", "-v", "show", "lost"], ["-v", "things", "show", "lost"]])
def test_a_sub_command_tells_its_errors_like_any_command(args):
    result = call(*args, app=group([]))
    assert result.exit_code == InputError.exit_code
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("napari-brainseg: There is no such thing.\n")
    assert call("things", "show", "lost", app=group([])).stderr == "napari-brainseg: There is no such thing.\n"


@pytest.mark.parametrize(
    "error", [InputError("The file a.nii\nis damaged."), *(c("Why.") for c in BrainsegError.__subclasses__())]
)
def test_a_user_error_is_one_sentence_and_its_exit_code(error):
    result = call("fail", app=program(error))
    assert result.exit_code == error.exit_code != 0
    assert result.stdout == ""
    assert result.stderr == f"napari-brainseg: {' '.join(str(error).split())}\n"


@pytest.mark.parametrize("args", [["-v", "fail"], ["fail", "-v"], ["--verbose", "fail"], ["fail", "--verbose"]])
def test_verbose_before_or_after_the_command_shows_the_traceback(args):
    result = call(*args, app=program(InputError("The file is damaged.")))
    assert result.exit_code == InputError.exit_code
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("napari-brainseg: The file is damaged.\n")
    assert call("fail", app=program(InputError("The file is damaged."))).stderr.count("\n") == 1


def test_a_bug_is_reported_in_one_sentence_too():
    app = program(ZeroDivisionError("division by zero"))
    result = call("fail", app=app)
    assert result.exit_code == 70
    assert result.stderr == (
        "napari-brainseg: unexpected ZeroDivisionError: division by zero; run again with -v for the details.\n"
    )
    assert "Traceback" in call("fail", "-v", app=app).stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled()])
def test_an_interrupt_exits_130(error):
    result = call("fail", app=program(error))
    assert result.exit_code == 130
    assert result.stderr.count("\n") == 1


def test_python_m_is_the_same_program(tmp_path):
    args = ["evaluate", "--truth", str(tmp_path / "nowhere"), "--predictions", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "brainseg_engine", *args], capture_output=True, text=True, check=False)
    assert done.returncode == InputError.exit_code
    assert done.stdout == ""
    assert done.stderr.startswith("napari-brainseg: ")
    assert "nowhere" in done.stderr
    assert done.stderr.count("\n") == 1


def test_evaluate_prints_a_table(masks):
    result = call("evaluate", *masks)
    assert result.exit_code == 0
    assert "mean of 2" in result.stdout
    assert "1.000" in result.stdout
    assert result.stderr == ""


def test_evaluate_json_is_one_object_of_the_documented_shape(masks):
    result = call("evaluate", *masks, "--json")
    content = json.loads(result.stdout)
    assert set(content) == {
        "cases",
        "mean",
        "interval",
        "n",
        "seen_in_training",
        "missing",
        "failed",
        "surface_dice_tolerance_mm",
    }
    assert set(content["cases"]) == {"A", "B"}
    for score in (*content["cases"].values(), content["mean"]):
        assert set(score) == {"WT", "TC", "ET"}
        assert all((s["dice"], s["hd95_mm"], s["lesion_dice"]) == (1.0, 0.0, 1.0) for s in score.values())
    assert content["n"]["WT"]["dice"] == 2
    assert content["interval"]["WT"]["dice"] is None  # of two cases
    assert content["seen_in_training"] == []


def test_evaluate_names_missing_predictions_and_fails_unless_allowed(masks, tmp_path):
    (tmp_path / "masks" / "B_seg.nii.gz").unlink()
    result = call("evaluate", *masks, "--json")
    assert result.exit_code == InputError.exit_code
    assert "No prediction" in result.stderr
    assert " B " in result.stderr
    assert json.loads(result.stdout)["missing"] == ["B"]
    assert call("evaluate", *masks, "--allow-missing").exit_code == 0
    (tmp_path / "masks" / "A_seg.nii.gz").unlink()
    assert call("evaluate", *masks, "--allow-missing").exit_code == InputError.exit_code  # nothing at all was scored


def test_evaluate_fails_for_a_bad_case_even_where_missing_ones_are_allowed(masks, tmp_path):
    mask(tmp_path / "masks" / "B_seg.nii.gz", shape=(4, 5, 7))
    result = call("evaluate", *masks, "--allow-missing")
    assert result.exit_code == InputError.exit_code
    assert "1 of 2 cases were not scored. B: " in result.stderr
    assert "mean of 1" in result.stdout


def test_evaluate_tells_a_reason_once_for_all_cases_it_holds_for(tmp_path):
    cases = [f"case-{i:03d}" for i in range(10)]
    for case in cases:
        mask(tmp_path / "truth" / f"{case}_seg.nii.gz")
        mask(tmp_path / "masks" / f"{case}_seg.nii.gz")
    mask(tmp_path / "masks" / "case-003_seg.nii.gz", values=(0, 9))
    (tmp_path / "masks" / "case-003_seg.json").write_text('{"coding": "brats2023"}')
    result = call("evaluate", "--truth", tmp_path / "truth", "--predictions", tmp_path / "masks", "--json")
    assert result.exit_code == InputError.exit_code
    assert result.stderr.count("Nothing tells the label coding") == 1
    assert "case-000, case-001, case-002, case-003, case-004, case-005 and 4 more: " in result.stderr
    content = json.loads(result.stdout)["failed"]
    assert all(f"{case}_seg.nii.gz" in content[case] for case in cases)  # the JSON tells each its own
    result = call("evaluate", "--truth", tmp_path / "truth", "--predictions", tmp_path / "masks", "--truth-coding",
                  "brats2023", "--coding", "brats2023")  # fmt: skip
    assert "1 of 10 cases were not scored. case-003: " in result.stderr
    assert "the value 9" in result.stderr


@pytest.mark.parametrize("option", ["--coding", "--truth-coding"])
def test_evaluate_refuses_an_unknown_coding_once(masks, option):
    result = call("evaluate", *masks[:4], option, "brats2099")
    assert result.exit_code == InputError.exit_code
    assert result.stderr.count("brats2099") == 1
    assert result.stdout == ""


def test_evaluate_notices_a_wrong_place_or_split_before_it_scores(masks, tmp_path, monkeypatch):
    monkeypatch.setattr("brainseg_engine.evaluation.evaluate", lambda *a, **k: pytest.fail("it scored"))
    result = call("evaluate", *masks, "--csv", tmp_path)
    assert (result.exit_code, "it is a folder" in result.stderr) == (OutputError.exit_code, True)
    result = call("evaluate", *masks, "--split", tmp_path / "absent.csv", "--csv", tmp_path / "new" / "scores.csv")
    assert result.exit_code == InputError.exit_code
    assert "absent.csv" in result.stderr
    assert not (tmp_path / "new").exists()


def test_evaluate_keeps_the_table_whole_in_a_narrow_window(masks, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    result = call("evaluate", *masks)
    assert max(map(len, result.stdout.splitlines())) <= 60
    assert "mean of 2" in result.stdout
    assert "…" not in result.stdout


def test_evaluate_tells_more_when_verbose(masks, tmp_path):
    plain, verbose = call("evaluate", *masks), call("evaluate", *masks, "-v")
    assert plain.stdout == verbose.stdout
    assert plain.stderr == ""
    assert "A_seg.nii.gz" in "".join(verbose.stderr.split())


def test_evaluate_writes_a_csv(masks, tmp_path):
    assert call("evaluate", *masks, "--csv", tmp_path / "new" / "scores.csv").exit_code == 0
    lines = (tmp_path / "new" / "scores.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["case", "A", "B", "mean"]


def test_evaluate_scores_one_part_of_a_split(masks, tmp_path):
    split = tmp_path / "split.csv"
    split.write_text("case,split\nA,train\nB,validation\n")
    assert set(json.loads(call("evaluate", *masks, "--split", split, "--json").stdout)["cases"]) == {"B"}
    train = call("evaluate", *masks, "--split", split, "--subset", "train", "--json")
    assert set(json.loads(train.stdout)["cases"]) == {"A"}
    result = call("evaluate", *masks, "--split", split, "--subset", "test")
    assert result.exit_code == InputError.exit_code
    assert "train, validation" in result.stderr


def test_evaluate_compares_two_sets_case_by_case(masks, tmp_path):
    for case, values in (("A", (0, 1, 2, 2)), ("B", (0, 1, 2, 3))):
        mask(tmp_path / "old" / f"{case}_seg.nii.gz", values)
    against = [*masks, "--against", tmp_path / "old"]
    content = json.loads(call("evaluate", *against, "--json").stdout)
    assert set(content["against"]["cases"]) == set(content["cases"]) == {"A", "B"}
    et = content["comparison"]["regions"]["ET"]["dice"]
    assert (et["n"], et["first"], et["second"], et["better"], et["equal"]) == (2, 1.0, 0.5, 1, 1)
    assert (et["low"], et["p"]) == (None, None)
    result = call("evaluate", *against, "--csv", tmp_path / "c.csv", "--plot", tmp_path / "c.png")
    assert result.exit_code == 0
    assert "masks against old, 2 cases" in result.stdout
    assert "No test was made" in " ".join(result.stdout.split())
    assert (tmp_path / "c.csv").read_text().startswith("region,metric,case,first,second,difference,")
    assert (tmp_path / "c.png").read_bytes()[1:4] == b"PNG"


def test_evaluate_complains_of_either_set(masks, tmp_path):
    mask(tmp_path / "old" / "A_seg.nii.gz")
    (tmp_path / "masks" / "A_seg.nii.gz").unlink()
    result = call("evaluate", *masks, "--against", tmp_path / "old", "--json")
    assert result.exit_code == InputError.exit_code
    assert str(tmp_path / "masks") + " for A" in result.stderr
    assert str(tmp_path / "old") + " for B" in result.stderr
    assert json.loads(result.stdout)["comparison"]["regions"]["WT"]["dice"]["n"] == 0
    assert call("evaluate", *masks, "--against", tmp_path / "old", "--allow-missing").exit_code == 0


def test_evaluate_reads_the_other_set_in_its_own_coding(masks, tmp_path):
    for case in "AB":
        mask(tmp_path / "old" / f"{case}_seg.nii.gz", (0, 2, 1, 3))
    result = call("evaluate", *masks, "--against", tmp_path / "old", "--against-coding", "decathlon", "--json")
    assert json.loads(result.stdout)["comparison"]["regions"]["TC"]["dice"]["second"] == 1.0
    result = call("evaluate", *masks, "--against", tmp_path / "old", "--json")
    assert json.loads(result.stdout)["comparison"]["regions"]["TC"]["dice"]["second"] < 1.0


def test_evaluate_names_sets_of_one_name_by_their_paths(masks, tmp_path):
    for case in "AB":
        (tmp_path / "old").mkdir(exist_ok=True)
        mask(tmp_path / "old" / "masks" / f"{case}_seg.nii.gz")
    result = call("evaluate", *masks, "--against", tmp_path / "old" / "masks")
    assert str(tmp_path / "old" / "masks") in "".join(result.stdout.split())


def test_evaluate_draws_one_set(masks, tmp_path):
    assert call("evaluate", *masks, "--plot", tmp_path / "new" / "s.png").exit_code == 0
    assert (tmp_path / "new" / "s.png").read_bytes()[1:4] == b"PNG"
    result = call("evaluate", *masks, "--plot", tmp_path)
    assert (result.exit_code, "scores.png" in result.stderr) == (OutputError.exit_code, True)


def test_models_lists_cards_and_problems(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINSEG_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.safetensors").write_bytes(b"nothing of the kind")
    content = json.loads(call("models", "--json").stdout)
    broken = next(m for m in content["models"] if m["name"] == "broken")
    assert broken["card"] is None
    assert "broken.safetensors" in broken["problem"]
    assert not broken["default"]
    assert content["folder"] == str(tmp_path / "models")
    listing = call("models").stdout
    assert "broken" in listing
    assert "unusable" in listing


def test_models_shows_what_a_person_should_know(monkeypatch, tmp_path):
    from brainseg_engine.core.study import Modality
    from brainseg_engine.models import ModelInfo
    from brainseg_engine.models.checkpoint import Card

    card = Card(
        name="ours",
        recipe="baseline",
        modalities=(Modality.T1CE, Modality.FLAIR),
        regions=("WT", "ET"),
        parameters=4_700_000,
        licence="research use only",
        known_failures=("skull left on", "tumours in the [brain stem]"),
        scores={"WT": {"dice": 0.8765, "hd95_mm": 6.28}, "ET": {"dice": None, "hd95_mm": None}},
        scores_on="8 cases",
        training_cases=30,
    )
    models = [
        ModelInfo("broken", tmp_path / "broken.safetensors", None, True, "It is damaged."),
        ModelInfo("ours", tmp_path / "ours.safetensors", card, True),
    ]
    monkeypatch.setattr("brainseg_engine.models.installed", lambda: models)
    monkeypatch.setattr("brainseg_engine.models.registry.installed", lambda: models)
    monkeypatch.setenv("COLUMNS", "200")
    listing = call("models").stdout
    for shown in ("ours (bundled, used unless another is named)", "broken (bundled)", "It is damaged.", "T1ce, FLAIR",
                 "4.7 million", "30 cases", "WT: Dice 0.876, HD95 6.3 mm; ET: not measured (on 8 cases)", "research use only",
                 "- skull left on", "[brain stem]"):  # fmt: skip
        assert shown in listing
    shown = json.loads(call("models", "--json").stdout)["models"]
    assert [m["default"] for m in shown] == [False, True]
    assert shown[1]["card"] == card.model_dump(mode="json")
