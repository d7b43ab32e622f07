"""`napari-brainseg figure`."""

from __future__ import annotations

import subprocess

import numpy as np
from helpers.cases import write
from helpers.small_study import make_study
from PIL import Image
from typer.testing import CliRunner

from brainseg_engine.cli import app


def frames(path) -> list[np.ndarray]:
    with Image.open(path) as gif:
        found = []
        for i in range(gif.n_frames):
            gif.seek(i)
            found.append(np.asarray(gif.convert("RGB")).astype(int))
        return found


def test_a_key_image_a_sweep_and_a_turn(tmp_path):
    folder = write(make_study(id="A"), tmp_path)
    done = CliRunner().invoke(app, ["figure", str(folder), "--out", str(tmp_path / "out"), "--kind", "key,sweep,turn"])
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"A_key.png", "A_sweep.gif", "A_turn.gif"}
    seen, turned = frames(tmp_path / "out" / "A_sweep.gif"), frames(tmp_path / "out" / "A_turn.gif")
    assert len(seen) > 5 and len(turned) == 24
    coloured = [int((np.ptp(f, axis=-1) > 60).sum()) for f in seen]
    assert max(coloured) > 500 and min(coloured) == 0  # the tumour is in some slices, not in all
    assert (turned[6] != turned[0]).mean() > 0.01


def test_films_as_mp4(tmp_path):
    import imageio_ffmpeg

    folder = write(make_study(id="A"), tmp_path)
    done = CliRunner().invoke(
        app, ["figure", str(folder), "--out", str(tmp_path / "out"), "--kind", "sweep", "--film", "mp4"]
    )
    assert done.exit_code == 0, done.output
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["A_sweep.mp4"]
    film = tmp_path / "out" / "A_sweep.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(film), "-vf", "scale=64:64",
               "-pix_fmt", "gray", "-f", "rawvideo", "-"]  # fmt: skip
    seen = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8).reshape(-1, 64, 64)
    assert len(seen) > 5 and seen.std() > 10 and not np.array_equal(seen[0], seen[len(seen) // 2])


def test_an_unknown_kind_is_one_sentence(tmp_path):
    folder = write(make_study(id="A"), tmp_path)
    done = CliRunner().invoke(app, ["figure", str(folder), "--out", str(tmp_path / "out"), "--kind", "film"])
    assert done.exit_code != 0 and "film" in done.output and "turn" in done.output
