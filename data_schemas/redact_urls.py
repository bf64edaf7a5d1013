"""Take secrets out of URLs before they are shown or kept."""

import re

# Each part is looked at once, from left to right, so that a stranger's text of any length costs no
# more than its length. A ":" before the first "/" begins a password, or a port; as a password may
# hold "/", "@" and quotes, all up to the last "@" is taken for one.
_URL = re.compile(
    r"://"
    r"(?P<user>[^:/?#\s]*(?::(?!//)(?:(?!://)[^?#\s])*)?@)?"
    r"(?P<place>(?:(?!://)[^?#\s'\"<>])*)"
    r"(?P<rest>[?#][^\s'\"<>]*)?"
)
_VALUE = re.compile(r"(?<=[?&#;])(?P<name>[^=&#;?]+=)?[^&#;]+")
# What has a ":" before "?" or "#", and no port behind it, is the beginning of a broken password.
_NO_PORT = re.compile(r"[^:/]*:(?!\d*(?:/|$))")
# A blank or a quote ends a URL in a text, but not always where it was written.
_NAMED = re.compile(
    r"(?i)(?<![\w-])(?=[\w-]*?"
    r"(?:token|signature|secret|passw(?:or)?d|credential|session[_-]?id|(?:api|access)[_-]?key))"
    r"(?P<name>[\w-]++=)[^\s&'\"<>;]+"
)
_ENDS_USER = re.compile(r"[?#\s]")
HIDDEN = "***"
MOST_CHARACTERS = 2000
_WAS_CUT = " … (cut)"


def redact_urls(text: str) -> str:
    """The text without what its URLs may keep secret.

    Names and passwords before the host, and the values of a query or a fragment, such as those of
    signed URLs, become `***`. Scheme, host, path and the names of the values stay, which say enough
    to find the row; but behind a ":" all up to the last "@" of a path is taken for a password.

    Args:
        text: A URL, or a message that may quote some.
    """
    return _NAMED.sub(rf"\g<name>{HIDDEN}", _URL.sub(_redact, text))


def cut_and_redact(text: str) -> str:
    """The text as `redact_urls` leaves it, cut, which it then says, if it is very long.

    It is cut first: strangers' texts are as long as they like. What a cut leaves of a password
    cannot be told from a host, so that a URL that is cut before its query is left out.

    Args:
        text: Any text.
    """
    return _cut(redact_urls(_cut(text)))


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    kept = text[: MOST_CHARACTERS - len(_WAS_CUT) - len(HIDDEN)]
    place = kept.rfind("://")
    if place >= 0 and not _ENDS_USER.search(kept, place + 3):
        kept = f"{kept[: place + 3]}{HIDDEN}"
    return kept + _WAS_CUT


def _redact(url: re.Match[str]) -> str:
    user, place, rest = url["user"], url["place"], url["rest"] or ""
    if not user and "@" in rest and _NO_PORT.match(place):
        return f"://{HIDDEN}"
    rest = _VALUE.sub(lambda value: f"{value['name'] or ''}{HIDDEN}", rest)
    return f"://{f'{HIDDEN}@' if user else ''}{place}{rest}"
