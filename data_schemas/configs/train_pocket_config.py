"""Parameter of the flow `train-pocket`: how the small models are trained."""

from typing import Annotated, ClassVar

from pydantic import Field

from data_schemas.configs.flow_config import FlowConfig, Settings

Count = Annotated[int, Field(ge=1)]


class ModelTraining(Settings):
    """Length and speed of a training."""

    seed: int
    num_steps: Count
    batch_size: Count
    num_scenes: Count
    learning_rate: Annotated[float, Field(gt=0.0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)]


class TaggerTraining(Settings):
    """Length of the tagger's training."""

    seed: int
    num_sentences: Count
    num_epochs: Count


class TrainPocketConfig(FlowConfig):
    """Train every model of the pocket world from nothing."""

    section: ClassVar[str] = "train_pocket"

    clip: ModelTraining
    tagger: TaggerTraining
    grounding_dino: ModelTraining
    sam_hq: ModelTraining
    autoencoder: ModelTraining
    owlv2: ModelTraining
    stable_diffusion: ModelTraining
    num_distractors: Annotated[
        Count,
        Field(description="Pictures without objects that the detector of MultiGen learns from."),
    ]


class PocketReportConfig(FlowConfig):
    """Measure the pocket models against their floors."""

    section: ClassVar[str] = "pocket_report"

    num_scenes: Annotated[Count, Field(description="Held-out scenes.")]
    num_distractors: Annotated[Count, Field(description="Blobs, fragments and noise, of each.")]
    num_single: Annotated[Count, Field(description="Generated images of one object.")]
    num_five: Annotated[Count, Field(description="Generated images of five objects.")]
    seed: int
