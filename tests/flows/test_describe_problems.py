"""What the command line says of fields that are not there, or hold what they may not."""

import json

import pytest

from flows.__main__ import main


@pytest.mark.parametrize(
    ("flow", "config", "message"),
    [
        ("curate", {"captionset": "x"}, "captionset: no such field; did you mean caption_set?"),
        (
            "curate",
            {"batch_size": 3},
            'batch_size: no such field here; it belongs inside "mask", "parse" or "rank":'
            ' {"mask": {"batch_size": 3}}',
        ),
        (
            "curate",
            {"source": {"delimiter": ";"}},
            'source.delimiter: no such field of kind "pocket"; kinds with delimiter are csv; say'
            ' which, as {"kind": "csv"}',
        ),
        (
            "curate",
            {"source": {"imagedir": "."}},
            'source.imagedir: no such field of kind "pocket"; kinds with images_dir are vsr_coco,'
            " coco_captions, json, csv, parquet, image_folder, webdataset; say which, as"
            ' {"kind": "vsr_coco"}',
        ),
        (
            "curate",
            {"source": {"kind": "jsn"}},
            "source.kind: there is no 'jsn'; it is one of pocket, vsr_coco, coco_captions, json,"
            " csv, parquet, image_folder, webdataset",
        ),
        (
            "curate",
            {"source": {"kind": "json", "paths": ["s3://bucket/c.json"], "images_dir": "."}},
            "source.paths.0: 's3://bucket/c.json' is a URL; caption files have to be on this"
            " machine",
        ),
        (
            "curate",
            {"source": {"kind": "json", "paths": ["c.json"], "images_dir": "s3://me:pw@bucket"}},
            "source.images_dir: 's3://***@bucket' is a URL; the folder has to be on this machine."
            " Images behind URLs are named in the image column",
        ),
        (
            "evaluate",
            {"models": [{"label": "x", "name": "x"}], "benchmarks": ["visor"]},
            'benchmarks: no such field here; it belongs inside "config":'
            ' {"config": {"benchmarks": ["visor"]}}',
        ),
        (
            "evaluate",
            {"models": [{"label": "x", "name": "x", "stord": "y"}]},
            "models.0.stord: no such field; did you mean stored?",
        ),
        (
            "evaluate",
            {
                "models": [{"label": "x", "name": "x"}],
                "config": {"multigen": {"pocket": {"prompts": {"num_prompt": 3}}}},
            },
            "config.multigen.pocket.prompts.num_prompt: no such field; did you mean num_prompts?",
        ),
        (
            "finetune key",
            {"config": {"num_steps": 3}},
            "config: no such field; give what is inside it without it",
        ),
        (
            "finetune key",
            {"finetune": {"num_steps": 3}},
            'finetune: no such field; give what is inside it without it: {"num_steps": 3}',
        ),
        (
            "plan",
            {"curate": {"mask": {"box_threshold": 0.3}}},
            "curate: no such field; give what is inside it without it:"
            ' {"mask": {"box_threshold": 0.3}}',
        ),
        (
            "evaluate base=x",
            {"evaluate": {"benchmarks": ["visor"]}},
            'evaluate: no such field; it is called "config" here:'
            ' {"config": {"benchmarks": ["visor"]}}',
        ),
        (
            "curate",
            {"mask.box_threshold": 0.3},
            'mask.box_threshold: no such field; write it nested: {"mask": {"box_threshold": 0.3}}',
        ),
        (
            "finetune key",
            {"finetune.objective.token_weight": 0.1},
            "finetune.objective.token_weight: no such field; give what is inside it without it:"
            ' {"objective": {"token_weight": 0.1}}',
        ),
        (
            "evaluate base=x",
            {"sampler.seed": 3},
            'sampler.seed: no such field here; it belongs inside "config":'
            ' {"config": {"sampler": {"seed": 3}}}',
        ),
        ("ablate", {"seed": [3]}, 'seed: no such field here; it belongs inside "finetune":'),
    ],
)
def test_field_that_is_not_there_is_answered_with_what_is(flow, config, message, capsys):
    assert main([*flow.split(), "--config", json.dumps(config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("flow", "config", "message"),
    [
        (
            "finetune key",
            {"objective": {"layers": ["middle"]}},
            'objective.layers.0: it cannot be "middle". Cross-attention that is supervised: down,'
            " mid or up, or one resolution of it, up_16.",
        ),
        (
            "curate",
            {"caption_set": "My Set"},
            'caption_set: it cannot be "My Set". Name of the set, for its cards: small letters,'
            " digits and hyphens.",
        ),
        (
            "ablate",
            {"studies": {"A B": []}},
            'studies.A B: it cannot be "A B". Tables of variants by name: small letters, digits'
            " and hyphens.",
        ),
    ],
)
def test_text_that_cannot_be_is_answered_with_what_the_field_takes(flow, config, message, capsys):
    assert main([*flow.split(), "--config", json.dumps(config)]) == 2
    assert capsys.readouterr().err == message + "\n"
