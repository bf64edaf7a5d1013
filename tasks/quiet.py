"""Keep libraries from talking over progress bars and stage lines."""

import logging
import warnings

_KNOWN = (
    ("Importing from timm.models", FutureWarning),
    ("Overwriting tiny_vit_", UserWarning),
    ("torch.meshgrid", UserWarning),
    (r"`torch.cuda.amp.autocast\(args...\)` is deprecated", FutureWarning),
    ("__floordiv__ is deprecated", UserWarning),
)


def hush_libraries() -> None:
    """Silence what is known to be harmless and that no user of this project can mend."""
    for message, category in _KNOWN:
        warnings.filterwarnings("ignore", message=message, category=category)
    logging.getLogger("flair").setLevel(logging.WARNING)
