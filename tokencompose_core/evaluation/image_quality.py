"""How far images are from real ones: FID and KID, by torch-fidelity."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch_fidelity.defaults import DEFAULTS
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)

KID_SEED: int = DEFAULTS["rng_seed"]


@dataclass(frozen=True)
class ImageQuality:
    """Distances of two sets of images.

    Attributes:
        fid: Frechet distance (arXiv:1706.08500).
        kid: Squared MMD with a cubic kernel (arXiv:1801.01401), unbiased, mean over subsets; of
            sets that are alike it is around 0 and may be below.
        kid_deviation: Population standard deviation over subsets.
    """

    fid: float
    kid: float
    kid_deviation: float


def check_num_images(num_images: int, dimension: int, *, allow_few_images: bool) -> None:
    """Refuse fewer images than they have features.

    The covariance of fewer images is singular, and FID, which is too high for any number of images,
    then says more of their number than of what they show. For Inception these are the 2048 images
    that its users take as the least.

    Raises:
        ValueError: If there are fewer than two, or fewer than that and they are not allowed.
    """
    if num_images < 2 or (num_images < dimension and not allow_few_images):
        raise ValueError(
            f"FID on {dimension} features needs at least {dimension} images, received {num_images}"
            + ("" if allow_few_images else ": take more, or set allow_few_images")
        )


def check_subset_size(num_images: int, kid_subset_size: int) -> None:
    """Refuse subsets for KID that hold more images than there are.

    Raises:
        ValueError: If they do.
    """
    if num_images < kid_subset_size:
        raise ValueError(f"kid_subset_size is {kid_subset_size}, but there are {num_images} images")


def compare_features(
    features: Float[np.ndarray, "images dimension"],
    reference: Float[np.ndarray, "real dimension"],
    *,
    num_kid_subsets: int,
    kid_subset_size: int,
    allow_few_images: bool = False,
) -> ImageQuality:
    """FID and KID of features, in double precision.

    Args:
        features: Of the images in question.
        reference: Of real images.
        num_kid_subsets: Subsets drawn for KID, always with the same seed, `KID_SEED`.
        kid_subset_size: Images of either set in a subset.
        allow_few_images: See `check_num_images`.

    Raises:
        ValueError: If there are too few images for FID, or for a subset.
    """
    for one in (features, reference):
        check_num_images(len(one), one.shape[1], allow_few_images=allow_few_images)
        check_subset_size(len(one), kid_subset_size)
    pair = [torch.from_numpy(one.astype(np.float64)) for one in (features, reference)]
    statistics = [fid_features_to_statistics(one) for one in pair]
    fid = fid_statistics_to_metric(*statistics, verbose=False)
    kid = kid_features_to_metric(
        *pair,
        kid_subsets=num_kid_subsets,
        kid_subset_size=kid_subset_size,
        rng_seed=KID_SEED,
        verbose=False,
    )
    return ImageQuality(fid[KEY_METRIC_FID], kid[KEY_METRIC_KID_MEAN], kid[KEY_METRIC_KID_STD])
