"""docs/python.md says what researchers can call: every block of it runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.mark.slow
def test_every_block_runs_after_the_one_before(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 12
    space: dict[str, object] = {"__name__": "page"}
    for n, block in enumerate(blocks, start=1):
        exec(compile(block, f"{PAGE.name}, block {n}", "exec"), space)
    said = capsys.readouterr().out
    assert "one pass" in said and "'done'" in said and said.rstrip().endswith("[0, 0]\n[0, 0]")
    assert len(list(Path("masks").glob("*_seg.nii.gz"))) == len(list(Path("parts").glob("*_seg.nii.gz"))) == 4
