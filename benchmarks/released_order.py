"""The order of TokenCompose's released code, with models that are given."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from groundingdino.util.utils import get_phrases_from_posmap
from matplotlib import pyplot
from PIL import Image
from segment_anything_hq import SamPredictor
from torchvision.ops import box_convert, nms

from data_schemas.configs.mask_config import MaskConfig
from data_schemas.records import NounPhrase
from tokencompose_core.captions.clip import Clip
from tokencompose_core.masking.detect_phrases import prepare_image
from tokencompose_core.masking.grounding_dino import PackagedGroundingDino
from tokencompose_core.masking.sam_hq import PackagedSamHq


@torch.no_grad()
def mask_as_released(
    paths: Sequence[Path],
    captions: Sequence[Sequence[str]],
    folder: Path,
    *,
    clip: Clip,
    parse: Callable[[Sequence[str]], list[list[NounPhrase]]],
    detector: PackagedGroundingDino,
    segmenter: PackagedSamHq,
    settings: MaskConfig,
    most_overlap: float = 1.0,
) -> int:
    """From image files to mask files, one image at a time.

    Args:
        paths: Images.
        captions: The candidates of each.
        folder: Where to write a folder for each.
        clip: Ranks the captions.
        parse: Finds the nouns of captions.
        detector: Finds boxes; labels are matched by their spelling.
        segmenter: Finds masks.
        settings: Thresholds and sizes.
        most_overlap: IoU above which boxes of an image are reduced to the best. The released code
            keeps all; random weights give hundreds.

    Returns:
        The number of boxes for which a mask was computed.
    """
    chosen, num_boxes = [], 0
    for path, own in zip(paths, captions, strict=True):
        with Image.open(path) as opened:
            pixels = clip.preprocess(opened)[None].to(clip.device)
        image_features = clip.model.encode_image(pixels, normalize=True)
        text_features = clip.model.encode_text(clip.tokenizer(own).to(clip.device), normalize=True)
        caption = own[int((text_features @ image_features[0]).argmax())]
        chosen.append(parse([caption])[0])
    predictor = SamPredictor(segmenter.model)
    for path, phrases in zip(paths, chosen, strict=True):
        own_folder = folder / path.stem
        own_folder.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        pixels = prepare_image(image, settings.short_side, settings.long_side)
        image.save(own_folder / "src.jpg")
        prompt = " . ".join(dict.fromkeys(p.text for p in phrases)).lower() + "."
        (probabilities,), (boxes,) = detector.detect(pixels[None], [prompt])
        scores = probabilities.amax(dim=1)
        boxes = box_convert(boxes, "cxcywh", "xyxy")
        kept = (scores > settings.box_threshold).nonzero()[:, 0]
        if most_overlap < 1.0:
            kept = kept[nms(boxes[kept], scores[kept], most_overlap)]
        tokens = detector.tokenizer(prompt)
        labels = [
            get_phrases_from_posmap(row > settings.text_threshold, tokens, detector.tokenizer)
            for row in probabilities[kept]
        ]
        array = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        predictor.set_image(array)
        if not labels:
            continue
        num_boxes += len(kept)
        boxes = (boxes[kept] * torch.tensor(image.size).repeat(2)).to(segmenter.device)
        masks, _, _ = predictor.predict_torch(
            point_coords=None,
            point_labels=None,
            boxes=predictor.transform.apply_boxes_torch(boxes, array.shape[:2]),
            multimask_output=False,
        )
        united: dict[str, np.ndarray] = {}
        for label, mask in zip(labels, masks[:, 0].cpu().numpy(), strict=True):
            united[label] = united[label] | mask if label in united else mask
        for number, mask in enumerate(united.values()):
            pyplot.imsave(own_folder / f"mask_{number}.png", mask, cmap="gray")
    return num_boxes
