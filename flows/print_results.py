"""What the command line prints when a flow has ended."""

from collections.abc import Sequence
from contextlib import suppress
from textwrap import fill
from typing import TYPE_CHECKING

from data_schemas.profiles import builtin_profile
from flows.local_server import is_lasting, ui_url
from flows.shown_command import from_here, shown_command

if TYPE_CHECKING:
    from uuid import UUID

    from data_schemas.configs.curate_config import CurateConfig
    from tasks.compare_models import Reproduction
    from tasks.compare_variants import Ablation
    from tasks.draw_dataset_card import CuratedSet
    from tasks.evaluation import Evaluation
    from tasks.inspect_sample import Inspection
    from tasks.publish_changes import SetChanges
    from tasks.register_captions import RegisteredSet
    from tasks.score_images import BenchmarkScore
    from tasks.stage import Input


def print_reproduction(result: "Reproduction", run: "UUID | None") -> None:
    """The scores of all models, and where everything lies."""
    _print_scores(result.scores)
    print(f"\nreport    {from_here(result.report_path)}")
    print(f"data set  {result.dataset}")
    print(f"its card  {from_here(result.dataset_report_path)}")
    for model in result.models:
        if model.stored is not None:
            print(f"model     {model.stored.key}  {model.label}")
    _print_ui(f"runs/flow-run/{run}")


def print_evaluation(found: "Evaluation", run: "UUID | None") -> None:
    """All figures of all models, and where their page lies."""
    from tasks.clip_cells import clip_cell
    from tasks.result_cells import label_width

    _print_scores(found.scores)
    labels = [own.label for own in found.qualities]
    labels += [score.label for score in found.clip_scores]
    labels += [latency.label for latency in found.latencies]
    width = label_width(labels)
    if found.qualities:
        print(f"\n{'model':{width}}{'FID':>9}{'KID':>20}{'images':>9}  real images, features")
    for own in found.qualities:
        kid = f"{own.kid:.4g} ({own.kid_deviation:.2g})"
        print(
            f"{own.label:{width}}{own.fid:>9.2f}{kid:>20}{own.num_images:>9}"
            f"  {own.num_reference} of {own.benchmark}, {own.extractor}"
        )
    if found.clip_scores:
        print(f"\n{'model':{width}}{'CLIPScore':>16}{'images':>9}  prompts, convention")
    for score in found.clip_scores:
        mean = clip_cell(score.mean, score.deviation, score.scale)
        print(
            f"{score.label:{width}}{mean:>16}{score.num_images:>9}"
            f"  {score.benchmark}, {score.convention} by {score.clip}"
        )
    if found.latencies:
        print(f"\n{'model':{width}}{'seconds an image':>18}{'images':>9}  machine")
    for latency in found.latencies:
        seconds = f"{latency.mean:.3g} ({latency.deviation:.2g})"
        print(f"{latency.label:{width}}{seconds:>18}{latency.num_images:>9}  {latency.machine}")
    print(f"\nreport    {from_here(found.report_path)}")
    _print_ui(f"runs/flow-run/{run}")


def print_ablation(made: "Ablation") -> None:
    """Scores of all variants and their differences, study by study."""
    for study, tables in made.tables.items():
        print(
            f"\n{study}: MultiGen, percent (deviation over training seeds) [95 % interval over"
            " prompts and seeds]"
        )
        for table in tables:
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            print()
            for row in table:
                cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
                print("  ".join(cells).rstrip())
    print(f"\nreport    {from_here(made.report_path)}")


def print_set(made: "CuratedSet", profile: str = "pocket") -> None:
    """Where a data set and its card lie, and how a model is trained on it."""
    print(f"\nreport    {from_here(made.report_path)}")
    print(f"data set  {made.dataset}")
    words = ("finetune", made.dataset, "--label", "mine", *_with(profile))
    print(f"train     {shown_command(*words)}")


def print_reach(config: "CurateConfig") -> None:
    """What pocket models do not know, if they are to look at images of somebody's own."""
    if config.source.kind != "pocket" and config.mask.detector_checkpoint.startswith("pocket:"):
        print(
            "\nThe pocket models know drawings of sixteen things. For photographs take --profile"
            ' paper,\nor base = "paper" in a profile of your own.'
        )


def print_model(stored: "Input", label: str, base_model: str, profile: str) -> None:
    """Where a model lies, and how it is held to the one that it was made from."""
    from tasks.announce import label_before

    models = (f"{label_before(label)}={base_model}", f"{label}={stored.key}")
    print(f"\nmodel     {stored.key}  {label}")
    print(f"scores    {shown_command('evaluate', *models, *_with(profile))}")


def _with(profile: str) -> tuple[str, ...]:
    """The option of a command that has it take the same profile."""
    return () if profile == "pocket" else ("--profile", profile)


def print_announced(follows: str, profile: str) -> None:
    """What an automation starts by itself, for who would start it too; nothing without a server."""
    with suppress(ValueError):  # the file is gone since the run began
        if builtin_profile(profile) is not None and is_lasting():
            print(f"Announced: {follows} follows by itself, if its automation is on.")


def print_inspection(found: "Inspection") -> None:
    """What became of samples, and where the UI shows it."""
    more = found.num_matches - len(found.samples)
    shown = f", the first {len(found.samples)} are shown" if more else ""
    print(f"\n{found.num_matches} found in {found.dataset}{shown}")
    for sample in found.samples:
        print(f"{sample.key:26} {sample.fate}")
        for line in sample.lines:
            print(f"  {line}")
    _print_ui(f"artifacts/key/{found.artifact}")


def print_changes(found: "SetChanges | None") -> None:
    """What differs between two data sets, and where the UI shows it."""
    assert found is not None  # no plan is made
    print(f"\nfrom      {found.before or 'nothing: it is the first of its caption set'}")
    print(f"to        {found.after}")
    for setting in found.settings:
        print(f"setting   {setting}")
    if found.rows:
        print("samples   " + ", ".join(f"{count} {what}" for what, count in found.rows.items()))
    _print_ui(f"artifacts/key/{found.artifact}")


def print_registered(registered: "RegisteredSet", profile: str = "pocket") -> None:
    """Whether a caption set is new, and what follows."""
    news = "new" if registered.is_new else "known already"
    print(f"\n{registered.caption_set}: {registered.num_images} images, {news}")
    if registered.changes:
        print(", ".join(f"{count} {what}" for what, count in registered.changes.items()))
    print(registered.key)
    if registered.is_new and builtin_profile(profile) is None:
        print(f'Announced, but no automation follows {profile}: it has no base, as base = "paper".')
    elif registered.is_new:
        print("Announced: curate follows where `make serve` has stood up its automations.")


def print_plan(rows: Sequence[Sequence[str]]) -> None:
    """What there is, what is to do, and why."""
    from tasks.publish_plan import COLUMNS, NOTES

    print()
    for stage, there, *to_do, why in [COLUMNS, *rows]:
        print(f"{stage:9}{there:>6}{to_do[0]:>12}{to_do[1]:>8}  {why}".rstrip())
    print()
    for note in NOTES:
        print(fill(note, 96))


def print_figures(report) -> None:
    """Figures of the pocket models with their limits."""
    print(f"\n{'model':17}{'figure':38}{'value':>8}  {'limits':>12}{'cases':>7}")
    for figure in report.figures:
        limits = f"{figure.low:g} to {figure.high:g}"
        mark = "" if figure.reached else "  MISSED"
        print(
            f"{figure.model:17}{figure.name:38}{figure.value:8.3f}  {limits:>12}"
            f"{figure.count:7}{mark}"
        )
    print(f"\npictures  {report.folder}")


def print_released(result) -> None:
    """MultiGen of released detections, with both conventions of the deviation."""
    print(f"MultiGen of {result.num_images} images, in percent; deviations over rounds")
    print(f"\n{'':5}{'mean':>8}{'population':>12}{'sample':>8}  95 % interval over prompts")
    for k, mean in result.mean.items():
        population, sample = result.deviation[k], result.sample_deviation[k]
        ends = result.interval[k]
        print(
            f"MG{k:<3}{mean:8.2f}"
            # Over one round there is neither.
            + (f"{'-':>12}{'-':>8}" if sample is None else f"{population:12.2f}{sample:8.2f}")
            + ("" if ends is None else f"  {ends[0]:.2f} to {ends[1]:.2f}")
        )


def _print_ui(page: str) -> None:
    """Where a page of the UI is; a server that a command has started is gone by then."""
    first = "" if is_lasting() else "make ui, then open "
    print(f"UI        {first}{ui_url()}/{page}")


def _print_scores(scores: "Sequence[BenchmarkScore]") -> None:
    from tasks.result_cells import table_lines

    benchmarks = list(dict.fromkeys(score.benchmark for score in scores))
    for benchmark in benchmarks:
        own = [score for score in scores if score.benchmark == benchmark]
        rows = [(score.label, score.result) for score in own]
        subject = benchmark if len(benchmarks) > 1 else ""
        print("", *table_lines(rows, subject, is_mixed=own[0].is_mixed), sep="\n")
