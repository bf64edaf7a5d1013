"""Habits of the house that no other tool checks."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("flows", "tasks", "tokencompose_core", "data_schemas")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_says_what_it_is_about_and_stays_short(path: Path):
    text = path.read_text("utf-8")
    assert path.stem not in BANNED
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))


def test_packages_hold_nothing_but_their_docstring():
    for path in FILES:
        if path.name == "__init__.py" and path.parent.name != "profiles":
            assert len(ast.parse(path.read_text()).body) == 1, path


def test_task_docstrings_say_what_is_written():
    for path in (ROOT / "tasks").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(d, ast.Call) and getattr(d.func, "id", "") == "task"
                for d in node.decorator_list
            ):
                assert "Writes:" in (ast.get_docstring(node) or ""), f"{path.name}: {node.name}"


def test_no_task_takes_an_iterator_or_a_list_of_data():
    """Prefect reads arguments element by element, and empties what can be read once only."""
    for path in (ROOT / "tasks").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(d, ast.Call) and getattr(d.func, "id", "") == "task"
                for d in node.decorator_list
            ):
                assert [argument.arg for argument in node.args.args] == ["spec"], node.name


def test_flows_are_short_and_loop_over_no_samples():
    for path in (ROOT / "flows").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            decorated = isinstance(node, ast.FunctionDef) and any(
                isinstance(d, ast.Call) and getattr(d.func, "id", "") == "flow"
                for d in node.decorator_list
            )
            if decorated:
                assert node.end_lineno - node.lineno <= 40, node.name
                assert ast.get_docstring(node)


def test_flows_that_have_nothing_to_do_wait_for_no_library_of_models():
    flows = ("reproduce", "curate", "finetune", "evaluate", "register_captions", "backfill")
    code = "; ".join(f"import flows.{name}" for name in flows)
    code += "; import sys; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_top_level_holds_no_stray_package():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {*PACKAGES, "tests"}


def test_targets_of_make_are_commands_whose_scripts_are_there():
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    assert sorted(phony) == sorted(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert {"bench-train-gpu", "bench-curate-gpu", "bench-evaluate-gpu"} <= set(phony)
    scripts = re.findall(r"/python (benchmarks/\S+\.py)", text)
    assert all((ROOT / script).is_file() for script in scripts)


def test_no_file_holds_a_path_of_a_machine_or_a_registry():
    pattern = re.compile(r"/(?:home|root|work|Users)/\w|pypi\.|files\.pythonhosted")
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".lock", ".json", ".html", ""}:
            match = pattern.search(path.read_text("utf-8", errors="ignore"))
            assert match is None or path == Path(__file__), f"{path}: {match}"


def test_lock_covers_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    locked = {
        re.split(r"[=\s;]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
    }
    names = {re.split(r"[<>=!\s\[]", name)[0].lower().replace("_", "-") for name in wanted}
    assert names <= locked, names - locked
    assert "opencv-python" not in locked


def test_weights_of_the_pocket_world_stay_small():
    folder = ROOT / "tokencompose_core/pocket/models"
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert size <= 45e6
