"""Measure the models of the pocket world against their floors."""

import json
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.train_pocket_config import PocketReportConfig
from data_schemas.manifest import Manifest
from tasks.cards import close_stage
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.locate import identity, require
from tokencompose_core.pocket.floors.figure import Figure
from tokencompose_core.store.content_store import Store

FIGURES_NAME = "figures.json"
_STEPS = 7
_NUM_MASKED = 12


class PocketReport(BaseModel):
    """All figures, and where the pictures lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    figures: list[Figure]
    folder: str


class MeasureSpec(Spec):
    """The models to measure and how much to look at."""

    stage: ClassVar[str] = "floors"
    version: ClassVar[int] = 2

    settings: PocketReportConfig
    thresholds: dict[str, float]
    detector_threshold: float

    def parts(self) -> dict[str, Any]:
        """The models and the amounts."""
        return {
            "models": identity("pocket:"),
            "settings": self.settings.model_dump(exclude={"profile"}),
            "thresholds": self.thresholds,
            "detector_threshold": self.detector_threshold,
        }


@task(name="measure-models", **STAGE_OPTIONS)
def measure_pocket(spec: MeasureSpec) -> Manifest | State:
    """Measure every model on held-out scenes.

    Reads: the models that `pocket:` names.
    Writes: `figures.json`, and sheets of generated pictures and of masks.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.pocket.floors import (
            measure_captions,
            measure_generation,
            measure_masks,
        )
        from tokencompose_core.pocket.floors.held_out import draw_held_out
        from tokencompose_core.reports.contact_sheet import draw_mask_sheet, draw_sheet

        models = require("pocket:")
        settings = spec.settings
        held_out = draw_held_out(settings.num_scenes, seed=settings.seed)
        thresholds = {
            name: int(value) if name.endswith("side") else value
            for name, value in spec.thresholds.items()
        }
        figures = []
        with Progress("pocket report", _STEPS, "models") as progress:
            figures += measure_captions.measure_clip(models, held_out)
            progress.advance(1, "tagger")
            figures += measure_captions.measure_tagger(
                models, settings.num_scenes, seed=settings.seed
            )
            progress.advance(1, "Grounding DINO")
            figures += measure_masks.measure_grounding_dino(
                models, held_out, thresholds, seed=settings.seed
            )
            progress.advance(1, "SAM-HQ")
            figures += measure_masks.measure_sam_hq(models, held_out)
            progress.advance(1, "chain")
            chain, phrases = measure_masks.measure_chain(models, held_out, thresholds)
            figures += chain
            progress.advance(1, "OWLv2")
            figures += measure_generation.measure_owlv2(
                models,
                settings.num_scenes,
                settings.num_distractors,
                threshold=spec.detector_threshold,
                seed=settings.seed,
            )
            progress.advance(1, "Stable Diffusion")
            generated, singles, fives = measure_generation.measure_stable_diffusion(
                models,
                held_out,
                num_single=settings.num_single,
                num_five=settings.num_five,
                threshold=spec.detector_threshold,
                seed=settings.seed,
            )
            progress.advance(1)
        figures += generated
        for name, pictures in (("single.jpg", singles[:48]), ("five.jpg", fives[:24])):
            draw_sheet(
                [image for _, image in pictures],
                [label for label, _ in pictures],
                columns=8,
                side=128,
                label_lines=4,
            ).save(folder / name, quality=90)
        shown = held_out[:_NUM_MASKED]
        draw_mask_sheet(
            [item.image for item in shown],
            [item.sentence.text for item in shown],
            phrases[:_NUM_MASKED],
        ).save(folder / "masks.jpg", quality=90)
        rows = [asdict(figure) for figure in figures]
        (folder / FIGURES_NAME).write_text(json.dumps(rows, indent=1), "utf-8")
        return {"facts": {f"{f.model}: {f.name}": round(f.value, 4) for f in figures}}

    return reuse_or_publish(spec, write)


def measure_models(config: PocketReportConfig) -> PocketReport:
    """Measure the models and publish the table."""
    mask = CurateConfig.load(config.profile).mask
    names = ("box_threshold", "text_threshold", "nms_threshold", "short_side", "long_side")
    spec = MeasureSpec(
        settings=config,
        thresholds={name: getattr(mask, name) for name in names},
        detector_threshold=EvaluateConfig.load(config.profile).detector.threshold,
    )
    outcomes = run_stage(measure_pocket, [spec])
    close_stage(outcomes, "pocket")
    folder = open_store().path(outcomes[0].manifest)
    figures = [Figure(**row) for row in json.loads((folder / FIGURES_NAME).read_text("utf-8"))]
    table = [asdict(figure) | {"reached": figure.reached} for figure in figures]
    # JSON has no infinity, which is the ceiling of a factor that has none.
    for row in table:
        row["high"] = row["high"] if isfinite(row["high"]) else "none"
    create_table_artifact(key="pocket-floors", table=table, description="Pocket models")
    return PocketReport(figures=figures, folder=str(folder))
