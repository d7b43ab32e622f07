"""Files of anybody's at the importers' doors: whatever they carry, nothing of it runs, and nothing is written elsewhere."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import zipfile

import pytest
import torch
from helpers import peers
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.paths import models_home
from brainseg_engine.models.importers import ImportOptions, import_foreign


class Calls:
    """Unpickled, it would make a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def bundle_with(tmp_path, mark):
    folder = peers.bundle(tmp_path / "b")
    torch.save({"model": {"w": torch.zeros(1)}, "evil": Calls(mark)}, folder / "models" / "model.pt")
    return folder


def nnunet_with(tmp_path, mark):
    folder = tmp_path / "T__P__3d_fullres"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(peers.nnunet_plans()))
    (folder / "dataset.json").write_text(json.dumps(peers.nnunet_dataset()))
    tree = {"network_weights": {"w": torch.zeros(1)}, "logging": Calls(mark)}
    torch.save(tree, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def checkpoint_with(tmp_path, mark):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"swinViT.patch_embed.proj.weight": torch.zeros(1)}, "evil": Calls(mark)}, path)
    return path


def old_pickle_with(tmp_path, mark):
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"state_dict": Calls(mark)}, protocol=2))
    return path


def auto3dseg_with(tmp_path, mark):
    path = tmp_path / "model.pt"
    torch.save({"config": {"network": {"_target_": Calls(mark)}}, "state_dict": {}}, path)
    return path


MAKERS = [bundle_with, nnunet_with, checkpoint_with, old_pickle_with, auto3dseg_with]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("make", MAKERS)
def test_a_call_in_a_pickle_is_refused_and_never_runs(make, packed, tmp_path):
    mark = tmp_path / "ran"
    source = make(tmp_path, mark)
    if packed:
        root = source if source.is_dir() else source.parent
        shutil.make_archive(str(tmp_path.parent / "packed"), "zip", root)
        source = tmp_path.parent / "packed.zip"
    with pytest.raises(CheckpointError, match="program code"):
        import_foreign(source, ImportOptions("m"))
    assert not mark.exists() and not models_home().exists()


def test_the_mark_would_have_been_made(tmp_path):
    """The pickles do what they are meant to where they are believed."""
    source = old_pickle_with(tmp_path, tmp_path / "ran")
    pickle.loads(source.read_bytes())
    assert (tmp_path / "ran").exists()


def archive(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in entries:
            packed.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt"])
def test_an_archive_that_leads_out_is_not_unpacked(name, tmp_path):
    with pytest.raises(CheckpointError, match="lead out"):
        import_foreign(archive(tmp_path / "a.zip", [(name, "x")]), ImportOptions("m"))
    assert not (tmp_path.parent / "out.txt").exists()


def test_a_link_in_an_archive_stays_packed(tmp_path):
    link = zipfile.ZipInfo("configs")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = archive(tmp_path / "a.zip", [(link, "/etc"), ("configs/metadata.json", "{}")])
    with pytest.raises(CheckpointError):
        import_foreign(path, ImportOptions("m"))


def test_a_bomb_is_not_unpacked(tmp_path):
    path = archive(tmp_path / "a.zip", [("configs/metadata.json", bytes(256 << 20))])
    assert path.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="not to be believed"):
        import_foreign(path, ImportOptions("m"))


def test_a_file_that_grows_beyond_its_size_is_not_believed(tmp_path):
    path = archive(tmp_path / "a.zip", [("configs/metadata.json", b" " * 5000)])
    data = path.read_bytes()
    path.write_bytes(data.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(CheckpointError):
        import_foreign(path, ImportOptions("m"))


@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_what_was_cut_off_is_damaged(share, tmp_path):
    folder = peers.bundle(tmp_path / "b")
    torch.save({"w": torch.rand(10_000)}, folder / "models" / "model.pt")
    whole = (folder / "models" / "model.pt").read_bytes()
    shutil.make_archive(str(tmp_path / "a"), "zip", folder)
    packed = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(packed[: int(share * len(packed))])
    (folder / "models" / "model.pt").write_bytes(whole[: int(share * len(whole))])
    for source in (folder, tmp_path / "a.zip"):
        with pytest.raises(CheckpointError, match=r"[Ff]etch it again"):
            import_foreign(source, ImportOptions("m"))


def test_what_is_no_model_is_told_of_in_words(tmp_path):
    (tmp_path / "empty").mkdir()
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pt")
    for source in (tmp_path / "empty", tmp_path / "w.pt", tmp_path / "nothing.pt"):
        said = CliRunner().invoke(app, ["models", "import", str(source), "--name", "m"])
        assert said.exit_code == 5 and not isinstance(said.exception, CheckpointError)
        assert str(source) in said.output.replace("\n", "") and "Traceback" not in said.output


@pytest.mark.parametrize("text", ["t1,t1", "adc,t1", "t1;t2"])
def test_series_that_are_none_are_refused(text, tmp_path):
    said = CliRunner().invoke(app, ["models", "import", str(tmp_path), "--name", "m", "--series", text])
    assert said.exit_code == 3 and "--series" in said.output
