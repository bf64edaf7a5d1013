"""Sizes as people read them."""


def format_bytes(num_bytes: int) -> str:
    """A number of bytes in three digits and a unit."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
