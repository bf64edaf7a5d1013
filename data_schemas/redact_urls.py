"""Take secrets out of URLs before they are shown or kept."""

import re

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)"
    r"(?P<user>[^/?#\s'\"<>]*@)?"
    r"(?P<place>[^?#\s'\"<>]*)"
    r"(?P<rest>[?#][^\s'\"<>]*)?"
)
_VALUE = re.compile(r"(?<=[?&#;])(?P<name>[^=&#;?]+=)?[^&#;]+")
# A blank or a quote ends a URL in a text, but not always where it was written.
_NAMED = re.compile(
    r"(?i)\b([\w-]*(?:token|signature|secret|passw(?:or)?d|credential|api[_-]?key|access[_-]?key)"
    r"[\w-]*=)[^\s&'\"<>;]+"
)
HIDDEN = "***"


def redact_urls(text: str) -> str:
    """The text without what its URLs may keep secret.

    Names and passwords before the host, and the values of a query or a fragment, such as those of
    signed URLs, become `***`. Scheme, host, path and the names of the values stay, which say enough
    to find the row.

    Args:
        text: A URL, or a message that may quote some.
    """
    return _NAMED.sub(rf"\g<1>{HIDDEN}", _URL.sub(_redact, text))


def _redact(url: re.Match[str]) -> str:
    user = f"{HIDDEN}@" if url["user"] else ""
    rest = _VALUE.sub(lambda value: f"{value['name'] or ''}{HIDDEN}", url["rest"] or "")
    return f"{url['scheme']}{user}{url['place']}{rest}"
