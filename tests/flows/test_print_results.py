"""What the command line prints in the end leads on to the next command."""

import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from data_schemas.configs.curate_config import CurateConfig
from flows.__main__ import main
from flows.print_results import (
    print_announced,
    print_evaluation,
    print_model,
    print_reach,
    print_registered,
    print_set,
)
from flows.shown_command import shown_command
from tasks.draw_dataset_card import CuratedSet
from tasks.evaluation import Evaluation
from tasks.measure_latency import ModelLatency
from tasks.measure_quality import ModelQuality
from tasks.register_captions import RegisteredSet
from tasks.score_clip import ModelClipScore
from tasks.stage import Input
from tests.conftest import ROOT
from tests.local_servers import QuietAnswers, free_port, http_server

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


def test_a_model_called_base_is_held_to_one_of_another_label(capsys):
    print_model(Input(key="finetune-v3-00", digest="0", name="model/"), "base", "a/b", "pocket")
    assert "evaluate before=a/b base=finetune-v3-00\n" in capsys.readouterr().out


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


def evaluation_of(*labels: str) -> Evaluation:
    """All that is measured beside MultiGen and VISOR, the same for every model."""
    stored = Input(key="quality-v1-00", digest="0")
    quality = {
        "benchmark": "quality-pocket", "fid": 85.76, "kid": 5.753, "kid_deviation": 1.7,
        "num_images": 64, "num_blanked": 0, "num_reference": 64, "dimension": 4,
        "extractor": "pocket CLIP", "weights": "", "resizing": "", "num_kid_subsets": 1,
        "kid_subset_size": 1, "kid_seed": 0,
    }  # fmt: skip
    clip = {
        "benchmark": "visor", "mean": 44.8, "deviation": 18.6, "interval": None, "num_images": 64,
        "num_blanked": 0, "num_prompts": 8, "clip": "pocket CLIP", "weights": "",
        "convention": "100 cos", "scale": 100.0,
    }  # fmt: skip
    latency = {"mean": 1.1, "deviation": 0.05, "num_images": 5, "machine": "EPYC"}
    return Evaluation(
        qualities=[
            ModelQuality(label=label, generated=[], measured=stored, **quality) for label in labels
        ],
        clip_scores=[ModelClipScore(label=label, scored=stored, **clip) for label in labels],
        latencies=[ModelLatency(label=label, measured=stored, **latency) for label in labels],
    )


def test_columns_stand_below_each_other_whatever_models_are_called(capsys):
    long = "denoising + token + pixel"
    print_evaluation(evaluation_of("base", long), None)
    blocks = capsys.readouterr().out.strip().split("\n\n")
    for head, base, other in (block.splitlines() for block in blocks[:3]):
        place = head.index("images") + len("images")
        assert [line[:place].split()[-1] for line in (base, other)] in (["64"] * 2, ["5"] * 2)
        assert base.removeprefix("base").lstrip() == other.removeprefix(long).lstrip()


def test_an_evaluation_of_prompts_alone_ends_with_its_page(capsys):
    """As the profile `pocket` asks for: MultiGen, and none of what `evaluation_of` makes."""
    print_evaluation(Evaluation(report_path="/store/findings/report.html"), None)
    assert "report    /store/findings/report.html" in capsys.readouterr().out


class Healthy(QuietAnswers, BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"true")


def test_who_has_a_server_is_not_told_to_start_one(capsys):
    found = Evaluation(report_path="/store/findings/report.html")
    with http_server(Healthy) as port:
        url = f"http://127.0.0.1:{port}"
        with temporary_settings({PREFECT_API_URL: f"{url}/api"}):
            print_evaluation(found, None)
            assert f"UI        {url}/runs" in capsys.readouterr().out
            assert main(["ui"]) == 0
            assert capsys.readouterr().out == f"The UI is up already, at {url}.\n"
    url = f"http://127.0.0.1:{free_port()}"
    with temporary_settings({PREFECT_API_URL: f"{url}/api"}):
        print_evaluation(found, None)
        assert f"UI        make ui, then open {url}/runs" in capsys.readouterr().out


def test_who_starts_an_automation_by_a_command_hears_what_follows(tmp_path, capsys):
    unfollowed = tmp_path / "mine.toml"
    unfollowed.write_text("[curate]")
    with (
        http_server(Healthy) as port,
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}),
    ):
        print_announced("finetune", "pocket")
        assert "finetune follows by itself" in capsys.readouterr().out
        print_announced("finetune", str(unfollowed))
        print_announced("finetune", str(tmp_path / "gone.toml"))
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        print_announced("finetune", "pocket")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("text", "follows"), [('base = "paper"', True), ("[curate]", False)])
def test_who_registers_captions_hears_whether_something_follows(text, follows, tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    new = RegisteredSet(caption_set="a", key="k", num_images=3, is_new=True, changes={})
    print_registered(new, str(path))
    said = capsys.readouterr().out
    assert ("curate follows" in said) == follows
    assert ("no automation follows" in said) != follows
