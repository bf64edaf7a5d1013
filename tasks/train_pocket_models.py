"""Train the models of the pocket world, each one a cached task."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.train_pocket_config import (
    ModelTraining,
    TaggerTraining,
    TrainPocketConfig,
)
from data_schemas.manifest import Manifest
from tasks.cards import close_stage
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.locate import locate
from tokencompose_core.store.content_store import Store

# Bumped when a trainer's code changes what it trains.
_VERSIONS = {
    "clip": 2,
    "tagger": 1,
    "grounding_dino": 1,
    "sam_hq": 1,
    "autoencoder": 1,
    "owlv2": 1,
    "stable_diffusion": 1,
}


class TrainSpec(Spec):
    """A model of the pocket world to train."""

    stage: ClassVar[str] = "train"
    version: ClassVar[int] = 1
    keeps_checkpoints: ClassVar[bool] = True

    model: str
    settings: ModelTraining | TaggerTraining
    num_distractors: int = 0
    autoencoder: Input | None = None

    def parts(self) -> dict[str, Any]:
        """The model, its settings, and the autoencoder that it builds on."""
        return {
            "model": self.model,
            "trainer": _VERSIONS[self.model],
            "settings": self.settings.model_dump(),
            "num_distractors": self.num_distractors,
            "autoencoder": self.autoencoder.digest if self.autoencoder else "",
        }

    @property
    def title(self) -> str:
        """The model."""
        return f"train {self.model}"


@task(name="train-model", **STAGE_OPTIONS)
def train_model(spec: TrainSpec) -> Manifest | State:
    """Train one model from nothing, resuming from its newest checkpoint.

    Reads: scenes that it draws, and the autoencoder if the model needs it.
    Writes: a folder that the model's library loads, with weights in half precision.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.pocket.half_weights import halve_weights

        checkpoint = store.work_dir(spec.key) / "checkpoint.pt"
        steps = getattr(spec.settings, "num_steps", 0)
        with Progress(spec.title, steps, "steps") as progress:

            def on_progress(step: int, num_steps: int, losses: dict[str, float]) -> None:
                progress.reach(step, " ".join(f"{k} {v:.4g}" for k, v in losses.items()))

            history = _trainer(spec, store)(
                folder, checkpoint_path=checkpoint, on_progress=on_progress
            )
        halve_weights(folder)
        return {"facts": {f"last {k}": v for k, v in history[-1].items()} if history else {}}

    inputs = {spec.autoencoder.key: spec.autoencoder.digest} if spec.autoencoder else None
    return reuse_or_publish(spec, write, inputs)


def _trainer(spec: TrainSpec, store: Store) -> Callable[..., list[dict[str, float]]]:
    """The training of a spec's model, as a function of folder, checkpoint and progress."""
    from tokencompose_core.pocket.fitting import FitSettings
    from tokencompose_core.pocket.train_autoencoder import train_autoencoder
    from tokencompose_core.pocket.train_clip import train_clip
    from tokencompose_core.pocket.train_grounding_dino import train_grounding_dino
    from tokencompose_core.pocket.train_owlv2 import train_owlv2
    from tokencompose_core.pocket.train_sam_hq import train_sam_hq
    from tokencompose_core.pocket.train_stable_diffusion import train_diffusion
    from tokencompose_core.pocket.train_tagger import train_tagger

    if isinstance(spec.settings, TaggerTraining):
        return partial(train_tagger, **spec.settings.model_dump())
    shared = spec.settings.model_dump(include={"seed", "batch_size", "num_scenes"})
    shared["settings"] = FitSettings(
        **spec.settings.model_dump(
            include={"num_steps", "learning_rate", "warmup_steps", "ema_decay"}
        )
    )
    match spec.model:
        case "clip":
            return partial(train_clip, **shared)
        case "grounding_dino":
            return partial(train_grounding_dino, **shared)
        case "sam_hq":
            return partial(train_sam_hq, **shared)
        case "autoencoder":
            return partial(train_autoencoder, **shared)
        case "owlv2":
            shared |= {"autoencoder": _autoencoder(spec, store)}
            return partial(train_owlv2, num_distractors=spec.num_distractors, **shared)
        case "stable_diffusion":
            return partial(train_diffusion, autoencoder=_autoencoder(spec, store), **shared)
    raise ValueError(f"there is no trainer of {spec.model!r}")


def _autoencoder(spec: TrainSpec, store: Store):
    from diffusers import AutoencoderKL

    assert spec.autoencoder is not None
    autoencoder = AutoencoderKL.from_pretrained(spec.autoencoder.path(store)).eval()
    # Where it was read from would be saved with it, and is nobody's business.
    autoencoder.register_to_config(_name_or_path="")
    return autoencoder


def train_all(config: TrainPocketConfig) -> dict[str, Input]:
    """Train every model and say where each lies in the store."""
    autoencoder = run_stage(
        train_model, [TrainSpec(model="autoencoder", settings=config.autoencoder)]
    )
    decoder = Input.of(autoencoder[0].manifest)
    specs = [
        TrainSpec(model="stable_diffusion", settings=config.stable_diffusion, autoencoder=decoder),
        TrainSpec(
            model="owlv2",
            settings=config.owlv2,
            num_distractors=config.num_distractors,
            autoencoder=decoder,
        ),
        *(
            TrainSpec(model=name, settings=getattr(config, name))
            for name in ("grounding_dino", "clip", "sam_hq", "tagger")
        ),
    ]
    outcomes = run_stage(train_model, specs)
    close_stage([*autoencoder, *outcomes], "pocket")
    return {
        spec.model: Input.of(outcome.manifest)
        for spec, outcome in zip(specs, outcomes, strict=True)
    }


def install_models(trained: dict[str, Input]) -> Path:
    """Copy the trained models to where `pocket:` names are looked for.

    Returns:
        The folder of the models.
    """
    store = open_store()
    target = locate("pocket:")
    assert target is not None
    for name, entry in trained.items():
        shutil.rmtree(target / name, ignore_errors=True)
        shutil.copytree(
            entry.path(store), target / name, ignore=shutil.ignore_patterns("manifest.json")
        )
    return target
