"""Show how far long work is, in the terminal and in the Prefect UI."""

import re
import threading
import time
from types import TracebackType
from typing import Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext
from tqdm import tqdm

_SECONDS_BEFORE_ARTIFACT = 3.0
_SECONDS_BETWEEN_UPDATES = 2.0


# Set when a flow is interrupted: its tasks run in threads of their own, which no signal reaches.
STOP = threading.Event()


def stop_if_asked() -> None:
    """Leave a task whose flow was interrupted.

    Raises:
        KeyboardInterrupt: If it was.
    """
    if STOP.is_set():
        raise KeyboardInterrupt("the flow run was interrupted")


class Progress:
    """A bar in the terminal and, once the work has taken a few seconds, one in the UI.

    Args:
        title: What is being done, in few words.
        total: Number of units of work; None if nobody knows, as of rows before the last one.
        unit: What is counted.
    """

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        # No bar where nobody watches: in the logs of a worker or of continuous integration.
        self.bar = tqdm(
            desc=title,
            total=total,
            unit=unit,
            leave=False,
            dynamic_ncols=True,
            mininterval=0.5,
            disable=None,
        )
        self.started = time.monotonic()
        self.updated = 0.0
        self.artifact: UUID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._show(last=True)
        self.bar.close()

    def advance(self, count: int, note: str = "") -> None:
        """Say that `count` more units are done.

        Raises:
            KeyboardInterrupt: If the flow was interrupted.
        """
        stop_if_asked()
        if note:
            self.bar.set_postfix_str(note, refresh=False)
        self.done += count
        self.bar.update(count)
        self._show(note)

    def reach(self, count: int, note: str = "") -> None:
        """Say that `count` units are done in all."""
        self.advance(count - self.done, note)

    def _show(self, note: str = "", *, last: bool = False) -> None:
        now = time.monotonic()
        inside_run = FlowRunContext.get() or TaskRunContext.get()
        if not inside_run or now - self.started < _SECONDS_BEFORE_ARTIFACT:
            return
        if not last and now - self.updated < _SECONDS_BETWEEN_UPDATES:
            return
        self.updated = now
        if self.total is None:
            percent = 100.0 if last else 0.0
            text = f"{self.title}: {self.done} {self.unit} {note}".strip()
        else:
            percent = 100.0 * self.done / max(1, self.total)
            text = f"{self.title}: {self.done} of {self.total} {self.unit} {note}".strip()
        if self.artifact is None:
            key = re.sub(r"[^a-z0-9]+", "-", f"progress {self.title}".lower()).strip("-")
            created = create_progress_artifact(percent, key=key, description=text)
            assert isinstance(created, UUID)  # tasks are not coroutines
            self.artifact = created
        else:
            update_progress_artifact(self.artifact, percent, description=text)
