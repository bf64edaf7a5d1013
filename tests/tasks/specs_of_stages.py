"""One spec of every stage, with a value in every field, and what does not decide its output."""

import importlib
import pkgutil

import tasks
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.mask_config import MaskConfig
from data_schemas.configs.train_pocket_config import PocketReportConfig, TrainPocketConfig
from tasks.evaluation import Evaluation
from tasks.guard_rails import GuardRails
from tasks.measure_latency import ModelLatency
from tasks.measure_quality import ModelQuality
from tasks.model_under_test import ModelUnderTest
from tasks.prepare_source import Source, VsrFiles
from tasks.score_clip import ModelClipScore
from tasks.score_images import BenchmarkScore
from tasks.spec import Input, Spec

for module in pkgutil.iter_modules(tasks.__path__):
    importlib.import_module(f"tasks.{module.name}")
SPECS = {one.stage: one for one in Spec.__subclasses__() if one.__module__.startswith("tasks.")}

_HUB = "owner/model"
CURATE = CurateConfig.load(
    rank={"model": _HUB, "pretrained": "tag"},
    parse={"model": _HUB},
    mask={
        "detector_backend": "transformers",
        "detector_config": "",
        "detector_checkpoint": _HUB,
        "text_encoder": "",
        "segmenter_backend": "transformers",
        "segmenter_config": "",
        "segmenter_checkpoint": _HUB,
        "precision": "bfloat16",
    },
)
PACKAGES = MaskConfig(
    **CURATE.mask.model_dump(include={"prompting", "short_side", "long_side", "batch_size"}),
    **CURATE.mask.model_dump(include={"box_threshold", "text_threshold", "nms_threshold"}),
    **CURATE.mask.model_dump(include={"precision", "min_precision_iou", "boxes_at_once"}),
    detector_backend="groundingdino",
    detector_config=_HUB,
    detector_checkpoint=_HUB,
    detector_revision="",
    text_encoder=_HUB,
    segmenter_backend="segment_anything_hq",
    segmenter_config=_HUB,
    segmenter_checkpoint=_HUB,
    segmenter_revision="",
)
_OWL = {"model": _HUB}
EVALUATE = EvaluateConfig.load(detector=_OWL, clip_score={"model": _HUB})
FINETUNE = FinetuneConfig.load(base_model=_HUB)
_QUALITY = next(iter(EVALUATE.quality.values()))
QUALITY = _QUALITY.model_copy(
    update={"extractor": _QUALITY.extractor.model_copy(update={"model": _HUB})}
)
_PROMPT = {"prompt_id": 1, "text": "a cat", "categories": ("cat",), "relation": "above"}


def _input(number: int) -> Input:
    return Input(key=f"stage-v1-{number:032x}", digest=f"{number:064x}", name="file")


_MODEL = ModelUnderTest(label="model", stored=_input(90))
_BENCHMARK = {
    "kind": "multigen",
    "name": "multigen-coco",
    "prompts": [_PROMPT],
    "num_rounds": 2,
    "detector": EVALUATE.detector,
    "reference": {"settings": QUALITY, "features": [_input(91)]},
}
_LABELS = {"label": "model", "benchmark": "multigen-coco"}
_FOUND = Evaluation(
    scores=[
        BenchmarkScore(
            **_LABELS,
            result={
                "kind": "multigen",
                "num_images": 2,
                "num_blanked": 0,
                "prompts_digest": "ab",
                "mean": {},
                "deviation": {},
                "sample_deviation": {},
                "interval": {},
                "success": {},
                "missed": {},
                "confusion": {},
            },
            is_mixed=False,
            generated=[_input(92)],
            scored=_input(93),
        )
    ],
    qualities=[
        ModelQuality(
            **_LABELS,
            fid=1.0,
            kid=1.0,
            kid_deviation=1.0,
            num_images=2,
            num_blanked=0,
            num_reference=2,
            extractor="x",
            dimension=2,
            weights="w",
            resizing="r",
            num_kid_subsets=2,
            kid_subset_size=2,
            kid_seed=0,
            generated=[_input(94)],
            measured=_input(95),
        )
    ],
    clip_scores=[
        ModelClipScore(
            **_LABELS,
            mean=1.0,
            deviation=1.0,
            interval=(0.0, 2.0),
            num_images=2,
            num_blanked=0,
            num_prompts=1,
            clip="c",
            weights="w",
            convention="c",
            scale=1.0,
            scored=_input(96),
        )
    ],
    latencies=[
        ModelLatency(
            label="model",
            machine="m",
            mean=1.0,
            deviation=1.0,
            num_images=2,
            measured=_input(97),
        )
    ],
    warnings=["a warning"],
)
_VARIANT = {"label": "one", "reference": False, "published": {"MG2": 1.0}}
_VARIANT |= {"trained": [_input(1)], "scored": [_input(2)]}
_OF_IMAGES = {"generated": _input(1), "label": "model", "part": "part", "device": "cpu"}
_OF_MODEL = {
    "model": ModelUnderTest(label="hub", name=_HUB),
    "sampler": EVALUATE.sampler,
    "device": "cpu",
}
_OF_ROWS = {"images_dir": "images", "device": "cpu"}

VALUES = {
    "world": {"settings": CURATE.source},
    "select": {
        "source": Source(
            files=VsrFiles(vsr_path="vsr", captions_paths=["captions"], relations=("above",)),
            images_dir="images",
            image_limits={"private_hosts": ("*",)},
            digest="ab",
            made_from={"key": "digest"},
        ),
        "settings": CURATE.select,
    },
    "rank": {**_OF_ROWS, "selected": _input(1), "settings": CURATE.rank},
    "parse": {"ranked": _input(1), "part": "p", "settings": CURATE.parse, "device": "cpu"},
    "mask": {**_OF_ROWS, "parsed": _input(1), "part": "p", "settings": CURATE.mask},
    "mask by packages": {**_OF_ROWS, "parsed": _input(1), "part": "p", "settings": PACKAGES},
    "shard": {"images_dir": "images", "grounded": _input(1), "part": "p"},
    "dataset": {"shards": [_input(1)]},
    "card": {
        "dataset": _input(1),
        "title_text": "title",
        "stages": [{"stage": "rank", "num_in": 2, "num_out": 1, "rejected": {"no_noun": 1}}],
        "outputs": ["key"],
        "rejections": [_input(2)],
        "settings": CURATE.card,
        "selected": (_input(3),),
    },
    "register": {"selected": [_input(1)], "config": CURATE},
    "import": {
        "metadata_path": "m",
        "images_dir": "i",
        "masks_dir": "m",
        "part": "p",
        "selected": _input(1),
        "rows_digest": "ab",
        "black_masks": "whole_image",
    },
    "encode": {
        "shard": _input(1),
        "part": "p",
        "base_model": _HUB,
        "base_revision": "main",
        "resolution": 64,
        "mask_reduction": "coverage",
        "layers": ("mid",),
        "prompts": (("a cat", ("cat",)),),
        "batch_size": 2,
        "device": "cpu",
    },
    "finetune": {"encoded": [_input(1)], "config": FINETUNE, "label": "both"},
    "generate": {**_OF_MODEL, "part": "p", "prompts": [_PROMPT], "round": 0},
    "detect": {**_OF_IMAGES, "vocabulary": ["cat"], "settings": EVALUATE.detector},
    "score": {
        **_LABELS,
        "kind": "visor",
        "prompts": [_PROMPT],
        "num_rounds": 2,
        "generated": [_input(1)],
        "detected": [_input(2)],
        "threshold": 0.1,
    },
    "pairs": {
        "field": "evaluate.quality.coco",
        "selected": [_input(1)],
        "num_pairs": 4,
        "seed": 0,
        "partition_size": 2,
    },
    "reference": {**_OF_ROWS, "pairs": _input(1), "settings": QUALITY},
    "features": {**_OF_IMAGES, "settings": QUALITY},
    "quality": {**_LABELS, "features": [_input(1)], "reference": [_input(2)], "settings": QUALITY},
    "clipscore": {**_OF_IMAGES, "settings": EVALUATE.clip_score},
    "agreement": {**_LABELS, "scored": [_input(1)], "scale": 2.5},
    "latency": {**_OF_MODEL, "settings": EVALUATE.latency, "machine": "m"},
    "attention": {
        "models": [_MODEL],
        "picture": EVALUATE.attention,
        "sampler": EVALUATE.sampler,
        "device": "cpu",
    },
    "findings": {
        "models": [_MODEL],
        "benchmarks": [_BENCHMARK],
        "sampler": EVALUATE.sampler,
        "found": _FOUND,
        "guards": [GuardRails(label="m", shared_detectors=["d"], seen={"b": ["p"]})],
    },
    "report": {
        "dataset": "name",
        "title_text": "title",
        "models": [_MODEL],
        "findings": _input(1),
        "warnings": ["a warning"],
        "attention": _input(2),
    },
    "ablation": {
        "title_text": "title",
        "foot": "foot",
        "num_objects": 5,
        "studies": {"study": [_VARIANT]},
    },
    "train": {
        "model": "clip",
        "settings": TrainPocketConfig.load().clip,
        "num_distractors": 3,
        "autoencoder": _input(1),
    },
    "floors": {
        "settings": PocketReportConfig.load(),
        "thresholds": {"box_threshold": 0.3},
        "detector_threshold": 0.1,
    },
}


def make_spec(name: str) -> Spec:
    """A spec with a value in every field, by its stage and maybe more."""
    return SPECS[name.split()[0]].model_validate(VALUES[name])
