"""What the command line prints in the end leads on to the next command."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data_schemas.configs.curate_config import CurateConfig
from flows.print_results import print_model, print_reach, print_set
from flows.shown_command import shown_command
from tasks.draw_dataset_card import CuratedSet
from tasks.stage import Input
from tests.conftest import ROOT

OWN = {"kind": "image_folder", "images_dir": "photos"}


@pytest.mark.parametrize(
    ("profile", "option"), [("pocket", ""), ("my own.toml", " --profile 'my own.toml'")]
)
def test_the_next_command_takes_the_same_profile(profile, option, capsys):
    made = CuratedSet(dataset="dataset-v1-00", report_path="/store/card/report.html")
    print_set(made, profile)
    assert f"finetune dataset-v1-00 --label mine{option}\n" in capsys.readouterr().out
    stored = Input(key="finetune-v3-00", digest="0", name="model/")
    print_model(stored, "mine", "a/b", profile)
    expected = f"evaluate base=a/b mine=finetune-v3-00{option}\n"
    assert expected in capsys.readouterr().out


def test_who_brings_images_hears_what_the_pocket_models_know(capsys):
    print_reach(CurateConfig.load("pocket"))
    print_reach(CurateConfig.load("paper", source=OWN))
    assert capsys.readouterr().out == ""
    print_reach(CurateConfig.load("pocket", source=OWN))
    assert "drawings of sixteen things" in capsys.readouterr().out


def test_the_next_command_runs_where_it_is_pasted(capsys):
    print_set(CuratedSet(dataset="dataset-v1-00", report_path="/store/card/report.html"))
    command = capsys.readouterr().out.splitlines()[-1].partition("train ")[2].strip()
    # A shell in which no environment is active.
    ran = subprocess.run(
        f"{command} --help", shell=True, cwd=ROOT, env={"PATH": "/nowhere"}, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr
    assert b"key of the data set" in ran.stdout


def test_an_interpreter_below_the_working_directory_is_named_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my env/bin/python"))
    assert shlex.split(shown_command("gc")) == ["my env/bin/python", "-m", "flows", "gc"]
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert shown_command("gc") == "/usr/bin/python3 -m flows gc"
