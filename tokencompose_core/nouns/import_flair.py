"""Import flair, and leave the logging of the process as it is. To be imported before flair is.

flair sets logging up anew when it is imported. That flushes and closes all handlers while no other
thread may log. One of Prefect's threads that begins to send something at that time waits for this,
and has the lock that flushing waits for: the flow would stand still for ever.
"""

import logging.config
from typing import Any


def _leave_as_it_is(config: Any) -> None:
    """In the place of `dictConfig`, while flair is imported."""


_configure = logging.config.dictConfig
logging.config.dictConfig = _leave_as_it_is
try:
    import flair
finally:
    logging.config.dictConfig = _configure

__all__ = ["flair"]
