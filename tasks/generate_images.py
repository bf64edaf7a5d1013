"""Stage `generate`: images of a benchmark's prompts."""

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.evaluate_config import EvaluateConfig, SamplerConfig
from data_schemas.manifest import Manifest
from data_schemas.records import GENERATED_SCHEMA, GeneratedImage
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage
from tasks.devices import Device, resolve_device
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.locate import identity, local_or_hub
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import write_table

IMAGES_NAME = "images.tar"
INDEX_NAME = "index.parquet"
_SHEET_IMAGES = 15


class ModelUnderTest(BaseModel):
    """A Stable Diffusion to evaluate: one of the store's, or a name for `from_pretrained`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    name: str = ""
    revision: str = ""
    stored: Input | None = None

    @property
    def identity(self) -> str:
        """What stands for it in keys."""
        return self.stored.digest if self.stored else identity(self.name, self.revision)

    @property
    def lineage(self) -> str:
        """Its key in the store, or its name."""
        return self.stored.key if self.stored else self.name

    def location(self, store: Store) -> str:
        """What `from_pretrained` takes."""
        return str(self.stored.path(store)) if self.stored else local_or_hub(self.name)


class GenerateSpec(Spec):
    """Prompts of a partition, and the model that draws them."""

    stage: ClassVar[str] = "generate"
    version: ClassVar[int] = 2

    model: ModelUnderTest
    part: str
    prompts: list[Prompt]
    num_rounds: int
    sampler: SamplerConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The model, the prompts, and how they are sampled."""
        return {
            "model": self.model.identity,
            "prompts": [[p.prompt_id, p.text, list(p.categories)] for p in self.prompts],
            "num_rounds": self.num_rounds,
            "sampler": self.sampler.model_dump(exclude={"batch_size"}),
        }

    @property
    def title(self) -> str:
        """Stage, model and partition."""
        return f"generate {self.model.label} {self.part}"


@lru_cache(maxsize=1)
def _pipeline(location: str, revision: str, device: str):
    from tokencompose_core.evaluation.generate import load_pipeline

    return load_pipeline(location, revision=revision, device=device)


@task(name="generate-images", **STAGE_OPTIONS)
def generate_partition(spec: GenerateSpec) -> Manifest | State:
    """Generate the images of some prompts, every one from a seed of its own.

    Reads: a Stable Diffusion.
    Writes: `images.tar` with a PNG for every prompt and round, `index.parquet`, a contact sheet.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.generate import Sampler, generate_images, request_images
        from tokencompose_core.evaluation.image_tar import write_images
        from tokencompose_core.reports.contact_sheet import draw_sheet

        pipeline = _pipeline(
            spec.model.location(store), spec.model.revision, resolve_device(spec.device)
        )
        requests = request_images(spec.prompts, spec.num_rounds, spec.sampler.seed)
        with Progress(spec.title, len(requests), "images") as progress:
            images = generate_images(
                pipeline,
                requests,
                Sampler(**spec.sampler.model_dump(exclude={"scheduler", "seed", "batch_size"})),
                batch_size=spec.sampler.batch_size,
                on_batch=progress.advance,
            )
        write_images(
            folder / IMAGES_NAME, {r.name: i for r, i in zip(requests, images, strict=True)}
        )
        rows = [
            GeneratedImage(
                image=request.name,
                prompt_id=request.prompt.prompt_id,
                round=request.round,
                seed=request.seed,
                prompt=request.prompt.text,
                categories=list(request.prompt.categories),
                blanked=False,  # there is no safety checker
            )
            for request in requests
        ]
        write_table(folder / INDEX_NAME, rows, GENERATED_SCHEMA)
        shown = range(0, len(images), max(1, spec.num_rounds))[:_SHEET_IMAGES]
        draw_sheet(
            [images[i] for i in shown],
            [", ".join(requests[i].prompt.categories) or requests[i].prompt.text for i in shown],
            columns=5,
            side=128,
            label_lines=3,
        ).save(folder / "sheet.jpg", quality=85)
        return {"num_in": len(requests), "num_out": len(images)}

    return reuse_or_publish(spec, write, {spec.model.lineage: spec.model.identity})


def generate_images(
    model: ModelUnderTest, benchmark: Benchmark, config: EvaluateConfig
) -> list[Input]:
    """Generate all images of a benchmark with a model, partition by partition."""
    size = config.partition_size
    prompts = benchmark.prompts
    specs = [
        GenerateSpec(
            model=model,
            part=f"{benchmark.name} part-{start // size:05d}",
            prompts=prompts[start : start + size],
            num_rounds=benchmark.num_rounds,
            sampler=config.sampler,
            device=config.device,
        )
        for start in range(0, len(prompts), size)
    ]
    outcomes = run_stage(generate_partition, specs)
    close_stage(outcomes, f"{benchmark.name}-{model.label}")
    return [Input.of(outcome.manifest) for outcome in outcomes]
