"""Commands in README and docs are taken as they stand there, settings included."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_schemas.configs.ablate_config import AblateConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.configs.operate_config import GcConfig, LineageConfig, VerifyConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from flows.command_line import parse_arguments

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS: dict[str, Any] = {
    "reproduce": ReproduceConfig,
    "curate": CurateConfig,
    "plan": CurateConfig,
    "register-captions": CurateConfig,
    "retry-rejected": CurateConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "compare": EvaluateConfig,
    "ablate": AblateConfig,
    "import-masks": ImportMasksConfig,
    "gc": GcConfig,
    "verify": VerifyConfig,
    "lineage": LineageConfig,
}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# With what it takes: the name of a command alone is a mention of it.
_INLINE = re.compile(r"`\.venv/bin/python -m flows ([^\s`]+ [^`]+)`")
_COMMAND = re.compile(r"^(?:\$ )?\.venv/bin/python -m flows (.*)")


def commands_of(text: str) -> Iterator[str]:
    for line in _INLINE.findall(text):
        yield line
    for _, block in _BLOCK.findall(text):
        lines = block.splitlines()
        for number, line in enumerate(lines):
            if found := _COMMAND.match(line):
                yield "\n".join([found[1], *lines[number + 1 :]])


def words_of(command: str) -> list[str]:
    """The words of the first command of a text: it goes on while a quote or a line is open."""
    lines = command.splitlines()
    for end in range(1, len(lines) + 1):
        text = "\n".join(lines[:end])
        if not text.endswith("\\"):
            try:
                return shlex.split(text.replace("\\\n", " "), comments=True)
            except ValueError:  # an open quote
                continue
    raise AssertionError(f"this command never ends: {command}")


COMMANDS = [
    pytest.param(words, id=f"{page.stem}-{number}-{words[0]}")
    for page in PAGES
    for number, command in enumerate(commands_of(page.read_text("utf-8")))
    if "{...}" not in (words := words_of(command))
]


def test_commands_are_found():
    assert {one.values[0][0] for one in COMMANDS} > {
        "reproduce",
        "curate",
        "finetune",
        "evaluate",
        "gc",
        "ablate",
        "inspect",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_name_an_interpreter_that_a_shell_finds(page: Path):
    assert not re.findall(r"^.*(?<!\.venv/bin/)python -m flows .*$", page.read_text("utf-8"), re.M)


@pytest.mark.parametrize("words", COMMANDS)
def test_command_and_its_settings_are_taken(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for page in PAGES:
        for language, block in _BLOCK.findall(page.read_text("utf-8")):
            if language == "toml" and (name := re.match(r"# (\w+\.toml)", block)):
                (tmp_path / name[1]).write_text(block)
    monkeypatch.chdir(tmp_path)
    options = parse_arguments(words)
    values = dict(options.values)
    if options.command in ("evaluate", "compare"):
        values = {"profile": values["profile"], **values.get("config", {})}
    if options.command in CONFIGS:
        CONFIGS[options.command].model_validate(values)
