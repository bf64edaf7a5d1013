"""What each objective does to attention and to denoising, on samples that were held out.

    python benchmarks/objectives.py [--seeds 1 2 3] [--config '{"num_steps": 400}']

All runs start from the same model, take the same steps, and see the same held-out samples with the
same noise. They are runs of the flow `finetune` on the pocket world's data set, so whatever was
computed before is not computed again.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.manifest import Manifest

ARMS = {
    "denoising alone": {"token_weight": 0.0, "pixel_weight": 0.0},
    "paper": {"variant": "paper"},
    "released": {"variant": "released"},
}
FIGURES = ("inside", "denoising")


def train(
    seeds: Sequence[int],
    changes: Mapping[str, Any] | None = None,
    arms: Mapping[str, dict[str, Any]] = ARMS,
    curate_changes: Mapping[str, Any] | None = None,
) -> dict[str, list[Manifest]]:
    """The fine-tuned models of each arm, one a seed.

    Args:
        seeds: Of the trainings.
        changes: Other fields of `finetune`, for all arms.
        arms: What each changes in `finetune.objective`.
        curate_changes: Other fields of `curate`, for another data set than the pocket profile's.
    """
    # Prefect reads it when it is imported.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    from flows.curate import curate
    from flows.finetune import finetune
    from flows.local_server import local_server
    from tasks.stage import open_store

    changes = changes or {}
    models: dict[str, list[Manifest]] = {arm: [] for arm in arms}
    with local_server():
        dataset = curate(CurateConfig.load("pocket", **(curate_changes or {}))).dataset
        for seed in seeds:
            for arm, objective in arms.items():
                changed = {**changes.get("objective", {}), **objective}
                config = FinetuneConfig.model_validate(
                    {"profile": "pocket", **changes, "seed": seed, "objective": changed}
                )
                manifest = open_store().find(finetune(dataset, config, arm.replace(" ", "-")).key)
                assert manifest is not None
                models[arm].append(manifest)
    return models


def print_scores(
    study: str, seeds: Sequence[int], arms: Mapping[str, dict[str, Any]], **changes: Any
) -> None:
    """Print the tables of `ablate` for the models of `train`, beside the base model.

    Args:
        study: Its name.
        seeds: Of the trainings.
        arms: What each changes in `finetune.objective`; the first is what others are held to.
        changes: Sections of the profile that differ, as `train` was given them.
    """
    from data_schemas.configs.ablate_config import AblateConfig
    from flows.ablate import ablate
    from flows.local_server import local_server
    from flows.print_results import print_ablation

    variants: list[dict[str, Any]] = [{"label": "frozen", "frozen": True}]
    for arm, objective in arms.items():
        changed = {"objective": objective}
        variants.append({"label": arm, "reference": len(variants) == 1, "changes": changed})
    config = AblateConfig.load(
        "pocket", seeds=list(seeds), run=[study], studies={study: variants}, **changes
    )
    with local_server():
        print_ablation(ablate(config))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--config", type=json.loads, default={}, help="changes of `finetune`")
    options = parser.parse_args()
    models = train(options.seeds, options.config)
    config = FinetuneConfig.load("pocket", **options.config)
    print(
        f"\n{config.num_steps} steps of {config.batch_size}, seeds {options.seeds},"
        " mean (deviation)"
    )
    print(f"{'held-out samples':18}" + "".join(f"{name:>18}" for name in FIGURES))
    before = models["paper"][0].facts
    cells = "".join(f"{before[f'{name} (held out, before)']:18.4f}" for name in FIGURES)
    print(f"{'before':18}{cells}")
    for arm, runs in models.items():
        cells = ""
        for name in FIGURES:
            values = [run.facts[f"{name} (held out, after)"] for run in runs]
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            cells += f"{f'{statistics.mean(values):.4f} ({deviation:.4f})':>18}"
        print(f"{arm:18}{cells}")


if __name__ == "__main__":
    main()
