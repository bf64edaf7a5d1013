"""Open an image whole, or say what is wrong with it."""

from tokencompose_core.store.open_image import open_image

__all__ = ["open_image"]
