"""Whether nouns attend to their own objects or to any: base model and each objective, held out.

    python benchmarks/own_object.py [--seeds 1 2 3]

The models are those of `benchmarks/objectives.py`, and are not trained again. Samples, noise and
noise levels are those of the validation of `finetune`; of them count the nouns of captions with
several grounded objects.

own, others     share of a noun's attention on its own object, and on the others of its caption
preference      attention a cell on its own, over the sum of that and attention a cell on the
                others: 0.5 if the model does not tell the objects apart
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from objectives import ARMS

from data_schemas.configs.finetune_config import FinetuneConfig
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers, layer_key
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.objectives.own_object import measure_own_object
from tokencompose_core.objectives.phrase_tokens import token_maps
from tokencompose_core.training.encode_shard import EncodedSamples, read_encoded, select_samples
from tokencompose_core.training.order import held_out_keys
from tokencompose_core.training.step import batch_maker
from tokencompose_core.training.validate import TIMESTEPS

POCKET = FinetuneConfig.load("pocket")
Figures = dict[str, list[torch.Tensor]]


@torch.no_grad()
def measure(model: Path, samples: EncodedSamples) -> Figures:
    """Own, others and preference of every noun, layer and noise level, by place and resolution."""
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
    noise_scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    side = samples.latents_mean.shape[-1]
    names = cross_attention_layers(unet, POCKET.objective.layers, side)
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn((2, *samples.latents_mean.shape), generator=generator)
    batch = batch_maker(samples, unet.device)(samples.keys, [False] * len(samples.keys))
    latents = batch.mean + batch.deviation * normal[0]
    found: Figures = defaultdict(list)
    with capture_attention(unet, names) as attention:
        for timestep in TIMESTEPS:
            timesteps = torch.full((len(samples.keys),), timestep)
            attention.select(batch.tokens.columns)
            unet(
                noise_scheduler.add_noise(latents, normal[1], timesteps),
                timesteps,
                batch.encoder_hidden_states,
                added_cond_kwargs=batch.added_conditions or None,
            )
            for name, captured in attention.maps.items():
                maps = token_maps(captured, batch.tokens).mean(dim=1)
                one = measure_own_object(maps, batch.grids[captured.shape[2]], batch.tokens)
                values = torch.stack([one.own, one.others, one.preference])
                for key in ("all", layer_key(unet, name, side)):
                    found[key].append(values)
    return found


def train(seeds: list[int]) -> Iterator[tuple[str, int, Path, list[Path]]]:
    """Each model, or where it lies, and the encoded shards that it was trained on."""
    # Prefect reads it when it is imported.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    from flows.curate import curate
    from flows.finetune import finetune
    from flows.local_server import local_server
    from tasks.stage import open_store

    with local_server():
        dataset = curate().dataset
        for arm, objective in ARMS.items():
            for seed in seeds:
                config = FinetuneConfig.model_validate(
                    {"profile": "pocket", "seed": seed, "objective": objective}
                )
                store = open_store()
                model = store.find(finetune(dataset, config, arm.replace(" ", "-")).key)
                assert model is not None
                encoded = [store.find(key) for key in model.inputs if key.startswith("encode-")]
                folders = [store.path(one) for one in encoded if one is not None]
                yield arm, seed, store.path(model) / "model", folders


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    seeds = parser.parse_args().seeds
    figures: dict[str, list[Figures]] = defaultdict(list)
    for arm, _, model, encoded in train(seeds):
        samples = read_encoded(encoded)
        held_out = select_samples(samples, held_out_keys(samples.keys, POCKET.validation_fraction))
        if not figures:
            figures["before"].append(measure(require(POCKET.base_model), held_out))
        figures[arm].append(measure(model, held_out))
    keys = list(figures["before"][0])
    print(
        f"\nheld-out nouns beside other objects, seeds {seeds}, mean over seeds (lowest, highest)"
    )
    print(f"{'':18}{'own':>8}{'others':>8}  preference:" + "".join(f"{k:>22}" for k in keys))
    for arm, runs in figures.items():
        means = {k: torch.stack([torch.cat(r[k], dim=1).mean(dim=1) for r in runs]) for k in keys}
        cells = "".join(
            f"{f'{m[:, 2].mean():.3f} ({m[:, 2].min():.3f}, {m[:, 2].max():.3f})':>22}"
            for m in means.values()
        )
        own, others, _ = means["all"].mean(dim=0)
        print(f"{arm:18}{own:8.3f}{others:8.3f}{'':13}{cells}")


if __name__ == "__main__":
    main()
