"""The names of all stages, and keys as people write them."""

import re

STAGES = (
    "ablation",
    "agreement",
    "attention",
    "card",
    "clipscore",
    "dataset",
    "detect",
    "encode",
    "features",
    "findings",
    "finetune",
    "floors",
    "generate",
    "import",
    "latency",
    "mask",
    "pairs",
    "parse",
    "quality",
    "rank",
    "reference",
    "register",
    "report",
    "score",
    "select",
    "shard",
    "train",
    "world",
)

KEY_BEGINNING = re.compile(rf"(?:{'|'.join(STAGES)})-v\d+-[0-9a-f]*")
"""A key of the store, or its beginning, from the stage on."""
