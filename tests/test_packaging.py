"""What is published: the wheel, its page, the recipe for conda-forge, the workflows."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = {"isal": "python-isal", "matplotlib": "matplotlib-base", "torch": "pytorch"}
"""PyPI's name → conda-forge's, where they differ by more than case."""


def run(*command: object, **more) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=280, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling is not installed: the wheel is NOT tested")
    pytest.importorskip(
        "hatch_fancy_pypi_readme", reason="hatch-fancy-pypi-readme is not installed: the wheel is NOT tested"
    )
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", out)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_runs_where_no_checkout_is(wheel, tmp_path):
    """In an environment of its own, to which this one lends the libraries but not its own installation of the package."""
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    bin_ = home / ("Scripts" if os.name == "nt" else "bin")
    python = bin_ / "python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (own / "lent.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p) + "\n")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
    )
    run(*pip, wheel, env=env)
    program = bin_ / "napari-brainseg"
    assert run(program, "--version", env=env, cwd=tmp_path).split() == ["napari-brainseg", PROJECT["version"]]
    files = "import brainseg_engine, napari_brainseg as n; print(brainseg_engine.__file__, n.__file__)"
    where = run(python, "-c", files, env=env, cwd=tmp_path)
    assert all(Path(p).is_relative_to(own) for p in where.split())
    run(python, "-m", "npe2", "validate", "napari-brainseg", env=env, cwd=tmp_path)
    said = run(program, "demo", "--no-window", "--out", tmp_path / "demo", env=env, cwd=tmp_path)
    assert "WT" in said and list((tmp_path / "demo").rglob("*_seg.nii.gz"))


@pytest.mark.slow
def test_the_page_of_the_release_has_all_its_pictures_and_links(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        told = email.message_from_bytes(archive.read(name))
        inside = set(archive.namelist())
    page = told.get_payload()
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert links and all(re.match(r"https?://|#", link) for link in links)
    assert [link for link in links if link.endswith(".png")] == re.findall(r"https://raw\S+?\.png", page)
    urls = dict(u.split(", ", 1) for u in told.get_all("Project-URL", []))
    assert urls["Documentation"] + "/" == _mkdocs("site_url") and urls["Homepage"] == _mkdocs("repo_url")
    for link in links:  # what it names of the repository is there
        path = re.sub(
            r"^https://(?:raw\.githubusercontent|github)\.com/[^/]+/[^/]+/(?:blob/)?main/", "", link
        ).partition("#")[0]
        assert path.startswith(("http", "#")) or not path or (ROOT / path).exists(), link
    assert {"napari_brainseg/napari.yaml", "brainseg_engine/models/bundled/brats-baseline.safetensors"} <= inside
    assert not [n for n in inside if n.startswith(("tests", "benchmarks", "docs"))]


def _mkdocs(key: str) -> str:
    return re.search(rf"^{key}: (\S+)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)[1]


def test_the_recipe_for_conda_asks_for_what_the_project_needs():
    text = (ROOT / "conda/recipe.yaml").read_text(encoding="utf-8")
    needed = text.partition("  run:")[2].partition("  run_constraints:")[0]
    listed = dict(re.findall(r"^    - ([\w-]+) (\S+)$", needed, re.MULTILINE))
    wanted = {}
    for need in PROJECT["dependencies"]:
        name, bounds = re.fullmatch(r"([\w-]+)(.*)", need).groups()
        wanted[CONDA.get(name, name.lower())] = bounds
    assert listed == wanted
    assert f'version: "{PROJECT["version"]}"' in text
    assert f"napari-brainseg = {PROJECT['scripts']['napari-brainseg']}" in text


@pytest.mark.slow
def test_the_recipe_renders():
    rattler = pytest.importorskip(
        "rattler_build", reason="py-rattler-build is not installed: the recipe is NOT rendered"
    )
    (made,) = rattler.Stage0Recipe.from_file(ROOT / "conda/recipe.yaml").render(rattler.VariantConfig())
    told = made.recipe.to_dict()
    assert told["package"] == {"name": "napari-brainseg", "version": PROJECT["version"]}
    assert told["build"]["noarch"] == "python" and len(told["requirements"]["run"]) == len(PROJECT["dependencies"]) + 1


@pytest.mark.slow
def test_the_workflows_are_what_github_understands():
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: the workflows are NOT checked")
    files = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert len(files) == 2
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *files)


def test_what_the_workflows_run_is_there():
    steps = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / ".github/workflows").glob("*.yml"))
    goals = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"docs", *re.search(r"goal: \[([\w, -]+)\]", steps)[1].split(", ")} <= goals
    assert {f"[{extra}]" for extra in re.findall(r"\[([\w,]+)\]'", steps)} == {"[app,dicom,test,lint]"}
    assert {"app", "dicom", "test", "lint"} <= set(PROJECT["optional-dependencies"])
