"""Tables of MultiGen and VISOR: models, what was published, and how models differ."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from data_schemas.configs.evaluate_config import SamplerConfig
from data_schemas.evaluation_records import ScoredImage
from data_schemas.results import MultiGenResult, VisorResult
from tasks.benchmarks import Benchmark
from tasks.published_rows import QUOTED_NOTE, published_cells
from tasks.result_cells import AnyResult, result_cells, show_deviation
from tokencompose_core.evaluation.paired import (
    Difference,
    compare_images,
    count_multigen,
    count_visor,
)
from tokencompose_core.reports.page import Chart, Row, Table

MOST_CHARTED = 6
_MOST_PAIRS = 12
_MULTIGEN_NOTE = (
    "MGk: share of images with at least k of the categories of their prompt, in percent; in"
    " {brackets} the 95 % interval over prompts (bootstrap)."
)
_ROUND_BRACKETS = "round brackets the population standard deviation over rounds, in square ones"
_VISOR_NOTE = (
    "OA: share of images with both categories, in percent. Of all images (uncond) and of"
    " those with both (cond) the share in the relation asked for; VISORn: share of prompts with at"
    " least n such images. In square brackets the 95 % interval over prompts (bootstrap)."
)
DIFFERENCE_NOTE = (
    "To {first}, on the same prompts and noise, of images that neither had blanked. In brackets the"
    " 95 % interval over prompts (paired bootstrap); * marks one that excludes zero. p: exact"
    " two-sided sign test over the prompts that differ. Each holds by itself: of twenty comparisons"
    " one is marked by chance."
)


def score_table(
    benchmark: Benchmark, results: Mapping[str, AnyResult], sampler: SamplerConfig
) -> Table:
    """What a benchmark says of all models, and what was published for images made so."""
    cells = {label: result_cells(own, intervals=True) for label, own in results.items()}
    names = list(next(iter(cells.values())))
    rows = [
        Row(
            cells=[
                label,
                *(cell.replace(" [", "\n[") for cell in cells[label].values()),
                str(own.num_images),
                str(own.num_blanked),
            ]
        )
        for label, own in results.items()
    ]
    quoted = [
        Row(cells=[label, *(own.get(name, "") for name in names), "", ""], is_quoted=True)
        for label, own in published_cells(benchmark, sampler).items()
    ]
    note = _VISOR_NOTE
    if benchmark.kind == "multigen":
        # What was published has deviations in any case.
        has_rounds = show_deviation(results.values()) or bool(quoted)
        note = _MULTIGEN_NOTE.format(brackets=_ROUND_BRACKETS if has_rounds else "square brackets")
    return Table(
        columns=["model", *names, "images", "blanked"],
        rows=rows + quoted,
        notes=[note, *([QUOTED_NOTE] if quoted else [])],
    )


def difference_tables(
    results: Mapping[str, AnyResult], scored: Mapping[str, Sequence[ScoredImage]]
) -> list[Table]:
    """How every model differs from each one before it."""
    result = next(iter(results.values()))
    count = (
        partial(count_multigen, shares=sorted(result.mean))
        if isinstance(result, MultiGenResult)
        else count_visor
    )
    return make_difference_tables(
        list(results), lambda one, two: compare_images(scored[one], scored[two], count)
    )


def make_difference_tables(
    labels: Sequence[str],
    compare: Callable[[str, str], Mapping[str, Difference | None]],
    *,
    digits: int = 1,
) -> list[Table]:
    """A table for each model but the last: how those after it differ from it.

    Args:
        labels: Of the models, in their order.
        compare: From the labels of two, how the second differs from the first, by figure.
        digits: Decimals of differences and intervals.
    """
    tables: list[Table] = []
    for place, first in enumerate(labels[:-1]):
        differences = {label: compare(first, label) for label in labels[place + 1 :]}
        names = list(next(iter(differences.values())))
        tables.append(
            Table(
                title=f"Difference to {first}",
                columns=["model", *names],
                rows=[
                    Row(cells=[label, *(difference_cell(own[name], digits) for name in names)])
                    for label, own in differences.items()
                ],
                # How to read one is how to read all.
                notes=[] if tables else [DIFFERENCE_NOTE.format(first=first)],
            )
        )
    return tables


def difference_cell(difference: Difference | None, digits: int = 1) -> str:
    """A difference with its interval and p, a line each.

    Args:
        difference: What is shown; a dash if there is none.
        digits: Decimals of the difference and of its interval.
    """
    if difference is None:
        return "-"
    lines = [f"{difference.value:+.{digits}f}" + (" *" if difference.excludes_zero else "")]
    if difference.interval is not None:
        low, high = difference.interval
        lines.append(f"[{low:+.{digits}f}, {high:+.{digits}f}]")
    if difference.p_value is not None:
        small = difference.p_value < 0.001
        lines.append("p < 0.001" if small else f"p {difference.p_value:.3f}")
    return "\n".join(lines)


def success_chart(results: Mapping[str, MultiGenResult]) -> Chart:
    """How often each category was found, those that the first model finds least on top."""
    charted = _charted(results)
    first = next(iter(charted.values())).success
    names = sorted({name for own in charted.values() for name in own.success})
    return Chart(
        title="Success by category",
        labels=list(charted),
        rows=[
            (name, [own.success.get(name) for own in charted.values()])
            for name in sorted(names, key=lambda name: (first.get(name, 0.0), name))
        ],
        notes=[
            "Found, of the images that were asked for the category: 0 % at the left, 50 % at the"
            " mark, 100 % at the right.",
            *_left_out(results),
        ],
    )


def confusion_table(results: Mapping[str, MultiGenResult]) -> Table:
    """What was found, and not asked for, in images that lack a category."""
    charted = _charted(results)
    counts = {
        label: Counter(
            {(lost, met): n for lost, own in r.confusion.items() for met, n in own.items()}
        )
        for label, r in charted.items()
    }
    total = sum(counts.values(), Counter())
    pairs = sorted(total, key=lambda pair: (-total[pair], pair))[:_MOST_PAIRS]
    return Table(
        title="Found instead",
        columns=["missed", "found", *charted],
        rows=[
            Row(
                cells=[
                    *pair,
                    *(
                        _share(counts[n][pair], r.missed.get(pair[0], 0))
                        for n, r in charted.items()
                    ),
                ]
            )
            for pair in pairs
        ],
        notes=[
            "In how many images a category was missed and another one found that nobody asked for,"
            " of those in which it was missed; the most frequent pairs."
            if pairs
            else "Where a category was missed, no other of the benchmark was found.",
            *_left_out(results),
        ],
    )


def _share(count: int, total: int) -> str:
    return f"{count} of {total}"


def _charted(results: Mapping[str, MultiGenResult]) -> dict[str, MultiGenResult]:
    """All models, or the first and the last if they are too many for one chart."""
    labels = list(results)
    if len(labels) > MOST_CHARTED:
        labels = [labels[0], labels[-1]]
    return {label: results[label] for label in labels}


def _left_out(results: Mapping[str, MultiGenResult]) -> list[str]:
    """A note that says which models are charted, if not all are."""
    charted = list(_charted(results))
    if len(charted) == len(results):
        return []
    return [
        f"Only the first and the last model are shown, {' and '.join(charted)}:"
        f" {len(results) - len(charted)} others are left out."
    ]


def multigen_results(results: Mapping[str, AnyResult]) -> dict[str, MultiGenResult]:
    """Those that are of MultiGen."""
    return {label: own for label, own in results.items() if not isinstance(own, VisorResult)}
