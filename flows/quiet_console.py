"""Keep the console for progress and results: what is printed otherwise, or of no use, stays out."""

import logging
import sys

from prefect.logging.configuration import ensure_logging_setup

_RUNS = ("prefect.flow_runs", "prefect.task_runs")
# Prefect's services say this of themselves while a run that has ended reports to its server.
_DRAINING = "Still processing items"
# Of each run that Ctrl-C has reached, as of a crash; the command says by itself that it stopped.
_INTERRUPTED = "Execution was aborted by an interrupt signal."
# Says twice for each of its tries what the error that ends them says once.
_HUB_RETRIES = "huggingface_hub.utils._http"
_FIRST_RETRY = "[Retry 1/"


class QuietConsole(logging.Filter):
    """Passes no record of an error, or of an interruption, that is printed by itself in the end.

    Args:
        printed: Kinds of these errors.
    """

    def __init__(self, printed: tuple[type[BaseException], ...]) -> None:
        super().__init__()
        self.printed = printed

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the console shall show a record."""
        error = record.exc_info[1] if record.exc_info else None
        if record.name.startswith(_RUNS) and (
            isinstance(error, self.printed) or _INTERRUPTED in str(record.msg)
        ):
            return False
        return not str(record.msg).startswith(_DRAINING)


def say_once_that_a_hub_is_asked_again(record: logging.LogRecord) -> bool:
    """Print a line at the first of huggingface_hub's tries, and show none of what it says of them.

    Its own handler and Prefect's would both print it.

    Args:
        record: Its warning.
    """
    if _FIRST_RETRY in str(record.msg):
        sys.stderr.write("The model hub does not answer; it is asked again, for a minute.\n")
    return False


def quiet_console(printed: tuple[type[BaseException], ...]) -> None:
    """Have Prefect's console leave out errors of these kinds, which the UI's logs keep, and others.

    That a model hub does not answer, and is asked again, is said once.
    """
    ensure_logging_setup()
    retries = logging.getLogger(_HUB_RETRIES)
    if say_once_that_a_hub_is_asked_again not in retries.filters:
        retries.addFilter(say_once_that_a_hub_is_asked_again)
    # Handlers of the root logger alone write to the console; those of runs report to the UI.
    for handler in logging.getLogger().handlers:
        if not any(isinstance(own, QuietConsole) for own in handler.filters):
            handler.addFilter(QuietConsole(printed))
