"""The house as a reader meets it: a name says one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("training/brainseg_engine", "napari_brainseg")


def modules():
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def test_each_class_has_a_name_of_its_own():
    homes = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(homes) > 300
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_display_axes_alone_changes_the_order_of_axes_in_the_window():
    # (coordinates before the points they are of, as scipy wants them, are no axes of an image)
    by_hand = re.compile(r"transpose\(|moveaxis(?!.*, -1, 0\))|swapaxes|rollaxis|\[\.\.\., ::-1\]|\[2, 1, 0")
    found = {str(path.relative_to(ROOT)) for path in modules() if by_hand.search(path.read_text(encoding="utf-8"))}
    assert {path for path in found if path.startswith("napari_brainseg")} == {"napari_brainseg/display/axes.py"}
