"""A set in the layout of the TokenCompose release, written as its code writes it.

It shows pocket scenes: image, caption and true masks are known, and what becomes of each noun that
is wrong in some way.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from PIL import Image

from tokencompose_core.pocket.drawing import draw_object_indices, draw_scene
from tokencompose_core.pocket.scenes import sample_scene

PREFIX = "seg"
SIZES = ((120, 90), (90, 120), (100, 100))


@dataclass
class ReleasedSet:
    """Where a set lies, and what must become of it.

    Attributes:
        metadata: Rows as they are written: objects, or text.
        masks: For each sample that ends in a shard the start of every phrase that has a mask.
        rejected: Sample or row, reason, and the start of the detail.
    """

    root: Path
    metadata: list[dict | str] = field(default_factory=list)
    masks: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    rejected: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def metadata_path(self) -> Path:
        return self.root / "coco_gsam_img/train/metadata.jsonl"

    @property
    def masks_dir(self) -> Path:
        return self.root / "coco_gsam_seg"

    @property
    def config(self) -> dict:
        return {
            "metadata_path": str(self.metadata_path),
            "masks_dir": str(self.masks_dir),
            "caption_set": "released",
            "partition_size": 6,
            "max_rejected_fraction": 0.5,
        }

    def write_metadata(self) -> None:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in self.metadata]
        self.metadata_path.write_text("\n".join(lines) + "\n")

    def add_image(self, stem: str, names: list[str]) -> dict[str, np.ndarray]:
        """Draw a scene of these categories, and return the true mask of each."""
        rng = random.Random(stem)
        width, height = rng.choice(SIZES)
        scene = sample_scene(rng, names, width=width, height=height)
        path = self.metadata_path.parent / f"{stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(scene).convert("RGB").save(path)
        shown = draw_object_indices(scene)
        return {item.category.name: shown == i for i, item in enumerate(scene.objects)}

    def add_mask(self, stem: str, noun: str, mask: np.ndarray) -> str:
        """Write a mask as the released code does, and return its path as the release spells it."""
        name = f"{stem}/mask_{stem}_{noun.replace(' ', '_')}.png"
        path = self.masks_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, mask, cmap="gray")
        return f"{PREFIX}/{name}"

    def add_row(self, stem: str, caption: str, nouns: dict[str, str | None]) -> list:
        """Write a row with its nouns in random order, and return its list of them."""
        listed = [[noun, path] for noun, path in nouns.items()]
        random.Random(stem).shuffle(listed)
        row = {"file_name": f"{stem}.jpg", "text": caption, "attn_list": listed}
        self.metadata.append(row)
        return listed

    def add_sample(self, stem: str, caption: str, names: list[str]) -> list:
        """A sample of which all is well: every name has a mask wherever it stands."""
        truth = self.add_image(stem, names)
        self.masks[stem] = {
            start: mask
            for name, mask in truth.items()
            for start in range(len(caption))
            if caption.startswith(name, start)
        }
        paths = {name: self.add_mask(stem, name, mask) for name, mask in truth.items()}
        return self.add_row(stem, caption, paths)

    def lose(self, stem: str, reason: str, detail: str, start: int | None = None) -> None:
        self.rejected.add((stem, reason, detail))
        if start is not None:
            del self.masks[stem][start]


def write_released_set(root: Path) -> ReleasedSet:
    """Plain samples, and one of every kind that is wrong."""
    made = ReleasedSet(root)
    for number in range(12):
        made.add_sample(
            f"{number:012d}",
            "A cat beside a wine glass and a kite. ",
            ["cat", "wine glass", "kite"],
        )
    _add_odd_samples(made)
    _add_bad_nouns(made)
    _add_lost_rows(made)
    made.write_metadata()
    return made


def _add_odd_samples(made: ReleasedSet) -> None:
    caption = "A cat in a room."
    made.add_sample("black", caption, ["cat"]).append(
        ["room", made.add_mask("black", "room", np.ones_like(made.masks["black"][2]))]
    )
    assert not np.asarray(Image.open(made.masks_dir / "black/mask_black_room.png"))[..., :3].any()
    made.masks["black"][11] = np.ones_like(made.masks["black"][2])

    listed = made.add_sample("twice", "A cat looks at a cat and a boat.", ["cat", "boat"])
    listed.append(listed[0])
    listed.append(["boat", None])
    assert sorted(made.masks["twice"]) == [2, 17, 27]

    # The words of the glass are not the noun "wine", which stands alone later.
    listed = made.add_sample("wine", "A wine glass, with  wine in a cup.", ["wine glass", "cup"])
    truth = made.masks["wine"]
    listed.append(["wine", made.add_mask("wine", "wine", truth[2])])
    truth[20] = truth[2]

    # One PNG for two nouns: it holds the second, and there is nothing left of the first.
    listed = made.add_sample("shared", "A wine_glass and a wine glass.", ["wine glass"])
    listed.append(["wine_glass", listed[0][1]])
    made.masks["shared"][2] = made.masks["shared"][19]


def _add_bad_nouns(made: ReleasedSet) -> None:
    caption = "A cat and a kite."
    for stem in ("null", "gone", "escape", "small", "cut", "jpeg", "absent"):
        made.add_sample(stem, caption, ["cat", "kite"]).sort()
    rows = {row["file_name"]: row["attn_list"] for row in made.metadata}
    kite = "mask_{0}_kite.png".format
    rows["null.jpg"][1][1] = None
    made.lose("null", "phrase-without-mask", "kite: null", 12)
    (made.masks_dir / "gone" / kite("gone")).unlink()
    made.lose("gone", "mask-missing", "kite: seg/gone/", 12)
    outside = made.root / "outside.png"
    imsave(outside, made.masks["escape"][12], cmap="gray")
    rows["escape.jpg"][1][1] = "seg/../outside.png"
    made.lose("escape", "mask-outside-root", "kite: seg/../outside.png", 12)
    imsave(made.masks_dir / "small" / kite("small"), np.eye(7, dtype=bool), cmap="gray")
    made.lose("small", "mask-wrong-size", "kite: seg/small/mask_small_kite.png: 7 x 7 pixels", 12)
    path = made.masks_dir / "cut" / kite("cut")
    path.write_bytes(path.read_bytes()[:-60])
    made.lose("cut", "mask-unreadable", "kite: seg/cut/", 12)
    path = made.masks_dir / "jpeg" / kite("jpeg")
    Image.open(path).convert("L").save(path, format="JPEG")
    made.lose("jpeg", "mask-unreadable", "kite: seg/jpeg/mask_jpeg_kite.png: not a PNG", 12)
    rows["absent.jpg"][1][0] = "Kite"
    made.lose("absent", "phrase-not-in-caption", "'Kite': A cat and a kite.", 12)


def _add_lost_rows(made: ReleasedSet) -> None:
    caption = "A cat and a kite."
    made.add_sample("bare", caption, ["cat", "kite"])[:] = [["cat", None], ["kite", None]]
    made.lose("bare", "phrase-without-mask", "cat: null")
    made.lose("bare", "phrase-without-mask", "kite: null")
    made.lose("bare", "no-mask", caption)
    made.add_sample("empty", caption, ["cat"]).clear()
    made.lose("empty", "no-noun", caption)
    made.add_sample("damaged", caption, ["cat"])
    path = made.metadata_path.parent / "damaged.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    made.lose("damaged", "image-unreadable", "damaged.jpg")
    made.add_sample("broken", caption, ["cat"])[0].append("more")
    place = f"metadata.jsonl, line {len(made.metadata)}: "
    made.lose("broken", "row-wrong-type", f"{place}field 'attn_list[0]': expected [noun, path")
    made.add_sample("blank", caption, ["cat"])
    made.metadata[-1]["attn_list"] = None
    place = f"metadata.jsonl, line {len(made.metadata)}: "
    made.lose("blank", "row-field-missing", f"{place}field 'attn_list' is empty")
    for stem in ("bare", "empty", "damaged", "broken", "blank"):
        del made.masks[stem]
    made.add_sample("again", caption, ["cat", "kite"])
    made.add_row("again", "Another cat.", {"cat": None})
    made.lose("again", "id-taken", "again.jpg has another row; not taken: Another cat.")
    made.metadata.append('{"file_name": ')
    place = f"metadata.jsonl, line {len(made.metadata)}"
    made.lose(place, "row-broken", place)
    made.add_row("nowhere", caption, {"cat": None})
    made.lose("nowhere", "image-missing", "nowhere.jpg")
