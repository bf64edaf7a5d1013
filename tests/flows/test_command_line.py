"""What the command line says about a config that cannot be."""

import json

import pytest

from flows.__main__ import main


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"finetune": {"num_step": 100}}, "finetune.num_step"),
        ({"curate": {"mask": {"box_threshold": 1.5}}}, "curate.mask.box_threshold"),
        ({"evaluate": {"prompts": {"num_prompts": "many"}}}, "num_prompts"),
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
    assert capsys.readouterr().err == "source.csv.caption_column: Field required\n"


def test_import_asks_for_the_masks_and_knows_no_profile(capsys):
    config = {"metadata_path": "metadata.jsonl", "profile": "paper"}
    assert main(["import-masks", "--config", json.dumps(config)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["masks_dir: Field required", "profile: Extra inputs are not permitted"]


def test_profile_that_is_not_there_is_named_with_those_that_are(capsys):
    assert main(["reproduce", "--profile", "papr"]) == 2
    error = capsys.readouterr().err
    assert "papr" in error
    assert "paper, pocket" in error
