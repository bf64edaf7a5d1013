"""Stage `generate`: images of a benchmark's prompts."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.evaluate_config import EvaluateConfig, SamplerConfig
from data_schemas.evaluation_records import GENERATED_SCHEMA, GeneratedImage
from data_schemas.manifest import Manifest
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage
from tasks.devices import Device
from tasks.model_under_test import ModelUnderTest, load_model, sampler_settings
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import write_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from tokencompose_core.evaluation.generate import Picture

IMAGES_NAME = "images.tar"
INDEX_NAME = "index.parquet"
_SHEET_IMAGES = 15


class GenerateSpec(Spec):
    """Prompts of a partition, the round, and the model that draws them.

    A round is a partition of its own, so that more rounds later draw no image again.
    """

    stage: ClassVar[str] = "generate"
    version: ClassVar[int] = 2

    model: ModelUnderTest
    part: str
    prompts: list[Prompt]
    round: int
    sampler: SamplerConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The model, the prompts, and how they are sampled."""
        return {
            "model": self.model.identity,
            "prompts": [[p.prompt_id, p.text, list(p.categories)] for p in self.prompts],
            "round": self.round,
            "sampler": self.settings,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """How it is sampled, without what only rounds differently."""
        return self.sampler.model_dump(exclude={"batch_size", "decode_batch_size", "compile_unet"})

    @property
    def title(self) -> str:
        """Stage, model and partition."""
        return f"generate {self.model.label} {self.part}"


@task(name="generate-images", **STAGE_OPTIONS)
def generate_partition(spec: GenerateSpec) -> Manifest | State:
    """Generate the images of some prompts, every one from a seed of its own.

    Reads: a Stable Diffusion.
    Writes: `images.tar` with a PNG for every prompt, and its prompt, round, seed and settings
        beside it as JSON; `index.parquet`; a contact sheet.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.generate import generate_batches, request_images
        from tokencompose_core.evaluation.image_tar import ImageSample, write_images
        from tokencompose_core.reports.contact_sheet import draw_sheet

        pipeline = load_model(spec.model, store, spec.sampler, spec.device)
        requests = request_images(spec.prompts, 1, spec.sampler.seed, first_round=spec.round)
        made_with = {"model": spec.model.identity, "sampler": spec.settings}
        shown = {request.name for request in requests[:_SHEET_IMAGES]}
        rows: list[GeneratedImage] = []
        sheet: list[tuple[Image, str]] = []

        def samples() -> Iterator[list[ImageSample]]:
            for batch in generate_batches(
                pipeline,
                requests,
                sampler_settings(spec.sampler),
                batch_size=spec.sampler.batch_size,
                decode_batch_size=spec.sampler.decode_batch_size,
                fill_batches=spec.sampler.compile_unet,
            ):
                own = [_row(picture) for picture in batch]
                rows.extend(own)
                sheet.extend(
                    (picture.image, ", ".join(row.categories) or row.prompt)
                    for picture, row in zip(batch, own, strict=True)
                    if row.image in shown
                )
                yield [
                    ImageSample(row.image, picture.image, row.model_dump() | made_with)
                    for picture, row in zip(batch, own, strict=True)
                ]

        with Progress(spec.title, len(requests), "images") as progress:
            write_images(folder / IMAGES_NAME, samples(), on_batch=progress.advance)
        write_table(folder / INDEX_NAME, rows, GENERATED_SCHEMA)
        pictures, labels = zip(*sheet, strict=True)
        draw_sheet(pictures, labels, columns=5, side=128, label_lines=3).save(
            folder / "sheet.jpg", quality=85
        )
        facts = {}
        if spec.sampler.safety_checker:
            facts["blanked by the safety checker"] = sum(row.blanked for row in rows)
        return {"num_in": len(requests), "num_out": len(rows), "facts": facts}

    return reuse_or_publish(spec, write, spec.model.inputs)


def _row(picture: "Picture") -> GeneratedImage:
    request = picture.request
    return GeneratedImage(
        image=request.name,
        prompt_id=request.prompt.prompt_id,
        round=request.round,
        seed=request.seed,
        prompt=request.prompt.text,
        categories=list(request.prompt.categories),
        blanked=picture.is_blanked,
    )


def generate_images(
    model: ModelUnderTest, benchmark: Benchmark, config: EvaluateConfig
) -> list[Input]:
    """Generate all images of a benchmark with a model, partition by partition."""
    prompts, size = benchmark.prompts, config.partition_size
    parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    specs = [
        GenerateSpec(
            model=model,
            part=f"{benchmark.name} part-{number:05d}",
            prompts=part,
            round=round_number,
            sampler=config.sampler,
            device=config.device,
        )
        for number, (round_number, part) in enumerate(product(range(benchmark.num_rounds), parts))
    ]
    outcomes = run_stage(generate_partition, specs)
    close_stage(outcomes, f"{benchmark.name}-{model.label}")
    return [Input.of(outcome.manifest) for outcome in outcomes]
