"""What the command line says about a config that cannot be."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from flows.__main__ import main
from flows.command_line import parse_arguments
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"finetune": {"num_step": 100}}, "finetune.num_step"),
        ({"curate": {"mask": {"box_threshold": 1.5}}}, "curate.mask.box_threshold"),
        (
            {"evaluate": {"multigen": {"pocket": {"prompts": {"num_prompts": "many"}}}}},
            "num_prompts",
        ),
    ],
)
def test_field_that_cannot_be_is_named_without_a_traceback(change, named, capsys):
    assert main(["reproduce", "--config", json.dumps(change)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert named in lines[0]


def test_source_that_lacks_a_column_is_refused_without_a_traceback(capsys):
    source = {"kind": "csv", "paths": ["captions.csv"], "images_dir": ".", "image_column": "file"}
    assert main(["curate", "--config", json.dumps({"source": source})]) == 2
    assert capsys.readouterr().err == "source.caption_column: Field required\n"


def test_import_asks_for_the_masks_and_knows_no_profile(capsys):
    config = {"metadata_path": "metadata.jsonl", "profile": "paper"}
    assert main(["import-masks", "--config", json.dumps(config)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["masks_dir: Field required", lines[1]]
    assert lines[1].startswith("profile: no such field; there are black_masks, caption_set, card,")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("flow", "config"),
    [
        (["inspect", "cat", "--dataset", "other"], {}),
        (["inspect"], {"sample": "cat", "dataset": "other"}),
        (["changes", "other"], {}),
        (["changes"], {"after": "other"}),
    ],
)
def test_flows_without_a_profile_look_into_the_store(flow, config, capsys, store_dir):
    assert main([*flow, "--config", json.dumps(config)]) == 1
    assert "has no data set yet" in capsys.readouterr().err


def test_deploy_without_a_server_says_so(capsys):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert main(["deploy"]) == 1
    assert "make serve" in capsys.readouterr().err


def test_profile_that_is_not_there_is_named_with_those_that_are(capsys):
    assert main(["reproduce", "--profile", "papr"]) == 2
    error = capsys.readouterr().err
    assert "papr" in error
    assert "paper, pocket" in error


@pytest.mark.parametrize(
    ("flow", "config", "message"),
    [
        ("evaluate", {"models": []}, "models: List should have at least 1 item"),
        ("compare", {"a": {"label": "base", "name": "x"}}, "b: Field required"),
        (
            "compare",
            {"a": {"label": "x", "name": "x"}, "b": {"label": "y", "stored": "finetune-v1-0"}},
            "b.stored: the store",
        ),
        (
            "evaluate",
            {"models": [{"label": "x", "name": "x"}], "config": {"sampler": {"steps": 3}}},
            "config.sampler.steps: no such field; there are batch_size,",
        ),
    ],
)
def test_models_that_cannot_be_are_named(flow, config, message, capsys, store_dir):
    assert main([flow, "--config", json.dumps(config)]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_models_are_given_by_label():
    assert parse_arguments(["evaluate", "sd=org/name", "own=finetune-v3-0a"]).values == {
        "profile": "pocket",
        "models": [
            {"label": "sd", "name": "org/name"},
            {"label": "own", "stored": "finetune-v3-0a"},
        ],
    }
    config = '{"config": {"benchmarks": ["visor"]}}'
    assert parse_arguments(["compare", "a=x", "b=./y=z", "--config", config]).values == {
        "profile": "pocket",
        "a": {"label": "a", "name": "x"},
        "b": {"label": "b", "name": "./y=z"},
        "config": {"benchmarks": ["visor"]},
    }


def released(folder: Path) -> list[str]:
    """Two prompts and what was detected in two images of each, as MultiGen's code writes it."""
    entry = {"num_objects": 2, "obj_1_attributes": ["cat"], "obj_2_attributes": ["cup"], "text": ""}
    prompts, first, second = (folder / f"{name}.json" for name in ("prompts", "0", "1"))
    prompts.write_text(json.dumps([{**entry, "unique_id": i} for i in range(2)]))
    both = {"classes": ["cup", "cat"], "scores": [0.5, 0.11]}
    one = {"classes": ["cat", "cup"], "scores": [0.5, 0.1]}
    first.write_text(json.dumps({"0_0": both, "0_1": both}))
    second.write_text(json.dumps({"1_0": one, "1_1": both}))
    return ["--prompts", str(prompts), "--detections", str(first), str(second)]


def test_released_detections_are_scored(tmp_path, capsys):
    arguments = ["score-released", *released(tmp_path), "--num-images-per-prompt", "2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    # 1 of 2 images, then 2 of 2.
    assert "MG2     75.00       25.00   35.36  50.00 to 100.00" in printed.splitlines()
    (tmp_path / "seen").mkdir()
    for path in arguments[4:6]:
        shutil.copy(path, tmp_path / "seen")
    folder = [*arguments[:4], str(tmp_path / "seen"), *arguments[6:]]
    assert main(folder) == 0
    assert capsys.readouterr().out == printed
    assert main([*arguments, "--threshold", "0.05"]) == 0
    assert "MG2    100.00        0.00    0.00  100.00 to 100.00" in capsys.readouterr().out


def test_released_detections_of_one_round_have_no_deviation(tmp_path, capsys):
    prompts = released(tmp_path)[1]
    seen = {f"{i}_0": {"classes": ["cup", "cat"], "scores": [0.5, 0.11]} for i in range(2)}
    path = tmp_path / "once.json"
    path.write_text(json.dumps(seen))
    arguments = ["--prompts", prompts, "--detections", str(path), "--num-images-per-prompt", "1"]
    assert main(["score-released", *arguments]) == 0
    assert "MG2    100.00           -       -  100.00 to 100.00" in capsys.readouterr().out


def test_released_detections_of_too_few_images_are_refused(tmp_path, capsys):
    assert main(["score-released", *released(tmp_path)]) == 1
    assert "16 missing [(0, 2)" in capsys.readouterr().err


def test_released_detections_of_classes_that_no_prompt_has_are_refused(tmp_path, capsys):
    arguments = ["score-released", *released(tmp_path), "--num-images-per-prompt", "2"]
    path = tmp_path / "1.json"
    path.write_text(path.read_text().replace('"cat"', '"a photo of a cat"'))
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert f"{path}: image '1_0' has class 'a photo of a cat', which is no" in captured.err
    assert "MG2" not in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["curate", "cat"], "unrecognized arguments: cat"),
        (["curate", "--deep"], "unrecognized arguments: --deep"),
        (["gc", "--profile", "paper"], "unrecognized arguments: --profile paper"),
        (["curate", "--config", '{"mask": {}'], "this is no JSON, Expecting ',' delimiter"),
        (["curate", "--config", "[1]"], 'expected an object, {"field": value}: [1]'),
        (["inspect"], "say which: part of a key"),
        (["evaluate", "pocket:stable_diffusion"], "expected LABEL=MODEL"),
        (["compare", "a=x"], "compare takes two models"),
        (["compare"], "say which models, as LABEL=MODEL"),
        (["evaluate"], "say which models, as LABEL=MODEL"),
        (["evaluate", "a=x", "--config", '{"models": []}'], "LABEL=MODEL or as JSON, not both"),
        (["finetune"], "required: dataset"),
        (["score-released"], "required: --prompts, --detections"),
        (["tune"], "invalid choice: 'tune'"),
    ],
)
def test_what_a_command_does_not_take_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_without_a_command_all_are_listed(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["flows"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert re.findall(r"^    ([a-z-]+)", capsys.readouterr().out, re.MULTILINE) == ALL


ALL = [
    *("reproduce", "curate", "plan", "finetune", "evaluate", "compare", "ablate"),
    *("register-captions", "import-masks", "retry-rejected", "inspect", "changes"),
    *("gc", "verify", "lineage", "train-pocket", "pocket-report", "score-released"),
    *("ui", "serve", "deploy", "stop"),
]


@pytest.mark.parametrize("command", ALL)
def test_each_command_says_what_it_takes(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: python -m flows {command}" in capsys.readouterr().out


@pytest.mark.usefixtures("prefect_server")
def test_finetune_of_an_unknown_data_set_is_refused(capsys, store_dir):
    assert main(["finetune", "dataset-v1-0", "--config", '{"num_steps": 3}']) == 1
    assert "dataset-v1-0" in capsys.readouterr().err


def json_set(folder: Path, **changes: Any) -> str:
    """A config that names a caption file of eight rows, none of whose images is there."""
    path = folder / "captions.jsonl"
    rows = [{"img_path": f"wrong/{i}.jpg", "caption": "A cat."} for i in range(8)]
    path.write_text("\n".join(map(json.dumps, rows)))
    source = {"kind": "json", "paths": [str(path)], "images_dir": str(folder), **changes}
    return json.dumps({"caption_set": "photos", "source": source})


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"caption_column": "text"}, r".*captions\.jsonl has no column 'text', but .*"),
        (
            {},
            r"select: 8 of 8 samples were left out (?:.*\n  image-missing .*){5}\nAll .*\nMend .*",
        ),
    ],
)
def test_what_a_person_can_mend_is_said_without_a_traceback(changes, message, tmp_path, store_dir):
    """In a process of its own: Prefect writes to the console that it was started with."""
    url = str(get_current_settings().api.url)
    ran = subprocess.run(
        [sys.executable, "-m", "flows", "curate", "--config", json_set(tmp_path, **changes)],
        env=os.environ | {"PREFECT_API_URL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 1
    said = [line for line in ran.stderr.splitlines() if not line.startswith("select ")]
    assert re.fullmatch(message, "\n".join(said))
