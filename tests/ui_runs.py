"""Runs whose pages the UI's tests look at: `python -m tests.ui_runs <folder of a drawn set>`."""

import json
import sys
from pathlib import Path

from data_schemas.configs.evaluate_config import EvaluateConfig
from flows.curate import curate
from flows.evaluate import evaluate
from flows.inspect_sample import inspect_sample
from tasks.model_under_test import ModelUnderTest
from tests.flows.conftest import DrawnSet

HOSTILE = "900 | <img src=x onerror=alert(1)> [day](javascript:alert(2)).jpg"


def main(folder: Path) -> None:
    """Curate a drawn set, and once more damaged and with another threshold; evaluate; inspect."""
    lines = (folder / "captions.jsonl").read_text("utf-8").splitlines()
    drawn = DrawnSet(folder, [json.loads(line) for line in lines])
    first = curate(drawn.config(), return_state=True)
    second = curate(drawn.config(**drawn.damage(HOSTILE)), return_state=True)
    sampled = {"kind": "sampled", "categories": ["cat", "boat"], "num_prompts": 2, "num_objects": 1}
    evaluate(
        [ModelUnderTest(label="base", name="pocket:stable_diffusion")],
        EvaluateConfig.load(
            benchmarks=["multigen"],
            multigen={"pocket": {"num_images_per_prompt": 1, "prompts": sampled | {"seed": 1}}},
            sampler={"num_inference_steps": 1, "height": 32, "width": 32},
            device="cpu",
        ),
    )
    inspect_sample("900 |")
    inspect_sample("003")
    runs = [str(state.state_details.flow_run_id) for state in (first, second)]
    (folder / "runs.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
