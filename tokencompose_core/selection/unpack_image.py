"""Write the bytes of an image that came inside another file below the image root."""

import hashlib
import uuid
from pathlib import Path

UNPACKED_NAME = "unpacked"


def unpack_image(images_dir: Path, content: bytes, suffix: str = "") -> str:
    """Write an image under the digest of its bytes; one that is there whole is left as it is.

    Args:
        images_dir: The image root.
        content: The bytes of the image's file.
        suffix: What its name ends in, with the dot.

    Returns:
        Its path below the image root, `unpacked/<digest><suffix>`.
    """
    name = f"{UNPACKED_NAME}/{hashlib.sha256(content).hexdigest()}{suffix}"
    path = images_dir / name
    # After a power cut a name may be there without its bytes. To wait for the disk at every image
    # would cost more than to look at its size.
    if not path.is_file() or path.stat().st_size != len(content):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Processes in two containers may have one number, and write below one image root.
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        part.write_bytes(content)
        part.replace(path)  # whole or not at all, if this stops half-way
    return name
