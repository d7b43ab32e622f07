"""Known models: fetched from a server of the test's own, resumed, refused with another hash, brought by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from helpers import peers
from helpers.file_server import file_server
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import Cancelled, CheckpointError, InputError
from brainseg_engine.core.paths import home, models_home
from brainseg_engine.models import catalogue, fetching, upkeep
from brainseg_engine.models.catalogue import KnownModel


@pytest.fixture
def server():
    with file_server() as running:
        yield running


@pytest.fixture
def packed(tmp_path):
    """A bundle that can be imported, in an archive's bytes."""
    import shutil

    from monai.networks.nets import SegResNet

    folder = peers.bundle(tmp_path / "bundle")
    net = SegResNet(blocks_down=[1, 2], blocks_up=[1], init_filters=8, in_channels=4, out_channels=3, dropout_prob=0.2)
    torch.save(net.state_dict(), folder / "models" / "model.pt")
    return Path(shutil.make_archive(str(tmp_path / "x"), "zip", folder)).read_bytes()


def entry(data, **changes):
    told = {"name": "some", "title": "Some", "url": "https://nowhere.example/a/b.zip", "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "licence": "CC-BY-NC 4.0"}  # fmt: skip
    return KnownModel(**{**told, **changes})


def listed(tmp_path, *entries):
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"format": catalogue.FORMAT, "models": [e.model_dump() for e in entries]}))
    catalogue.update(path)


def run(*words, input=None):
    return CliRunner().invoke(app, ["models", *words], input=input)


def test_a_model_is_fetched_checked_and_installed(server, packed, tmp_path):
    server.files["/a/b.zip"] = packed
    listed(tmp_path, entry(packed))
    said = run("install", "some", "--mirror", server.mirror, "--accept")
    assert said.exit_code == 0, said.output
    assert "CC-BY-NC" in said.output and "not for commercial use" in run("show", "some").output
    assert (models_home() / "some.safetensors").is_file() and not list((home() / "downloads").glob("*.zip"))
    assert "sound" in run("verify", "some").output
    again = run("install", "some", "--mirror", server.mirror, "--accept")
    assert again.exit_code == 4 and "already" in again.output


def test_nothing_happens_without_a_yes(server, packed, tmp_path):
    server.files["/a/b.zip"] = packed
    listed(tmp_path, entry(packed))
    said = run("install", "some", "--mirror", server.mirror)
    assert said.exit_code == 3 and "--accept" in said.output
    assert not server.asked and not models_home().exists()


def test_a_fetch_that_was_cut_off_goes_on_there(server, packed):
    server.files["/a/b.zip"], server.cut = packed, 5000
    known = entry(packed)
    with pytest.raises(InputError, match=r"goes on there|is kept"):
        fetching.fetched(known, server.mirror)
    assert fetching.fetched(known, server.mirror).read_bytes() == packed
    assert server.asked == ["", "bytes=5000-"]


def test_a_cancelled_fetch_goes_on_too(server, packed):
    data = packed + bytes(10 * fetching._BLOCK)
    server.files["/a/b.zip"], known = data, entry(data)
    seen = []
    with pytest.raises(Cancelled):
        fetching.fetched(known, server.mirror, progress=seen.append, cancelled=lambda: len(seen) > 2)
    assert fetching.fetched(known, server.mirror).read_bytes() == data
    assert server.asked[1].startswith("bytes=") and 0 < seen[0].fraction < 1


@pytest.mark.parametrize(
    ("change", "words"),
    [({"sha256": "0" * 64}, "is not 'some'"), ({"size": 10}, "sends more"), ({"size": 10**7}, "has .* bytes")],
)
def test_what_is_not_what_was_meant_is_not_installed(change, words, server, packed, tmp_path):
    server.files["/a/b.zip"] = packed
    known = entry(packed, **change)
    with pytest.raises(InputError, match=words):
        fetching.fetched(known, server.mirror)
    assert not (home() / "downloads" / "some.zip").exists()
    if change.get("sha256"):
        (tmp_path / "by_hand.zip").write_bytes(packed)
        listed(tmp_path, known)
        said = run("install", "some", "--from-file", str(tmp_path / "by_hand.zip"), "--accept")
        assert said.exit_code == 3 and not models_home().exists()


def test_no_network_is_said_with_what_helps(packed):
    with pytest.raises(InputError, match="--from-file"):
        fetching.fetched(entry(packed), "http://127.0.0.1:9")


def test_a_proxy_of_the_environment_is_used(server, packed, monkeypatch):
    monkeypatch.setenv("http_proxy", server.mirror)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.files["http://mirror.invalid/a/b.zip"] = packed  # what a proxy is asked for
    assert fetching.fetched(entry(packed), "http://mirror.invalid").read_bytes() == packed


def test_a_server_without_the_file_is_told_of(server, packed):
    with pytest.raises(InputError, match="404"):
        fetching.fetched(entry(packed), server.mirror)


def test_brought_by_hand_nothing_is_fetched(packed, tmp_path):
    listed(tmp_path, entry(packed, sha256="", size=0, hash_from="not known"))
    (tmp_path / "by_hand.zip").write_bytes(packed)
    said = run("install", "some", "--from-file", str(tmp_path / "by_hand.zip"), "--accept")
    assert said.exit_code == 0 and hashlib.sha256(packed).hexdigest() in said.output


def test_the_shipped_list_is_sound_and_survives_a_bad_own_one(tmp_path):
    shipped = catalogue.known()
    assert {"monai-brats", "auto3dseg-brats-gli"} <= {k.name for k in shipped}
    assert all(k.hash_from for k in shipped)
    home().mkdir(parents=True, exist_ok=True)
    (home() / "known-models.json").write_text("{")
    assert catalogue.known() == shipped
    (tmp_path / "bad.json").write_text('{"format": "x", "models": []}')
    with pytest.raises(InputError, match="no list of models"):
        catalogue.update(tmp_path / "bad.json")


def test_a_model_that_changed_on_disk_is_told_of(packed, tmp_path):
    listed(tmp_path, entry(packed))
    (tmp_path / "by_hand.zip").write_bytes(packed)
    run("install", "some", "--from-file", str(tmp_path / "by_hand.zip"), "--accept")
    path = models_home() / "some.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = torch.tensor([0.5]).numpy().tobytes()
    path.write_bytes(data)
    said = run("verify", "some")
    assert said.exit_code == 5 and "not the one that was installed" in said.output


def test_a_model_is_taken_away_and_the_bundled_one_is_not(packed, tmp_path):
    listed(tmp_path, entry(packed))
    (tmp_path / "by_hand.zip").write_bytes(packed)
    run("install", "some", "--from-file", str(tmp_path / "by_hand.zip"), "--accept")
    assert run("remove", "some").exit_code == 3
    assert run("remove", "some", "--yes").exit_code == 0
    assert not (models_home() / "some.safetensors").exists()
    with pytest.raises(CheckpointError, match="not installed"):
        upkeep.remove("some")
    bundled = next((m.name for m in __import__("brainseg_engine").models.installed() if m.bundled), None)
    if bundled is not None:
        with pytest.raises(CheckpointError, match="stays"):
            upkeep.remove(bundled)
