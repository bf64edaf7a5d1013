"""Keep libraries from talking over progress bars and stage lines."""

import logging
import warnings

# These write out all that lies behind a text encoder's limit, of each caption of a batch as padding
# up to the longest: thousands of words. Stages say in their own what is not read.
_SAY_WHAT_IS_CUT = (
    ("transformers.tokenization_utils_base", "Token indices sequence length is longer than"),
    (
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "The following part of your input was truncated",
    ),
    (
        "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
        "The following part of your input was truncated",
    ),
)

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
    for name, _ in _SAY_WHAT_IS_CUT:
        logging.getLogger(name).addFilter(_is_no_cut)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _is_no_cut(record: logging.LogRecord) -> bool:
    return not any(
        record.name == name and str(record.msg).startswith(message)
        for name, message in _SAY_WHAT_IS_CUT
    )
