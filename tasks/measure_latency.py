"""Stage `latency`: seconds an image on this machine."""

import json
import statistics
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.evaluate_config import EvaluateConfig, LatencyConfig, SamplerConfig
from data_schemas.manifest import Manifest
from tasks.cards import close_stage, describe_card
from tasks.describe_evaluation import describe_sampling
from tasks.devices import Device, describe_machine
from tasks.model_under_test import ModelUnderTest, load_model, sampler_settings
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store

LATENCY_NAME = "latency.json"


class LatencySpec(Spec):
    """A model, how it samples, and the machine that does it."""

    stage: ClassVar[str] = "latency"
    version: ClassVar[int] = 1

    model: ModelUnderTest
    sampler: SamplerConfig
    settings: LatencyConfig
    machine: str
    device: Device

    def parts(self) -> dict[str, Any]:
        """The model, its sampler, and the machine: on another one it is measured anew."""
        return {
            "model": self.model.identity,
            "sampler": self.sampler.model_dump(exclude={"seed", "batch_size", "decode_batch_size"}),
            "settings": self.settings.model_dump(),
            "machine": self.machine,
        }

    @property
    def title(self) -> str:
        """Stage and model."""
        return f"latency {self.model.label}"


class ModelLatency(BaseModel):
    """Seconds an image of a model with their population standard deviation, as they are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    machine: str
    mean: float
    deviation: float
    num_images: int
    measured: Input


@task(name="measure-latency", **STAGE_OPTIONS)
def measure_model(spec: LatencySpec) -> Manifest | State:
    """Generate images one by one, and time each.

    Reads: a Stable Diffusion.
    Writes: `latency.json`, with the seconds of each image.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.latency import time_images

        here = describe_machine(spec.device)
        if here != spec.machine:
            raise ValueError(
                f"seconds an image are asked for on {spec.machine}, where the flow runs, but its"
                f" tasks run on {here}; run the flow without"
                " TOKENCOMPOSE_TASK_RUNNER"
            )
        pipeline = load_model(spec.model, store, spec.sampler, spec.device)
        settings = spec.settings
        total = settings.num_warmup + settings.num_images
        with Progress(spec.title, total, "images") as progress:
            seconds = time_images(
                pipeline,
                sampler_settings(spec.sampler),
                num_images=settings.num_images,
                num_warmup=settings.num_warmup,
                on_image=progress.advance,
            )
        figures = {
            "machine": spec.machine,
            "mean": statistics.fmean(seconds),
            "deviation": statistics.pstdev(seconds),
            "seconds": seconds,
        }
        (folder / LATENCY_NAME).write_text(json.dumps(figures, indent=1), "utf-8")
        facts = {f"seconds an image ({name})": figures[name] for name in ("mean", "deviation")}
        facts["machine"] = spec.machine
        return {"num_in": len(seconds), "num_out": len(seconds), "facts": facts}

    return reuse_or_publish(spec, write, spec.model.inputs)


def measure_latency(models: list[ModelUnderTest], config: EvaluateConfig) -> list[ModelLatency]:
    """Measure all models on this machine, and publish a table of them."""
    latencies = []
    for model in models:
        spec = LatencySpec(
            model=model,
            sampler=config.sampler,
            settings=config.latency,
            machine=describe_machine(config.device),
            device=config.device,
        )
        outcomes = run_stage(measure_model, [spec])
        close_stage(outcomes, model.label)
        manifest = outcomes[0].manifest
        values = json.loads(open_store().path(manifest, LATENCY_NAME).read_text("utf-8"))
        num_images = len(values.pop("seconds"))
        measured = Input.of(manifest, LATENCY_NAME)
        latencies.append(
            ModelLatency(label=model.label, num_images=num_images, measured=measured, **values)
        )
    create_table_artifact(
        key="latency",
        table=[
            {
                "model": one.label,
                "seconds an image": f"{one.mean:.3g} ({one.deviation:.2g})",
                "images": one.num_images,
                "machine": one.machine,
            }
            for one in latencies
        ],
        description=describe_card(
            "Seconds an image, one at a time (deviation over images)",
            describe_sampling(models, config.sampler),
        ),
    )
    return latencies
