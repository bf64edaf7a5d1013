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

from data_schemas.configs.finetune_config import FinetuneConfig

ARMS = {
    "denoising alone": {"token_weight": 0.0, "pixel_weight": 0.0},
    "paper": {"variant": "paper"},
    "released": {"variant": "released"},
}
FIGURES = ("inside", "denoising")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--config", type=json.loads, default={}, help="changes of `finetune`")
    options = parser.parse_args()
    # Prefect reads it when it is imported.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    from flows.curate import curate
    from flows.finetune import finetune
    from flows.local_server import local_server
    from tasks.stage import open_store

    facts: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with local_server():
        dataset = curate().dataset
        for seed in options.seeds:
            for arm, objective in ARMS.items():
                changed = {**options.config.get("objective", {}), **objective}
                config = FinetuneConfig.model_validate(
                    {"profile": "pocket", **options.config, "seed": seed, "objective": changed}
                )
                model = finetune(dataset, config, arm.replace(" ", "-"))
                manifest = open_store().find(model.key)
                assert manifest is not None
                facts[arm].append(manifest.facts)
    print(
        f"\n{config.num_steps} steps of {config.batch_size}, seeds {options.seeds},"
        " mean (deviation)"
    )
    print(f"{'held-out samples':18}" + "".join(f"{name:>18}" for name in FIGURES))
    before = facts["paper"][0]
    cells = "".join(f"{before[f'{name} (held out, before)']:18.4f}" for name in FIGURES)
    print(f"{'before':18}{cells}")
    for arm, runs in facts.items():
        cells = ""
        for name in FIGURES:
            values = [run[f"{name} (held out, after)"] for run in runs]
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            cells += f"{f'{statistics.mean(values):.4f} ({deviation:.4f})':>18}"
        print(f"{arm:18}{cells}")


if __name__ == "__main__":
    main()
