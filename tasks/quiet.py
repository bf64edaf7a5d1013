"""Keep libraries from talking over progress bars and stage lines."""

import logging
import warnings

_KNOWN = (
    ("Importing from timm.models", FutureWarning),
    ("Overwriting tiny_vit_", UserWarning),
    ("torch.meshgrid", UserWarning),
    (r"`torch.cuda.amp.autocast\(args...\)` is deprecated", FutureWarning),
    ("__floordiv__ is deprecated", UserWarning),
    ("The `device` argument is deprecated", FutureWarning),
)


def hush_libraries() -> None:
    """Silence what is known to be harmless and that no user of this project can mend."""
    for message, category in _KNOWN:
        warnings.filterwarnings("ignore", message=message, category=category)
    # flair sets its level when it is imported, which comes later; a filter stays.
    logging.getLogger("flair").addFilter(_is_warning)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
