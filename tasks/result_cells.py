"""Results as people read them: cells of a table, and its lines."""

from collections.abc import Iterable, Sequence

from data_schemas.results import Interval, MultiGenResult, VisorResult

_LABEL_WIDTH = 12
AnyResult = MultiGenResult | VisorResult
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def result_cells(result: AnyResult, *, intervals: bool = False) -> dict[str, str]:
    """The figures of a result by the names of their columns.

    Those of MultiGen have their deviation over rounds in brackets, if there are several rounds.

    Args:
        result: What a benchmark says of a model.
        intervals: Whether each figure is followed by its interval over prompts.
    """
    figures: dict[str, tuple[str, Interval | None]]
    match result:
        case MultiGenResult():
            figures = {
                f"MG{k}": (
                    f"{result.mean[k]:.1f}"
                    + (f" ({result.deviation[k]:.1f})" if show_deviation([result]) else ""),
                    result.interval[k],
                )
                for k in sorted(result.mean)
            }
        case VisorResult():
            shares = {
                "OA": result.object_accuracy,
                "uncond": result.unconditional,
                "cond": result.conditional,
                **{f"VISOR{n}": share for n, share in sorted(result.at_least.items())},
            }
            figures = {
                name: ("-" if share.percent is None else f"{share.percent:.1f}", share.interval)
                for name, share in shares.items()
            }
    return {
        name: cell + (f" [{ends[0]:.1f}, {ends[1]:.1f}]" if intervals and ends else "")
        for name, (cell, ends) in figures.items()
    }


def show_deviation(results: Iterable[AnyResult]) -> bool:
    """Whether the cells of any of these results have a deviation; over one round there is none."""
    return any(
        isinstance(own, MultiGenResult) and None not in own.sample_deviation.values()
        for own in results
    )


def label_width(labels: Iterable[str]) -> int:
    """Width of a terminal's column of models, as wide as the longest label."""
    return max([_LABEL_WIDTH, *map(len, labels)])


def table_lines(
    rows: Sequence[tuple[str, AnyResult]], subject: str = "", *, is_mixed: bool = False
) -> list[str]:
    """A table of one benchmark for the terminal.

    Args:
        rows: Models and their results, all of one kind.
        subject: Which benchmark it is, where there are several of its kind.
        is_mixed: Whether its prompts differ in how many categories they have.
    """
    result = rows[0][1]
    of = f" ({subject})" if subject else ""
    match result:
        case MultiGenResult():
            has_deviation = show_deviation(own for _, own in rows)
            width = 14 if has_deviation else 9
            largest = max(result.mean)
            number = _NUMBERS[largest] if largest < len(_NUMBERS) else str(largest)
            title = [
                f"MultiGen{of}: share of images with at least k of their"
                f" {'up to ' if is_mixed else ''}{number} categories, in percent"
            ]
            if has_deviation:
                title += ["(in brackets the population standard deviation over rounds)"]
        case VisorResult():
            width = 9
            title = [
                f"VISOR{of}: share of images with both categories (OA), and in the relation asked"
                " for, in percent",
                "(uncond of all images, cond of those with both; VISORn: prompts with at least n"
                " such images)",
            ]
    blanked = any(own.num_blanked for _, own in rows)
    first = label_width(label for label, _ in rows)
    lines = [f"{'model':{first}}" + "".join(f"{name:>{width}}" for name in result_cells(result))]
    lines[0] += f"{'images':>9}" + (f"{'blanked':>9}" if blanked else "")
    for label, own in rows:
        cells = "".join(f"{cell:>{width}}" for cell in result_cells(own).values())
        counts = f"{own.num_images:>9}" + (f"{own.num_blanked:>9}" if blanked else "")
        lines.append(f"{label:{first}}{cells}{counts}")
    return [*title, "", *lines]
