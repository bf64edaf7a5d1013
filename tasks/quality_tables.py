"""Tables of image quality, agreement with prompts, latency, and of what was checked."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_schemas.configs.evaluate_config import SamplerConfig
from data_schemas.evaluation_records import ClipScoredImage
from tasks.benchmark_tables import make_difference_tables
from tasks.clip_cells import clip_cell, clip_digits, clip_number
from tasks.guard_rails import GuardRails
from tasks.measure_latency import ModelLatency
from tasks.measure_quality import ModelQuality
from tasks.published_rows import QUOTED_NOTE, published_fid_rows, published_latency_rows
from tasks.score_clip import ModelClipScore
from tokencompose_core.evaluation.paired import Counted, Difference, paired_difference
from tokencompose_core.reports.page import Row, Table


def quality_table(qualities: Sequence[ModelQuality], sampler: SamplerConfig) -> Table:
    """FID and KID of one set of real images, and what was published for images made so."""
    first = qualities[0]
    extractor = first.extractor
    rows = [
        Row(
            cells=[
                own.label,
                f"{own.fid:.2f}",
                f"{own.kid:.4g} ({own.kid_deviation:.2g})",
                str(own.num_images),
                str(own.num_blanked),
                str(own.num_reference),
            ]
        )
        for own in qualities
    ]
    quoted = published_fid_rows(first, sampler)
    return Table(
        columns=[
            "model",
            f"FID ({extractor})",
            f"KID ({extractor})",
            "images",
            "blanked",
            "real images",
        ],
        rows=rows + quoted,
        notes=[
            f"Distance to real images by the features of {extractor}, smaller is better; in"
            f" brackets the deviation over {first.num_kid_subsets} subsets of"
            f" {first.kid_subset_size} images. {first.resizing[:1].upper()}{first.resizing[1:]}."
            " FID grows with fewer images: compare equal numbers only.",
            *([QUOTED_NOTE] if quoted else []),
        ],
    )


def clip_score_table(scores: Sequence[ModelClipScore]) -> Table:
    """CLIPScore of the images of one benchmark."""
    return Table(
        title=scores[0].benchmark,
        columns=["model", "CLIPScore", "images", "blanked"],
        rows=[
            Row(
                cells=[
                    own.label,
                    clip_cell(own.mean, own.deviation, own.scale)
                    + (
                        ""
                        if own.interval is None
                        else f"\n[{', '.join(clip_number(end, own.scale) for end in own.interval)}]"
                    ),
                    str(own.num_images),
                    str(own.num_blanked),
                ]
            )
            for own in scores
        ],
        notes=[
            f"{scores[0].convention} of image and prompt by {scores[0].clip}; in brackets the"
            " deviation over images, then the 95 % interval over prompts."
        ],
    )


def clip_difference_tables(
    scored: Mapping[str, Sequence[ClipScoredImage]], *, scale: float
) -> list[Table]:
    """How the CLIPScore of every model differs from that of each one before it.

    Args:
        scored: The scores of every model's images.
        scale: Factor of the cosine in them; the smaller it is, the more decimals are shown.
    """
    return make_difference_tables(
        list(scored),
        lambda one, two: {"CLIPScore": clip_difference(scored[one], scored[two])},
        digits=clip_digits(scale),
    )


def clip_difference(
    first: Sequence[ClipScoredImage], second: Sequence[ClipScoredImage]
) -> Difference | None:
    """How the mean score of one model differs from that of another, of images that both show."""
    pairs = [
        (one, two)
        for one, two in zip(first, second, strict=True)
        if one.score is not None and two.score is not None
    ]
    cases = np.ones(len(pairs))
    own, other = (
        Counted(np.array([float(pair[i].score or 0.0) for pair in pairs]), cases) for i in (0, 1)
    )
    prompt_ids = np.array([one.prompt_id for one, _ in pairs], dtype=int)
    return paired_difference(prompt_ids, own, other, scale=1.0)


def latency_table(latencies: Sequence[ModelLatency], sampler: SamplerConfig) -> Table:
    """Seconds an image, and what was published for images made in the same way."""
    rows = [
        Row(
            cells=[
                own.label,
                f"{own.mean:.3g} ({own.deviation:.2g})",
                str(own.num_images),
                own.machine,
            ]
        )
        for own in latencies
    ]
    quoted = published_latency_rows(sampler)
    return Table(
        columns=["model", "seconds an image", "images", "machine"],
        rows=rows + quoted,
        notes=[
            "One image at a time; in brackets the deviation over images. It is that of the machine"
            " as it was then: other work on it slows it down.",
            *([QUOTED_NOTE] if quoted else []),
        ],
    )


def guard_table(guards: Sequence[GuardRails]) -> Table:
    """What is known of the models' training."""
    return Table(
        columns=[
            "model",
            "its masks were made by a detector that scores",
            "prompts among its captions",
        ],
        rows=[
            Row(cells=[guard.label, _shared(guard.shared_detectors), _count_seen(guard.seen)])
            for guard in guards
        ],
        notes=[
            "Not known: the model, or something that it was made from, is not in this store, or its"
            " masks were imported."
            " Prompts and captions are compared without case, punctuation and spaces."
        ],
    )


def _shared(names: Sequence[str] | None) -> str:
    if names is None:
        return "not known"
    return f"yes: {', '.join(names)}" if names else "no"


def _count_seen(seen: Mapping[str, Sequence[str]] | None) -> str:
    if seen is None:
        return "not known"
    return ", ".join(f"{len(texts)} of {name}" for name, texts in seen.items())
