"""What the documentation site has besides the pages in this folder: made when ``mkdocs`` runs (``make docs``).

README, CONTRIBUTING and CHANGELOG become pages, the command line's reference is made from the commands and the Python API's
from the public names. Links to what is no page lead to the repository; one that leads nowhere fails the build (``--strict``).
"""

from __future__ import annotations

import posixpath
import re
import textwrap
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""File beside this folder → the page it becomes."""
MODULES = {
    "Studies and their files": ("core.study", "core.geometry", "core.labels", "io"),
    "Segmenting": (
        "inference.predictor",
        "inference.ensemble",
        "inference.batch",
        "inference.cluster",
        "remote.predictor",
    ),
    "Doubt and corrections": ("inference.uncertainty", "edits", "propagate", "corrections"),
    "Measuring": ("scores.volumes", "scores.overlap", "scores.diameters", "evaluation"),
    "Training": ("recipe", "dataset", "train", "finetune"),
    "Models": ("models", "models.checkpoint"),
    "What can go wrong": ("core.errors", "core.events"),
}
_LINK = re.compile(r"(\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(\))|(<img [^>]*src=\")(?!\w+:)([^\"]+)(\")")

_EXAMPLES = re.compile(r"(?:^  (?! )\S.*\n)+", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for source, page in PAGES.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, "cli.md", content=commands()))
    files.append(File.generated(config, "api.md", content=api()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have every link lead to a page, or to the repository."""
    made = {p: s for s, p in PAGES.items()}
    there = page.file.src_uri
    folder = "" if there in made else posixpath.join("docs", posixpath.dirname(there))

    def led(target: str) -> str:
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (ROOT / path).exists():
            raise PluginError(f"{made.get(there, there)}: {target} leads nowhere")
        if path in PAGES:
            return posixpath.relpath(PAGES[path], posixpath.dirname(there) or ".")
        inside = path.removeprefix("docs/")
        if path.startswith("docs/") and files.get_file_from_path(inside) is not None:
            return posixpath.relpath(inside, posixpath.dirname(there) or ".")
        return f"{config.repo_url}/blob/main/{path}"

    def rewritten(found: re.Match[str]) -> str:
        if found[5]:
            return f"{found[5]}{led(found[6])}{found[7]}"
        return f"{found[1]}{led(found[2])}{found[3] or ''}{found[4]}"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.DOTALL | re.MULTILINE)  # code is shown as it is
    return "".join(part if part.startswith("```") else _LINK.sub(rewritten, part) for part in parts)


def commands() -> str:
    """Every command with its options, as its help tells them."""
    from typer import Context
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from brainseg_engine.cli import app
    from brainseg_engine.cli.dispatch import PROGRAM

    program = get_command(app)
    text = get_docs_for_click(obj=program, ctx=Context(program, info_name=PROGRAM), name=PROGRAM, title="Command line")
    text = re.sub(r"\[/?(?:bold|dim)\]", "", text)
    text = _EXAMPLES.sub(lambda found: f"\n```bash\n{textwrap.dedent(found[0])}```\n", text)
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", text, flags=re.DOTALL | re.MULTILINE)  # elsewhere <id> is no tag
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def api() -> str:
    """The public modules, each with its public names."""
    lines = [
        "# Python API",
        "",
        "The names of `brainseg_engine` itself are made from these; [from Python](python.md) shows them at work.",
        "",
    ]
    for title, modules in MODULES.items():
        lines += [f"## {title}", ""]
        lines += [f"::: brainseg_engine.{name}\n" for name in modules]
    return "\n".join(lines)
