"""Whether nouns attend to their own objects or to any: base model and each objective, held out.

    python benchmarks/own_object.py [--seeds 1 2 3]

The models are those of `benchmarks/objectives.py`, and are not trained again. Samples, noise and
noise levels are those of the validation of `finetune`. In the first table count the nouns of
captions with several grounded objects:

own, others     share of a noun's attention on its own object, and on the others of its caption
preference      attention a cell on its own, over the sum of that and attention a cell on the
                others: 0.5 if the model does not tell the objects apart

The second has the preference by noise level (a timestep of 1000), over all layers and over those
of the decoder at 8x8. The third has `inside`, as `finetune` measures it, of the same models over
each set of layers that the ablation supervises: how much of a difference between such variants is
the measure's.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from objectives import train
from torch import Tensor

from data_schemas.configs.ablate_config import AblateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.manifest import Manifest
from tokencompose_core.attention.layers import layer_key
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.objectives.own_object import measure_own_object
from tokencompose_core.objectives.phrase_tokens import PhraseTokens, token_maps
from tokencompose_core.objectives.tokencompose import Grids, Maps
from tokencompose_core.training.encode_shard import EncodedSamples, read_encoded, select_samples
from tokencompose_core.training.order import held_out_keys
from tokencompose_core.training.validate import TIMESTEPS, validate_unet

ABLATION = AblateConfig.load("pocket")
POCKET = FinetuneConfig.load("pocket")
LAYERS = {
    variant.label: ABLATION.finetune_config(variant, 1).objective.layers
    for variant in ABLATION.studies["layers"]
}


def measure(model: Path, samples: EncodedSamples) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Means of own, others and preference, by layer or noise level; and `inside` by layer set."""
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
    noise_scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    side = samples.latents_mean.shape[-1]
    found: dict[str, list[Tensor]] = defaultdict(list)

    def record(maps: Maps, tokens: PhraseTokens, grids: Grids) -> dict[str, Tensor]:
        for name, captured in maps.items():
            attention = token_maps(captured, tokens).mean(dim=1)
            one = measure_own_object(attention, grids[captured.shape[2]], tokens)
            layer = layer_key(unet, name, side)
            for key in ("all", layer, f"all, {timestep}", f"{layer}, {timestep}"):
                found[key].append(torch.stack([one.own, one.others, one.preference]))
        return {}

    for timestep in TIMESTEPS:
        validate_unet(
            unet,
            noise_scheduler,
            samples,
            record,
            layers=POCKET.objective.layers,
            timesteps=[timestep],
        )
    inside = {
        label: validate_unet(unet, noise_scheduler, samples, lambda *_: {}, layers=layers)["inside"]
        for label, layers in LAYERS.items()
    }
    return {key: torch.cat(values, dim=1).mean(dim=1) for key, values in found.items()}, inside


def spread(values: Sequence[float], *, digits: int = 3) -> str:
    """The mean over seeds, with the lowest and the highest."""
    mean = sum(values) / len(values)
    return f"{mean:.{digits}f} ({min(values):.{digits}f}, {max(values):.{digits}f})"


def print_tables(
    models: Mapping[str, Sequence[Manifest]], base_model: Path, seeds: Sequence[int]
) -> None:
    """Print all tables.

    Args:
        models: Trained by each arm, one a seed.
        base_model: That they were trained from.
        seeds: Of the trainings.
    """
    from tasks.stage import open_store

    store = open_store()
    one, *_ = models.values()
    inputs = [store.find(key) for key in one[0].inputs if key.startswith("encode-")]
    samples = read_encoded([store.path(own) for own in inputs if own is not None])
    held_out = select_samples(samples, held_out_keys(samples.keys, POCKET.validation_fraction))
    rows = {"before": [measure(base_model, held_out)]} | {
        arm: [measure(store.path(own) / "model", held_out) for own in trained]
        for arm, trained in models.items()
    }
    keys = [key for key in rows["before"][0][0] if "," not in key]
    width = max(17, *(len(arm) + 1 for arm in rows))
    print(f"\nheld-out nouns beside others, seeds {seeds}, mean over seeds (lowest, highest)")
    print(f"{'':{width}}{'own':>7}{'others':>8}  preference:" + "".join(f"{k:>22}" for k in keys))
    for arm, runs in rows.items():
        own, others, _ = torch.stack([shares["all"] for shares, _ in runs]).mean(dim=0)
        cells = (spread([float(shares[k][2]) for shares, _ in runs]) for k in keys)
        print(f"{arm:{width}}{own:7.3f}{others:8.3f}{'':13}" + "".join(f"{c:>22}" for c in cells))
    levels = [f"{key}, {timestep}" for key in ("all", "up_8") for timestep in TIMESTEPS]
    print(f"\n{'preference at':{width}}" + "".join(f"{level:>11}" for level in levels))
    for arm, runs in rows.items():
        means = (torch.stack([shares[level][2] for shares, _ in runs]).mean() for level in levels)
        print(f"{arm:{width}}" + "".join(f"{float(mean):11.3f}" for mean in means))
    print(f"\n{'inside, over':{width}}" + "".join(f"{label:>22}" for label in LAYERS))
    for arm, runs in rows.items():
        cells = (spread([inside[label] for _, inside in runs]) for label in LAYERS)
        print(f"{arm:{width}}" + "".join(f"{c:>22}" for c in cells))


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    seeds = parser.parse_args().seeds
    print_tables(train(seeds), require(POCKET.base_model), seeds)


if __name__ == "__main__":
    main()
