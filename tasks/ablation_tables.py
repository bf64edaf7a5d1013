"""Tables of an ablation: scores of variants, and their differences."""

from collections.abc import Mapping

from tokencompose_core.evaluation.variants import LEAST_COUNT, Estimate, VariantScore

Table = list[list[str]]
"""Column names, then rows."""

HELD_OUT = ("inside", "preference", "denoising")
"""What is measured on held-out samples and shown beside the scores."""

NOTES = (
    "MGk: share of images with at least k of the categories of their prompt, in percent; in round"
    " brackets the population standard deviation over training seeds, in square ones the 95 %"
    " interval: prompts by bootstrap, the same prompts and noise for all, and what seeds differ by"
    " beyond that, of a difference seed by seed; of a single seed prompts alone. * marks a"
    f" difference whose interval excludes zero, unless either variant has fewer than {LEAST_COUNT}"
    f" images that count, or fewer than {LEAST_COUNT} that do not: intervals of such figures are"
    " too narrow.",
    "Inside: share of the nouns' attention that falls inside their masks. Preference: a noun's"
    " attention per cell on its own object, over the sum of that and of its attention per cell on"
    " the other objects of the caption; 0.5 is a noun that does not tell them apart. Both and the"
    " denoising loss are measured on samples that were held out, as a mean over training seeds. The"
    " first two are those of the variant's own layers and masks: variants that differ in these"
    " cannot be compared by them."
    " A frozen variant is measured as the one that others are held to, or as the first that is"
    " trained.",
    "Paper: what it reports for Stable Diffusion 1.4 on its own prompts.",
)


def score_table(
    scores: Mapping[str, VariantScore],
    published: Mapping[str, Mapping[int, float]],
    facts: Mapping[str, Mapping[str, float]],
) -> Table:
    """Column names, then a row for each variant, and below it what the paper says of it."""
    shares = sorted(next(iter(scores.values())).score)
    table = [["variant", "seeds", "images", *(f"MG{k}" for k in shares), *HELD_OUT]]
    for label, score in scores.items():
        row = [label, str(score.num_seeds), str(score.num_images)]
        row += [
            _score_cell(score.score[k], score.seed_deviation[k], score.num_seeds) for k in shares
        ]
        row += [f"{facts[label][name]:.4f}" if name in facts[label] else "" for name in HELD_OUT]
        table.append(row)
        # Of prompts with fewer objects than the paper's it may say nothing that is measured here.
        if any(k in published[label] for k in shares):
            own = [f"{published[label][k]:.2f}" if k in published[label] else "" for k in shares]
            table.append(["(paper)", "", "", *own, *("" for _ in HELD_OUT)])
    return table


def _score_cell(score: Estimate, deviation: float, num_seeds: int) -> str:
    """A share, its deviation over seeds if there are several, and its interval."""
    own = f" ({deviation:.1f})" if num_seeds > 1 else ""
    return f"{score.value:.1f}{own} [{score.low:.1f}, {score.high:.1f}]"


def difference_table(scores: Mapping[str, VariantScore], reference: str) -> Table:
    """Column names, then a row for each variant but the one that others are held to."""
    shares = sorted(scores[reference].score)
    table = [[f"difference to {reference}", *(f"MG{k}" for k in shares)]]
    for label, score in scores.items():
        if label != reference:
            row = [label]
            for k in shares:
                e = score.difference[k]
                mark = " *" if score.starred[k] else ""
                row.append(f"{e.value:+.1f} [{e.low:+.1f}, {e.high:+.1f}]{mark}")
            table.append(row)
    return table
