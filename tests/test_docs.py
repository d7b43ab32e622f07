"""The pages tell the truth: commands, options, imports and links that they name exist."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from brainseg_engine.cli import COMMANDS, app
from brainseg_engine.core.labels import CODINGS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")


def blocks(page: Path, language: str) -> Iterator[str]:
    for found, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield text


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every call of the program in a shell block; continued lines joined."""
    lines = [
        (page.name, line.strip())
        for page in PAGES
        for block in blocks(page, "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [(page, line) for page, line in lines if line.startswith("napari-brainseg ")]


def every_command() -> dict[str, Any]:
    """Command → click's object; "data check" for a sub-command, the group itself only where it does something alone."""
    program = get_command(app)
    found: dict[str, Any] = {}
    for name in COMMANDS:
        command = program.commands[name]  # type: ignore[attr-defined]
        if getattr(command, "invoke_without_command", True):
            found[name] = command
        found |= {f"{name} {sub}": c for sub, c in getattr(command, "commands", {}).items()}
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_line_of_the_pages_is_understood(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[1 : words.index(">")] if ">" in words else words[1:]
    known_commands = every_command()
    name = " ".join(words[:2]) if " ".join(words[:2]) in known_commands else words[0]
    assert name in known_commands, f"{page}: {line}"
    command = known_commands[name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    used = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{page}: {line}"


def test_the_reference_lists_every_command_with_every_option_and_every_coding() -> None:
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    for name, command in every_command().items():
        assert f"### {name}\n" in text
        section = text.partition(f"### {name}\n")[2].partition("\n##")[0]
        of_all = {"--verbose", "--quiet", "--log-file"}
        for parameter in command.params:
            if parameter.param_type_name == "option" and not of_all & set(parameter.opts):
                assert any(f"`{option}" in section for option in parameter.opts), f"{name} {parameter.opts}"
    for coding in CODINGS:
        assert f"`{coding}`" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_of_the_pages_compiles_and_imports_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: from {node.module} import {alias.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor in slugs, f"{page.name}: {target}"
