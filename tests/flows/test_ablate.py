import re
from collections import Counter
from pathlib import Path

import pytest

from data_schemas.configs.ablate_config import AblateConfig
from tasks.benchmarks import list_compositions

SMALL = {
    "seeds": [1],
    "run": ["objectives", "masks"],
    "studies": {
        "objectives": [
            {"label": "frozen", "frozen": True, "published": {"MG3": 50.74}},
            {"label": "both"},
        ],
        "masks": [{"label": "coverage", "changes": {"mask_reduction": "coverage"}}],
    },
    "curate": {
        "source": {"kind": "pocket", "seed": 8, "num_images": 40, "num_damaged": 0},
        "select": {"partition_size": 16},
    },
    "finetune": {
        "num_steps": 2,
        "batch_size": 2,
        "validation_prompts": [],
        "validation_every_steps": 0,
    },
    "evaluate": {
        "multigen": {"pocket": {"num_images_per_prompt": 1, "prompts": {"num_prompts": 3}}},
        "sampler": {"num_inference_steps": 2},
    },
}
LINE = re.compile(r"^(\w+) +(\d+) (Completed|Cached|Reused) ", re.MULTILINE)


@pytest.mark.usefixtures("prefect_server")
def test_another_seed_costs_its_own_trainings_and_images_only(
    store_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.ablate import ablate

    first = ablate(AblateConfig.load(**SMALL))
    made = Counter(
        stage for stage, _, state in LINE.findall(capsys.readouterr().out) if state == "Completed"
    )
    # The masks of one study are those of the other, so there is one training, and the base model.
    assert (made["finetune"], made["generate"], made["detect"], made["score"]) == (1, 2, 2, 2)
    (columns, frozen, published, both), differences = first.tables["objectives"]
    assert columns[:3] == ["variant", "seeds", "images"]
    row = dict(zip(columns, frozen, strict=True))
    assert (row["variant"], row["seeds"], row["images"]) == ("frozen", "1", "3")
    assert dict(zip(columns, published, strict=True))["MG3"] == "50.74"
    assert differences[0][0] == "difference to frozen"
    assert differences[1][0] == "both"
    assert both[1] == "1"
    # Of the same trainings and images.
    assert first.tables["masks"][0][1][3] == both[3]
    assert Path(first.report_path).is_file()

    second = ablate(AblateConfig.load(**{**SMALL, "seeds": [1, 2]}))
    made = Counter(
        stage for stage, _, state in LINE.findall(capsys.readouterr().out) if state == "Completed"
    )
    assert (made["curate"], made["mask"], made["encode"]) == (0, 0, 0)
    assert (made["finetune"], made["generate"], made["detect"], made["score"]) == (1, 1, 1, 1)
    assert second.tables["objectives"][0][3][1:3] == ["2", "6"]
    # Of several seeds a cell has their deviation; of one it has not.
    frozen, tuned = second.tables["objectives"][0][1], second.tables["objectives"][0][3]
    assert re.fullmatch(r"\d+\.\d \[.*\]", frozen[3])
    assert re.fullmatch(r"\d+\.\d \(\d+\.\d\) \[.*\]", tuned[3])
    page = Path(second.report_path).read_text()
    config = AblateConfig.load(**SMALL).evaluate_config
    assert f"images of each: 1, digest {list_compositions(config)[0].digest[:12]}." in page
    assert "Detector: owlv2" in page
    assert "Training seeds: 1, 2." in page
    assert re.search(r"Models: base sha256:\w{12}; both, seed 1 \w{12}", page)
    assert "both" in page
    assert "<script" not in page
