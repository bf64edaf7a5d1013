"""Features of images, on which FID and KID are computed: Inception's, or a CLIP's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import (
    URL_INCEPTION_V3,
    FeatureExtractorInceptionV3,
)
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

from tokencompose_core.captions.clip import Clip
from tokencompose_core.checkpoints.check_file import first_line
from tokencompose_core.checkpoints.read_weights import read_weights
from tokencompose_core.store.read_ahead import loaders_beside, read_ahead


@dataclass(frozen=True)
class Extractor:
    """A loaded network that turns images into features.

    Attributes:
        dimension: Features an image.
        prepare: An image in RGB to what the network takes.
        encode: A batch of that to features, (images, dimension).
        device: Where the network is.
    """

    dimension: int
    prepare: Callable[[Image.Image], Tensor]
    encode: Callable[[Tensor], Tensor]
    device: str


def load_inception(weights: Path, *, device: str = "cpu") -> Extractor:
    """Load torch-fidelity's Inception, which gives what the one of TensorFlow gave for FID.

    It enlarges or shrinks images to 299 pixels as TensorFlow 1 did, without smoothing.

    Args:
        weights: State dict in the form of torch-fidelity's own file.
        device: Where to put the network.

    Raises:
        ValueError: If the file holds something else.
    """
    remedy = f"{weights} does not hold torch-fidelity's Inception; get it from {URL_INCEPTION_V3}"
    try:
        # The library unpickles whatever the file holds, which may start programs; this does not.
        read_weights(weights)
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
        ).to(device)
    except (ValueError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(f"{remedy} ({first_line(error)})") from error
    return Extractor(2048, pil_to_tensor, lambda pixels: network(pixels)[0], device)


def clip_extractor(clip: Clip) -> Extractor:
    """Image features of a loaded CLIP, as its projection gives them: not normalised."""
    blank = clip.preprocess(Image.new("RGB", (64, 64)))[None].to(clip.device)
    with torch.inference_mode():
        dimension = clip.model.encode_image(blank).shape[1]
    return Extractor(dimension, clip.preprocess, clip.model.encode_image, clip.device)


def resize_and_crop(image: Image.Image, resolution: int) -> Image.Image:
    """Resize the short side, bilinearly and with smoothing, and crop the centre.

    As torch-fidelity's `samples_resize_and_crop`; an image of that size stays as it is.
    """
    return center_crop(resize(image, resolution), [resolution, resolution])


@torch.inference_mode()
def extract_features(
    extractor: Extractor,
    load_image: Callable[[int], Image.Image | None],
    count: int,
    *,
    resolution: int | None,
    batch_size: int,
) -> Iterator[Float32[np.ndarray, " dimension"] | None]:
    """Features of images, of which the next batches are loaded while the network works.

    Args:
        extractor: A loaded network.
        load_image: Gives the image of an index in RGB, or None if it has none, and is called in
            other threads.
        count: Number of images.
        resolution: See `resize_and_crop`; None leaves images as they are.
        batch_size: Images that go through the network at once.

    Yields:
        Features of every image in order, or None if it has none.

    Raises:
        ValueError: If the images of a batch differ in size.
    """

    def prepare(batch: Sequence[int]) -> list[Tensor | None]:
        return [None if (image := load_image(i)) is None else prepare_one(image) for i in batch]

    def prepare_one(image: Image.Image) -> Tensor:
        if resolution is not None:
            image = resize_and_crop(image, resolution)
        return extractor.prepare(image)

    batches = [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]
    ahead = read_ahead(prepare, batches, num_threads=loaders_beside(extractor.device))
    for prepared in ahead:
        kept = [pixels for pixels in prepared if pixels is not None]
        if len(sizes := {tuple(pixels.shape) for pixels in kept}) > 1:
            raise ValueError(f"images differ in size, {sorted(sizes)}: give a resolution")
        rows: Iterator[np.ndarray] = iter(())
        if kept:
            encoded = extractor.encode(torch.stack(kept).to(extractor.device))
            rows = iter(encoded.float().cpu().numpy())
        yield from (None if pixels is None else next(rows) for pixels in prepared)
