# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_readmes_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert example.count("\n") <= 13
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102  our own text
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 21  # 20 steps and the recall
    assert len(list((tmp_path / "probewise-runs").iterdir())) == 1


def test_the_readmes_first_screen_names_both_commands():
    first = (ROOT / "README.md").read_text().splitlines()[:40]
    assert 'pip install ".[cpu]" && probewise run' in first
    assert 'pip install -e ".[cpu,test]" && pytest' in first


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_citation_has_the_packages_version():
    version = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    built = re.search(r"project\(probewise VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert version is not None
    assert built is not None
    assert version[1] == built[1]


def test_documented_options_are_those_of_the_command_line():
    from probewise.app.cli import app

    known = {name for command in app.registered_commands for name in re.findall(r"--[a-z-]+", _help(command.callback))}
    shown = set(re.findall(r"probewise [a-z]+[^`\n]*?(--[a-z-]+)", (ROOT / "README.md").read_text()))
    assert shown
    assert shown <= known


def _help(callback):
    from typer.testing import CliRunner

    from probewise.app.cli import app

    return CliRunner().invoke(app, [callback.__name__, "--help"]).output


def test_the_tutorials_python_runs(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    quick = block.replace('{"steps": 30}', '{"steps": 2}')
    assert quick != block
    exec(compile(quick, "tutorial.md", "exec"), {})  # noqa: S102  our own text
    assert (tmp_path / "graphene-1" / "summary.json").exists()
