"""Keys of samples: valid in WebDataset, and made from the sample's own name alone."""

import re
from pathlib import PurePosixPath
from urllib.parse import urlparse

from tokencompose_core.store.keys import text_digest

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_MOST_CHARACTERS = 40
_DIGEST_CHARACTERS = 12


def key_of_name(name: str) -> str:
    """A key without dots, slashes and spaces, equal for equal names and different for others.

    A name that is a key already stays as it is, as does `<key>.jpg`. Any other, such as
    `holidays/IMG 7.png`, is cut down to letters and digits and gets a digest of the whole name:
    equal stems in two folders have two keys. No other name plays a part, so that a set which grows
    keeps its keys.

    Args:
        name: An id, a path below the image root, or a URL.
    """
    plain = name.removesuffix(".jpg")
    if _PLAIN.fullmatch(plain):
        return plain
    path = PurePosixPath(_path_of(name) if "://" in name else name)
    readable = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-")[:_MOST_CHARACTERS]
    digest = text_digest(name)[:_DIGEST_CHARACTERS]
    return f"{readable}-{digest}" if readable else digest


def _path_of(url: str) -> str:
    try:
        return urlparse(url).path
    except ValueError:  # such as "https://[cdn/a.jpg", which is left out where it is fetched
        return url
