"""A store that is filled while things happen, and what came of each of them."""

import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crash_runs import Held, Run, Settled, read_settled
from crash_store import (
    Span,
    damage,
    fill_disk,
    first_missing,
    inode,
    open_workspaces,
    read_entries,
    small_disk,
    without_times,
)
from own_prefect import OwnPrefect

from data_schemas.manifest import Manifest

RUN_SECONDS = 900
_TRUE_SECONDS = 600  # no state may lie for longer
_AWAY_SECONDS = 8
HEADER = (
    f"\n{'stage':>10}{'of it':>7}  {'what':12}{'state':>10}{'after':>8}{'inside':>8}{'after':>8}"
    f"{'whole':>7}{'again':>7}  identical"
)


@dataclass(frozen=True)
class Moment:
    """When something happens, and what.

    Attributes:
        number: Of the output that is under way.
        share: How far it is, as a part of the time that it took without disturbance.
        kind: What happens.
    """

    number: int
    share: float
    kind: str


UNKNOWN = Settled("?", 0.0, None, 0)


@dataclass
class Row:
    """What came of a moment.

    Attributes:
        moment: The moment.
        stage: The stage whose output was under way.
        since: When it was, in seconds of the clock.
        run: The flow run that it happened to.
        whole: Outputs that were whole afterwards, and have to stay as they are.
        again: How many of them were made anew.
        identical: Whether what there was at the next moment equals the undisturbed run's.
        settled: What the server says of the run in the end.
    """

    moment: Moment
    stage: str
    since: float
    run: Run = field(repr=False)
    whole: dict[str, Manifest] = field(repr=False)
    again: int = 0
    identical: bool = False
    settled: Settled = UNKNOWN

    def is_good(self) -> bool:
        """Whether nothing was lost, changed or computed again, and no state lies for long."""
        after = self.settled.all_seconds
        return self.identical and not self.again and after is not None and after < _TRUE_SECONDS

    def line(self) -> str:
        """The row of the table."""
        settled = self.settled
        after = "never" if settled.all_seconds is None else f"{settled.all_seconds:.0f} s"
        seconds = f"{settled.seconds:.0f} s"
        return (
            f"{self.stage:>10}{self.moment.share:>7.0%}  {self.moment.kind:12}{settled.name:>10}"
            f"{seconds:>8}{settled.num_inside:>8}{after:>8}{len(self.whole):>7}{self.again:>7}"
            f"  {'yes' if self.identical else 'NO'}"
        )


@dataclass
class Pass:
    """One store.

    Attributes:
        own: Server and worker.
        folder: Where the store lies, on a file system of its own if that is allowed.
        spans: The outputs of the undisturbed run in their order.
        calm: Their manifests.
        start: Starts the flow with a store.
        prepare: Sets up a server that has lost everything.
        rng: Chooses what is damaged.
    """

    own: OwnPrefect
    folder: Path
    spans: Sequence[Span]
    calm: dict[str, Manifest]
    start: Callable[[Path], Run]
    prepare: Callable[[], None]
    rng: random.Random
    rows: list[Row] = field(default_factory=list)
    harmed: dict[str, int] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    published: set[tuple[str, str]] = field(default_factory=set)
    has_own_disk: bool = False

    @property
    def store(self) -> Path:
        """The store, beside which there is room for a file that fills the disk."""
        return self.folder / "store"

    def run(self, moments: Sequence[Moment]) -> list[Row]:
        """Let things happen, then let the flow end; prints and returns a row for each moment."""
        try:
            with small_disk(self.folder) as self.has_own_disk:
                self._fill(moments)
                if set(read_entries(self.store)) != set(self.calm):
                    raise RuntimeError(f"{self.folder} does not hold what the undisturbed run made")
        finally:
            self._settle()
            for row in self.rows:
                print(row.line(), flush=True)
        return self.rows

    def _fill(self, moments: Sequence[Moment]) -> None:
        self.store.mkdir()
        for moment in moments:
            if moment.kind == "disk full" and not self.has_own_disk:
                print(f"{'':19}disk full: skipped, as only root may mount a small disk")
                continue
            self.rows.append(self._strike(moment))
            print(time.strftime("%X"), moment, file=sys.stderr)  # for whoever waits
        if first_missing(self.store, self.spans, self.harmed) < len(self.spans):
            self._start_unless_under_way()
        state = self.runs[-1].wait_for_end(RUN_SECONDS)
        if state != "Completed":
            raise RuntimeError(f"the last run of {self.folder} ended as {state}")
        self._judge()

    def summary(self) -> str:
        """How many computations there were in all."""
        return f"{len(self.published)} outputs published for {len(self.spans)} keys"

    def _judge(self) -> None:
        """Hold what there is to the undisturbed run, and to what was whole at the last moment."""
        entries = read_entries(self.store)
        self.published |= {(key, one.provenance["created"]) for key, one in entries.items()}
        for row in self.rows[-1:]:
            row.again = sum(
                key not in entries or entries[key].provenance != one.provenance
                for key, one in row.whole.items()
            )
            row.identical = all(
                key in self.calm and without_times(one) == without_times(self.calm[key])
                for key, one in entries.items()
            )

    def _strike(self, moment: Moment) -> Row:
        """Wait for the moment, in the run that is under way or in a new one, and let it happen."""
        if moment.kind == "database":  # what is known of earlier runs will be lost
            self._settle()
        number = None
        while number is None:
            left = self._start_unless_under_way()
            run = self.runs[-1]
            number = self._wait_until_under_way(run, moment.number, left)
            if number is None:
                self._forget_from(moment.number)
        time.sleep(moment.share * self.spans[number].seconds)
        since = time.time()
        settled = self._happen(moment.kind, run, since)
        self._judge()
        whole = read_entries(self.store)
        if moment.kind in ("truncated", "deleted") and whole:
            key = damage(self.store, moment.kind, self.rng)
            whole.pop(key, None)
            self.harmed[key] = inode(self.store / key)
        return Row(moment, self.spans[number].stage, since, run, whole, settled=settled)

    def _start_unless_under_way(self) -> set[str]:
        """Start the flow, unless the last run goes on; returns what killed runs left behind."""
        if self.rows and self.rows[-1].settled.name == "Running" and self.runs[-1].pids():
            return set()
        left = open_workspaces(self.store)
        self.runs.append(self.start(self.store))
        return left

    def _wait_until_under_way(self, run: Run, wanted: int, left: set[str]) -> int | None:
        """Wait until that output, or one after it, is written; None if none is seen to be."""
        asked, deadline = time.monotonic(), time.monotonic() + RUN_SECONDS
        held = Held(run, self.spans[wanted].seconds)
        while True:
            number = first_missing(self.store, self.spans, self.harmed)
            if wanted <= number < len(self.spans) and open_workspaces(self.store) - left:
                held.let_go_soon()
                return number
            if number >= wanted:
                held.step()
            now = time.monotonic()
            if now > asked + 2:
                asked = now
                ended = run.is_final()
                if ended and number == len(self.spans):
                    return None
                if ended or now > deadline:
                    raise RuntimeError(f"{self.spans[wanted].key} was not begun: {run.state()}")
            time.sleep(0.002)

    def _forget_from(self, number: int) -> None:
        """Remove that output and all after it, to make them once more."""
        self._judge()
        for span in self.spans[number:]:
            shutil.rmtree(self.store / span.key)
            for row in self.rows:
                row.whole.pop(span.key, None)

    def _happen(self, kind: str, run: Run, since: float) -> Settled:
        """Do it, and start again what was killed.

        Returns:
            The state of the run if it goes on; otherwise it is read later.
        """
        own = self.own
        match kind:
            case "flow" | "truncated" | "deleted":
                run.kill(signal.SIGKILL)
            case "worker":
                own.stop("worker", signal.SIGKILL)
            case "both":
                own.processes["worker"].kill()
                run.kill(signal.SIGKILL)
                own.stop("worker", signal.SIGKILL)
            case "server":
                own.stop("server", signal.SIGKILL)
                time.sleep(_AWAY_SECONDS)
                own.start_server()
                away = time.time() - since
                if run.pids() and run.state()["name"] == "Running":
                    return Settled("Running", away, away, 0)
            case "power":
                self._cut_power(run)
                own.start_server()
                own.start("settle", *own.commands["settle"])
            case "term flow":
                run.kill(signal.SIGTERM)
            case "term worker":
                own.processes["worker"].send_signal(signal.SIGTERM)
                run.wait_for_processes(RUN_SECONDS)
                own.stop("worker", signal.SIGTERM)
            case "disk full":
                filler = fill_disk(self.folder)
                run.wait_for_end(RUN_SECONDS)
                filler.unlink()
            case "database":
                self._cut_power(run)
                for path in (own.folder / "prefect").glob("prefect.db*"):
                    path.unlink()
                own.start_server()
                self.prepare()
                return Settled("forgotten", 0.0, 0.0, 0)
        if not run.wait_for_processes(RUN_SECONDS):
            raise RuntimeError(f"{kind}: the flow's process does not end")
        if "worker" not in own.processes:
            own.start_worker("cpu")
        return UNKNOWN

    def _cut_power(self, run: Run) -> None:
        names = ("server", "worker", "settle")
        for name in names:
            self.own.processes[name].kill()
        run.kill(signal.SIGKILL)
        for name in names:
            self.own.stop(name, signal.SIGKILL)
        time.sleep(_AWAY_SECONDS)

    def _settle(self) -> None:
        """Wait until all states of all runs are final, or too much time has passed."""
        for row in self.rows:
            while row.settled.all_seconds is None:
                row.settled = read_settled(self.own, row.run, row.since)
                if time.time() > row.since + _TRUE_SECONDS:
                    break
                time.sleep(0.2)
