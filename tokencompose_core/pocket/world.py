"""Write a pocket world to disk in the formats of COCO and of Visual Spatial Reasoning."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.drawing import draw_object_indices, draw_scene
from tokencompose_core.pocket.scenes import Scene, sample_scene, sample_varied_names
from tokencompose_core.pocket.sentences import Quality, write_relation, write_sentence

_SIZES = ((240, 180), (180, 240), (200, 200), (224, 192), (192, 224), (256, 192))
_QUALITIES: tuple[Quality, ...] = ("full", "full", "partial", "vague", "wrong")
_SPLIT_SHARE = {"train2017": 0.85, "val2017": 0.15}
# Of the images, the share that VSR talks about; COCO has many that it does not mention.
_MENTIONED = 0.8


@dataclass(frozen=True)
class WorldPaths:
    """Where the parts of a world lie, relative to its folder."""

    vsr: str = "vsr/random_train.jsonl"
    annotations: str = "annotations"
    images: str = "."


def write_world(folder: Path, *, seed: int, num_images: int, num_damaged: int) -> dict[str, int]:
    """Draw scenes of varied combinations and describe them.

    Writes `train2017/*.jpg`, `val2017/*.jpg`, `annotations/captions_*.json`,
    `annotations/instances_*.json` and `vsr/random_train.jsonl`. Captions carry their quality and
    masks are ground truth; nothing in the pipeline reads either.

    Args:
        folder: Where to write.
        seed: Decides everything.
        num_images: Images of both splits together.
        num_damaged: So many train images are broken as downloads break: cut short, missing, with
            blank captions only, or with captions that name nothing.

    Returns:
        How many images, captions, objects and VSR lines were written.
    """
    splits = list(_SPLIT_SHARE)
    content: dict[str, dict[str, list[dict[str, Any]]]] = {
        split: {"images": [], "captions": [], "instances": []} for split in splits
    }
    vsr: list[dict[str, Any]] = []
    trained = 0
    for number in range(1, num_images + 1):
        rng = random.Random(f"world-{seed}-{number}")
        split = rng.choices(splits, weights=list(_SPLIT_SHARE.values()))[0]
        width, height = rng.choice(_SIZES)
        scene = sample_scene(
            rng, sample_varied_names(rng), width=width, height=height, twin_share=0.12
        )
        image_id = number * 37 % 600_011
        name = f"{image_id:012d}.jpg"
        path = folder / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(scene).save(path, quality=rng.randint(85, 95))
        part = content[split]
        part["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        captions = _captions(rng, scene)
        lines = _vsr_lines(rng, scene, split, name) if rng.random() < _MENTIONED else []
        if split == "train2017" and lines:
            if trained < num_damaged:
                captions = _damage(trained, path, captions)
            trained += 1
        for quality, text in captions:
            part["captions"].append(
                {
                    "id": len(part["captions"]) + 1,
                    "image_id": image_id,
                    "caption": text,
                    "quality": quality,
                }
            )
        part["instances"] += _instances(scene, image_id, number)
        vsr += lines
    random.Random(f"world-{seed}").shuffle(vsr)
    _write_annotations(folder, content)
    (folder / "vsr").mkdir(exist_ok=True)
    (folder / WorldPaths.vsr).write_text("".join(json.dumps(line) + "\n" for line in vsr), "utf-8")
    return {
        "images": num_images,
        "captions": sum(len(part["captions"]) for part in content.values()),
        "objects": sum(len(part["instances"]) for part in content.values()),
        "vsr_lines": len(vsr),
    }


def _captions(rng: random.Random, scene: Scene) -> list[tuple[str, str]]:
    captions: list[tuple[str, str]] = [
        (quality, write_sentence(rng, scene, quality=quality).text) for quality in _QUALITIES
    ]
    rng.shuffle(captions)
    return captions


def _vsr_lines(rng: random.Random, scene: Scene, split: str, name: str) -> list[dict[str, Any]]:
    if len(scene.names) < 2:
        return []
    lines = []
    for _ in range(rng.randint(1, 3)):
        truth = rng.random() < 0.5
        caption, relation, subject, other = write_relation(rng, scene, truth=truth)
        lines.append(
            {
                "image": name,
                "image_link": f"pocket://world/{split}/{name}",
                "caption": caption,
                "label": int(truth),
                "relation": relation,
                "subj": subject.category.name,
                "obj": other.category.name,
            }
        )
    return lines


def _damage(kind: int, path: Path, captions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    match kind % 4:
        case 0:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
        case 1:
            path.unlink()
        case 2:
            return [(quality, "  ") for quality, _ in captions]
        case 3:
            return [("vague", "Very nice.") for _ in captions]
    return captions


def _instances(scene: Scene, image_id: int, number: int) -> list[dict[str, Any]]:
    indices = draw_object_indices(scene)
    instances = []
    for index, item in enumerate(scene.objects):
        mask = np.asfortranarray(indices == index, dtype=np.uint8)
        encoded = coco_mask.encode(mask)
        instances.append(
            {
                "id": number * 10 + index,
                "image_id": image_id,
                "category_id": item.category.category_id,
                "bbox": [float(v) for v in coco_mask.toBbox(encoded)],
                "area": float(coco_mask.area(encoded)),
                "iscrowd": 0,
                "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()},
            }
        )
    return instances


def _write_annotations(folder: Path, content: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    categories = [
        {"id": c.category_id, "name": c.name, "supercategory": c.supercategory} for c in CATEGORIES
    ]
    (folder / WorldPaths.annotations).mkdir(parents=True, exist_ok=True)
    for split, part in content.items():
        captions = {"images": part["images"], "annotations": part["captions"]}
        instances = {
            "images": part["images"],
            "annotations": part["instances"],
            "categories": categories,
        }
        for kind, value in (("captions", captions), ("instances", instances)):
            path = folder / WorldPaths.annotations / f"{kind}_{split}.json"
            path.write_text(json.dumps(value), "utf-8")
