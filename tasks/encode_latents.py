"""Stage `encode`: what training needs of a shard and no step changes."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.manifest import Manifest
from tasks.cards import close_stage
from tasks.devices import Device, resolve_device
from tasks.kept_models import keep_last
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tasks.write_shards import SHARD_NAME
from tokencompose_core.checkpoints.locate import identity, local_or_hub
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.rejections import write_rejections


class EncodeSpec(Spec):
    """A shard to encode with the frozen parts of a Stable Diffusion.

    Layers and prompts decide nothing of the output, only whether there shall be any.
    """

    stage: ClassVar[str] = "encode"
    version: ClassVar[int] = 3

    shard: Input
    part: str
    base_model: str
    base_revision: str
    resolution: int
    mask_reduction: Literal["coverage", "antialiased", "released"]
    layers: tuple[str, ...]
    prompts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    batch_size: int
    device: Device

    def parts(self) -> dict[str, Any]:
        """The shard, the model, and the geometry."""
        return {
            "shard": self.shard.digest,
            "model": identity(self.base_model, self.base_revision),
            "resolution": self.resolution,
            "mask_reduction": self.mask_reduction,
        }

    @property
    def title(self) -> str:
        """Stage and partition."""
        return f"encode {self.part}"


@keep_last
def _frozen_parts(
    name: str,
    revision: str,
    content: str,
    resolution: int,
    layers: tuple[str, ...],
    prompts: tuple[tuple[str, tuple[str, ...]], ...],
    device: str,
):
    """The sides of the attention maps, and the pipeline without its UNet.

    The model's content sees to it that one which has changed is loaded again.
    """
    from tokencompose_core.training.base_model import check_base_model, load_frozen_parts

    model = local_or_hub(name)
    sides = check_base_model(
        model, revision=revision, resolution=resolution, layers=layers, prompts=prompts
    )
    return sides, load_frozen_parts(model, revision=revision, device=device)


@task(name="encode-latents", **STAGE_OPTIONS)
def encode_partition(spec: EncodeSpec) -> Manifest | State:
    """Encode images, captions and masks of a shard.

    Reads: `shard.tar`.
    Writes: `encoded.safetensors` (posterior of the VAE, text states and what else the UNet takes,
        the same of the empty caption, masks at the sides of the attention maps) and
        `samples.json` (keys, captions, token positions).
    Rejects: phrases that the crop cuts away or that lie beyond the text encoder's limit.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.nouns.token_positions import cut_spans
        from tokencompose_core.shards.read_shard import read_shard
        from tokencompose_core.training.encode_captions import tokenizers_of
        from tokencompose_core.training.encode_shard import encode_samples, write_encoded

        device = resolve_device(spec.device)
        sides, pipeline = _frozen_parts(
            spec.base_model,
            spec.base_revision,
            identity(spec.base_model, spec.base_revision),
            spec.resolution,
            spec.layers,
            spec.prompts,
            device,
        )
        samples = list(read_shard(spec.shard.path(store) / SHARD_NAME))
        encoded, rejections = encode_samples(
            samples,
            pipeline,
            resolution=spec.resolution,
            sides=sides,
            reduction=spec.mask_reduction,
            batch_size=spec.batch_size,
        )
        write_encoded(folder, encoded)
        tokenizer = tokenizers_of(pipeline)[0]
        cut = sum(sum(cut_spans(tokenizer, s.caption, s.spans)) for s in samples)
        return {
            "num_in": len(samples),
            "num_out": len(encoded.keys),
            "rejected": write_rejections(folder, rejections),
            "facts": {
                "phrases": sum(len(phrases) for phrases in encoded.positions),
                "phrases_partly_beyond_text_limit": cut,
            },
        }

    return reuse_or_publish(spec, write, {spec.shard.key: spec.shard.digest})


def encode_latents(shards: list[Input], config: FinetuneConfig) -> list[Input]:
    """Encode every shard."""
    specs = [
        EncodeSpec(
            shard=shard,
            part=f"part-{number:05d}",
            base_model=config.base_model,
            base_revision=config.base_revision,
            resolution=config.resolution,
            mask_reduction=config.mask_reduction,
            layers=tuple(config.objective.layers),
            prompts=config.prompts_and_nouns,
            batch_size=config.encode_batch_size,
            device=config.device,
        )
        for number, shard in enumerate(shards)
    ]
    outcomes = run_stage(encode_partition, specs)
    close_stage(outcomes, "latents")
    return [Input.of(outcome.manifest) for outcome in outcomes]
