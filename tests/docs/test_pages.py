"""The pages of the site: their programs run, and what they say comes out.

Pages with a test of their own elsewhere are named in `ELSEWHERE`.
"""

import fnmatch
import importlib
import linecache
import re
import runpy
import warnings
from itertools import pairwise
from pathlib import Path

import pytest

import isotherm.errors
from tests import programs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = {"clusters", "new_backend", "new_transition", "coming_from", "errors"}
PEERS = {"torchebm", "blackjax", "numpyro", "emcee"}


def programs_of(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(program, folder):
    path = folder / "program.py"
    path.write_text(program, "utf-8")
    return programs.run(path, folder).splitlines()


def said(program):
    """What the comments say that its prints print: beside them, or on the lines that follow."""
    return re.findall(
        r"(?:^ *print\(.*\)  |^)# (?=[\d(<[]|True$|False$)(.*)$", program, re.MULTILINE
    )


PAGES = sorted(
    path.stem
    for path in DOCS.glob("*.md")
    if path.stem not in ELSEWHERE and programs_of(path.read_text("utf-8"))
)


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_run_and_print_what_is_said(page, tmp_path):
    if page == "getting_started":
        pytest.importorskip("torch")
    program = "\n".join(programs_of((DOCS / f"{page}.md").read_text("utf-8")))
    printed = run(program, tmp_path)
    assert [line for line in said(program) if line not in printed] == []


def test_every_page_is_run_somewhere():
    everywhere = {path.stem for path in DOCS.glob("*.md") if programs_of(path.read_text("utf-8"))}
    assert {*PAGES} | ELSEWHERE == everywhere


def test_errors_say_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "errors.md").read_text("utf-8")
    setup, *rest = programs_of(text)
    names = {"__name__": "errors"}
    exec(setup, names)
    pairs = re.findall(r"^```python\n([^`]*)^```\n\n```text\n(.*)\n```", text, re.MULTILINE)
    assert len(pairs) == len(rest) >= 15
    raised_here = {sentence.partition(":")[0] for _, sentence in pairs}
    names_of_all = {name for name in vars(isotherm.errors) if name.endswith(("Error", "Warning"))}
    assert {name for name in names_of_all if f"| `{name}` |" not in text} == {"IsothermError"}
    assert names_of_all - raised_here == {"IsothermError", "ExtraNotInstalledError"}
    for program, sentence in pairs:
        if "import torch" in program and importlib.util.find_spec("torch") is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # So that an error of a formula can show its line.
            lines = program.splitlines(keepends=True)
            linecache.cache["errors.md"] = (len(program), None, lines, "errors.md")
            with pytest.raises((Exception, Warning)) as raised:
                exec(compile(program, "errors.md", "exec"), names)
        pattern = re.sub(r"([\[\]?*])", r"[\1]", sentence).replace("...", "*")
        assert fnmatch.fnmatchcase(f"{raised.type.__name__}: {raised.value}", pattern)


def test_every_sentence_is_on_its_page():
    tool = runpy.run_path(str(ROOT / "tools/sentences.py"))
    names = {name for name in vars(isotherm.errors) if name.endswith(("Error", "Warning"))}
    page = tool["page"]()
    assert {name for name in names if f"## {name}\n" not in page} == {"IsothermError"}
    # Those of a call, a module's constant, and a function that makes the text.
    for text in (
        "- `` give x, where the chains start, or dim, the number of coordinates of a chain ``",
        "- `` … of the proposals were accepted, so that chains hardly move; take a smaller",
        "- `` too few steps to tell whether the pilots agree; take a larger n_warmup ``",
        "- `` plots need matplotlib, which is not installed; pip install 'isotherm[plot]' ``",
    ):
        assert text in page
    assert page.count("\n- ``") > 300


def sections():
    text = (DOCS / "coming_from.md").read_text("utf-8")
    return dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("library", sections())
def test_the_programs_side_by_side_run(library, tmp_path):
    theirs, ours = programs_of(sections()[library])
    peer = PEERS & {*re.findall(r"\w+", library.lower())}
    if any(map(importlib.util.find_spec, peer)):
        run(theirs, tmp_path)
    if "torch" in ours:
        pytest.importorskip("torch")
    run(ours, tmp_path)


@pytest.mark.parametrize(
    "module",
    [
        "isotherm", "isotherm.backend", "isotherm.math", "isotherm.plot", "isotherm.testing",
        "isotherm.transitions", "isotherm_cupy", "isotherm_numba", "isotherm_torch",
    ],
)  # fmt: skip
def test_every_public_name_is_in_the_reference(module):
    if module.startswith("isotherm_"):
        pytest.importorskip(module)
    page = (DOCS / "api.rst").read_text("utf-8")
    there = importlib.import_module(module)
    own = [name for name, held in vars(there).items() if getattr(held, "__module__", "") == module]
    public = {name for name in getattr(there, "__all__", own) if name[0] != "_"}
    listed, current = set(), ""
    for line, following in pairwise([*page.splitlines(), ""]):
        if set(following) == {"-"}:  # a heading ends what was before
            current = ""
        elif line.startswith((".. currentmodule:: ", ".. py:module:: ")):
            current = line.rpartition(" ")[2]
        elif current == module:
            listed |= {*re.findall(r"^   (\w+)$", line), *re.findall(r"``(\w+)``", line)}
            listed |= {*re.findall(r"(?<!`)`isotherm\.(?:\w+\.)*(\w+)`", line)}
    modules = {"math", "transitions"}  # each has a section of its own
    assert public - listed - modules == set()
    assert not [name for name in listed if not hasattr(there, name)]
