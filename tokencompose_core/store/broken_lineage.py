"""Which outputs were made from something that a store does not have any more."""

from collections.abc import Mapping

from tokencompose_core.store.keys import is_key
from tokencompose_core.store.survey import Entry


def find_broken_lineage(entries: Mapping[str, Entry]) -> dict[str, str]:
    """What each entry lacks of its inputs, in words, by key.

    An input that is no key is the digest of something outside the store, as of captions.

    Args:
        entries: All entries of the store, by key.
    """
    broken = {}
    for key, entry in entries.items():
        missing, others = [], []
        for name, digest in entry.inputs.items():
            if not is_key(name):
                continue
            if name not in entries:
                missing.append(name)
            elif entries[name].digests and digest not in entries[name].digests:
                others.append(name)
        if missing or others:
            kinds = (("is not there", missing), ("is another than it was made from", others))
            broken[key] = "; ".join(
                f"its input {names[0]} {what}" + (f", and {len(names) - 1} more" * (len(names) > 1))
                for what, names in kinds
                if names
            )
    return broken
