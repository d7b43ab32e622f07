"""The documentation site is built without a warning, from the pages and from the code."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from brainseg_engine.cli import COMMANDS

pytest.importorskip("mkdocs", reason="mkdocs is not installed: the documentation site is NOT tested")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.led: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {v for k, v in attrs if k in ("id", "name") and v}
        self.led += [given[k] for k in ("href", "src") if given.get(k)]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / "mkdocs.yml", "-d", out]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_link_and_picture_of_the_site_is_there(site):
    pages = {page: Links(page.read_text(encoding="utf-8")) for page in site.rglob("*.html") if page.name != "404.html"}
    assert len(pages) > 20
    for page, links in pages.items():
        for link in links.led:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{page.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{page.relative_to(site)}: {link}"


def test_the_references_are_made_from_the_code(site):
    def text(page: str) -> str:
        return html.unescape(re.sub(r"<[^>]+>", "", (site / page / "index.html").read_text(encoding="utf-8")))

    cli, api = text("cli"), text("api")
    assert all(f"napari-brainseg {name}" in cli for name in COMMANDS) and "a mask <id>_seg.nii.gz each" in cli
    for name in ("predict", "Predictor", "load_study", "Grid", "hd95", "DeviceError"):
        assert re.search(rf"\b{name}\b", api), name
    assert "fonts.googleapis" not in (site / "index.html").read_text(encoding="utf-8")
