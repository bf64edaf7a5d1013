"""Stage `attention`: where the nouns of a prompt look, model beside model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.evaluate_config import AttentionConfig, EvaluateConfig, SamplerConfig
from data_schemas.manifest import Manifest
from tasks.cards import MOST_IMAGE_BYTES, close_stage
from tasks.devices import Device, resolve_device
from tasks.model_under_test import ModelUnderTest, inputs_of, sampler_settings
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.store.content_store import Store

if TYPE_CHECKING:
    from tokencompose_core.evaluation.generate import ImageRequest
    from tokencompose_core.evaluation.record_attention import AttentionRecord

SHEETS = ("layers.jpg", "timesteps.jpg", "heads.jpg")
_NUM_TIMESTEPS = 6
# Maps are recorded in float32 and without a safety checker, however images are made.
_SAMPLING = {"scheduler", "num_inference_steps", "guidance_scale", "height", "width", "seed"}


class AttentionSpec(Spec):
    """The models, the prompt and its noise."""

    stage: ClassVar[str] = "attention"
    version: ClassVar[int] = 1

    models: list[ModelUnderTest]
    picture: AttentionConfig
    sampler: SamplerConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The models, the prompt, and how it is sampled."""
        return {
            "models": [[model.label, model.identity] for model in self.models],
            "picture": self.picture.model_dump(),
            "sampler": self.sampler.model_dump(include=_SAMPLING),
        }


@task(name="draw-attention", **STAGE_OPTIONS)
def draw_attention_of_models(spec: AttentionSpec) -> Manifest | State:
    """Generate one image with each model, from the same noise, and draw its cross-attention.

    Reads: Stable Diffusions.
    Writes: sheets of the nouns' maps by layer, by timestep and by head.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.generate import request_images
        from tokencompose_core.evaluation.prompts import Prompt
        from tokencompose_core.reports.attention_sheet import draw_attention_sheet
        from tokencompose_core.reports.contact_sheet import jpeg_under

        prompt = Prompt(0, spec.picture.prompt, tuple(spec.picture.nouns))
        (request,) = request_images([prompt], 1, spec.picture.seed)
        device = resolve_device(spec.device)
        records = {
            model.label: _record(model, store, device, request, spec.sampler)
            for model in spec.models
        }
        first = next(iter(records.values()))
        images = {label: record.image for label, record in records.items()}
        keys = list(first.by_layer())
        head_key = spec.picture.heads_of or keys[-1]
        if head_key not in keys:
            raise ValueError(
                f"evaluate.attention.heads_of: the UNet has no {head_key!r}; it has {keys}"
            )
        num_steps = len(first.timesteps)
        shown = [round(i * (num_steps - 1) / (_NUM_TIMESTEPS - 1)) for i in range(_NUM_TIMESTEPS)]
        sheets: dict[str, tuple[list[str], dict[str, Any]]] = {
            "layers.jpg": (
                keys,
                {label: [r.by_layer()[k].numpy() for k in keys] for label, r in records.items()},
            ),
            "timesteps.jpg": (
                [f"t {first.timesteps[step]}" for step in shown],
                {label: r.by_timestep()[shown].numpy() for label, r in records.items()},
            ),
            "heads.jpg": (
                [f"{head_key} head {i + 1}" for i in range(first.maps[head_key].shape[2])],
                {label: r.by_head(head_key).numpy() for label, r in records.items()},
            ),
        }
        for name, (columns, maps) in sheets.items():
            sheet = draw_attention_sheet(images, first.nouns, columns, maps)
            (folder / name).write_bytes(jpeg_under(sheet, MOST_IMAGE_BYTES))
        return {"num_in": len(spec.models), "num_out": len(records)}

    inputs = inputs_of(spec.models)
    return reuse_or_publish(spec, write, inputs)


def _record(
    model: ModelUnderTest,
    store: Store,
    device: str,
    request: "ImageRequest",
    settings: SamplerConfig,
) -> "AttentionRecord":
    """What a model attends to. It is let go on return, before the next one is loaded."""
    from transformers import CLIPTokenizerFast

    from tokencompose_core.evaluation.generate import load_pipeline
    from tokencompose_core.evaluation.prepare_pipeline import add_lora
    from tokencompose_core.evaluation.record_attention import record_attention

    where = model.location(store)
    pipeline = load_pipeline(
        where, revision=model.revision, device=device, scheduler=settings.scheduler
    )
    if model.lora:
        add_lora(pipeline, require(model.lora))
    tokenizer = CLIPTokenizerFast.from_pretrained(
        where, revision=model.revision or None, subfolder="tokenizer"
    )
    (record,) = record_attention(pipeline, tokenizer, [request], sampler_settings(settings))
    return record


def draw_attention(models: list[ModelUnderTest], config: EvaluateConfig) -> Input:
    """Draw where the nouns of the config's prompt look in every model."""
    spec = AttentionSpec(
        models=models, picture=config.attention, sampler=config.sampler, device=config.device
    )
    outcomes = run_stage(draw_attention_of_models, [spec])
    close_stage(outcomes, "-".join(model.label for model in models))
    return Input.of(outcomes[0].manifest)
