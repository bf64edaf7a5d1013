"""The flow `curate` with models of the published sizes, on a folder of photographs.

    python benchmarks/full_size.py PHOTOS/captions.jsonl [--limit 10]

CLIP ViT-L-14-336, Grounding DINO SwinT with a BERT of base size, and SAM-HQ vit_h are built from
their configs with random weights and written as their makers publish them (7 GB), so time, memory,
shapes and files are real and what is found is not. Nouns come from the pocket world's tagger.
Random weights give hundreds of boxes; of those that overlap only the best is kept, so that as many
are decoded as a trained detector may find.

The file holds JSON lines with `img_path`, beside it, and `caption`, a string or a list.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import save_file
from segment_anything_hq import sam_model_registry
from transformers import AutoTokenizer, BertConfig, BertModel

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.masking.grounding_dino import (
    build_grounding_dino,
    load_grounding_dino_config,
)
from tokencompose_core.store.content_store import MANIFEST_NAME

PAPER, POCKET = CurateConfig.load("paper"), CurateConfig.load("pocket")
NMS_THRESHOLD = 0.1


def write_clip(folder: Path) -> str:
    """A folder that open_clip loads."""
    folder.mkdir()
    name, tag = PAPER.rank.model, PAPER.rank.pretrained
    model = open_clip.create_model(name, pretrained=None)
    published = get_pretrained_cfg(name, tag)
    described = {
        "model_cfg": open_clip.get_model_config(name),
        "preprocess_cfg": {key: published[key] for key in ("mean", "std") if key in published},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return str(folder)


def write_detector(folder: Path) -> tuple[str, str]:
    """A checkpoint and its text encoder; words come from the pocket world's tokenizer."""
    bert, checkpoint = folder / "bert", folder / "grounding_dino.pth"
    BertModel(BertConfig()).save_pretrained(bert)
    AutoTokenizer.from_pretrained(require(POCKET.mask.text_encoder)).save_pretrained(bert)
    model = build_grounding_dino(
        load_grounding_dino_config(require(PAPER.mask.detector_config), str(bert))
    )
    torch.save({"model": model.state_dict()}, checkpoint)
    return str(checkpoint), str(bert)


def write_segmenter(folder: Path) -> str:
    """A checkpoint of SAM-HQ."""
    path = folder / "sam_hq.pth"
    torch.save(sam_model_registry[PAPER.mask.segmenter_config]().state_dict(), path)
    return str(path)


def make_config(folder: Path, **settings: Any) -> CurateConfig:
    """The paper's settings but for these, with models that are written to `folder`."""
    torch.manual_seed(0)
    clip = write_clip(folder / "clip")
    detector, bert = write_detector(folder)
    return CurateConfig.load(
        "paper",
        rank={"model": clip, "pretrained": ""},
        parse=POCKET.parse.model_dump(),
        mask={
            "detector_checkpoint": detector,
            "text_encoder": bert,
            "segmenter_checkpoint": write_segmenter(folder),
            "nms_threshold": NMS_THRESHOLD,
        },
        **settings,
    )


def run(config: CurateConfig, store: Path) -> None:
    """Run the flow and print what each stage took, by the times at which outputs were stored."""
    # Prefect reads it when it is imported.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ["TOKENCOMPOSE_STORE"] = str(store)
    from flows.curate import curate
    from flows.local_server import local_server

    with local_server():
        before = time.time()
        curate(config)
    print("\nstage          seconds  (rank and mask with loading of their models)")
    manifests = store.glob(f"*/{MANIFEST_NAME}")
    for stored, path in sorted((path.stat().st_mtime, path) for path in manifests):
        manifest = Manifest.model_validate_json(path.read_text("utf-8"))
        print(
            f"{manifest.stage:12}{stored - before:10.1f}  {manifest.num_out} out {manifest.facts}"
        )
        before = stored


def main() -> None:
    """Write the models, run the flow, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captions", type=Path)
    parser.add_argument("--limit", type=int, default=10, help="photographs to take")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captions = folder / "captions.jsonl"
        lines = options.captions.read_text("utf-8").splitlines()[: options.limit]
        captions.write_text("\n".join(lines), "utf-8")
        images_dir = str(options.captions.parent.absolute())
        config = make_config(
            folder,
            caption_set="full-size",
            max_rejected_fraction=1.0,
            source={"kind": "json", "paths": [str(captions)], "images_dir": images_dir},
        )
        run(config, folder / "store")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{torch.get_num_threads()} threads, most memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
