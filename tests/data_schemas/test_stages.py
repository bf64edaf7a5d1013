"""The list of stages is that of the tasks."""

import ast
import importlib
from collections.abc import Iterator

from data_schemas.stages import STAGES
from tests.conftest import ROOT


def stages_in(tree: ast.Module) -> Iterator[str]:
    """Values of all `stage: ClassVar[str] = ...`, without importing the models of a task."""
    imported = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target=ast.Name("stage"), value=ast.Constant(name)):
                yield name
            case ast.AnnAssign(target=ast.Name("stage"), value=ast.Name(name)):
                yield getattr(importlib.import_module(imported[name]), name)


def test_every_stage_is_listed_and_no_other():
    trees = [ast.parse(path.read_text("utf-8")) for path in ROOT.glob("tasks/*.py")]
    found = {stage for tree in trees for stage in stages_in(tree)}
    assert found == {*STAGES}
    assert list(STAGES) == sorted(STAGES)
