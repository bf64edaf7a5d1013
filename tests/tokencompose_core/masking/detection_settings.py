"""How the pocket world's Grounding DINO is asked in the tests of the masks."""

SETTINGS = {
    "box_threshold": 0.25,
    "text_threshold": 0.25,
    "nms_threshold": 0.7,
    "short_side": 112,
    "long_side": 144,
}
