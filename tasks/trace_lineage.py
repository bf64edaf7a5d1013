"""An output back to its captions, models and settings, and on to what was made from it."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

from prefect.artifacts import create_markdown_artifact

from data_schemas.configs.operate_config import LineageConfig
from tasks.cards import artifact_key
from tasks.mask_nouns import MaskSpec
from tasks.stage import open_store
from tokencompose_core.store.ancestry import Ancestry, Node, find_key, trace_ancestry
from tokencompose_core.store.history import History

_SHOWN_CHARACTERS = 64  # a digest
_LINE = 96
_MOST_NODES = 80
_MOST_SETTINGS = 40
_MOST_BYTES = 190_000


def trace_lineage(config: LineageConfig) -> Ancestry:
    """Follow an output in both directions through the manifests of the store.

    Raises:
        ValueError: If the store has no such output, or several begin with the key.
    """
    history = History(open_store())
    return trace_ancestry(
        history, find_key(history, config.key), {MaskSpec.stage: MaskSpec.part_fields}
    )


def tree_lines(found: Ancestry, edges: Mapping[int, Sequence[int]], *, settings: bool) -> list[str]:
    """A tree as text, from the output on; a node that came before is named only.

    Args:
        found: The nodes.
        edges: `made_from` or `made_into` of it.
        settings: Whether settings are listed below each node.
    """
    shown: set[int] = set()

    def lines(number: int, first: str, others: str) -> Iterator[str]:
        node = found.nodes[number]
        if number in shown:
            yield f"{first}{node_title(node)}, as above"
            return
        shown.add(number)
        yield first + "  ".join([node_title(node), *node_figures(node)])
        below = edges.get(number, ())
        if settings:
            bar = "│ " if below else "  "
            yield from (
                f"{others}{bar}  {name} {_short(value)}"
                for name, value in list(node.settings.items())[:_MOST_SETTINGS]
            )
        for place, other in enumerate(below, start=1):
            last = place == len(below)
            yield from lines(
                other, others + ("└─ " if last else "├─ "), others + ("   " if last else "│  ")
            )

    return list(lines(0, "", ""))


def lineage_lines(found: Ancestry) -> list[str]:
    """Both trees, and the versions of the packages."""
    lines = [found.key, "", "made from", *tree_lines(found, found.made_from, settings=True)]
    versions = ", ".join(f"{name} {value}" for name, value in found.nodes[0].versions.items())
    lines += ["", *wrap(f"made with {versions or 'versions that were not recorded'}", _LINE)]
    others = [
        f"{node_title(node)}: {name} {value}"
        for node in found.nodes
        if node.is_stored
        for name, value in node.versions.items()
        if found.nodes[0].versions.get(name, value) != value
    ]
    lines += [f"but {other}" for other in others]
    into = tree_lines(found, found.made_into, settings=False)
    return [*lines, "", "made into", *(into[1:] or ["nothing yet"])]


def node_title(node: Node) -> str:
    """A node in few words."""
    if not node.is_stored and not node.is_gone:
        sets = f" of {', '.join(node.caption_sets)}" if node.caption_sets else ""
        return f"{_short(node.title)}{sets}  {_short(node.members[0])}"
    count = f" x {len(node.members)}" if len(node.members) > 1 else ""
    return f"{node.title}{count}" + (", gone from the store" if node.is_gone else "")


def node_figures(node: Node) -> list[str]:
    """What there is to know of outputs in a line."""
    if not node.is_stored:
        return []
    first, last = (made[:10] for made in node.made)
    days = first if first == last else f"{first} to {last}"
    key = node.members[0] if len(node.members) == 1 else f"{node.members[0]} and others"
    return [f"{node.num_in} in, {node.num_out} out", *([days] if days else []), key]


def mermaid(found: Ancestry) -> list[str]:
    """Both directions in one drawing, from the captions on."""
    lines = ["```mermaid", "graph LR"]
    for node in found.nodes[:_MOST_NODES]:
        words = [node_title(node)]
        if node.is_stored:
            words.append(f"{node.num_in} in, {node.num_out} out")
        lines.append(f'  n{node.number}["{"<br/>".join(map(_quoted, words))}"]')
    edges = {(other, number) for number, own in found.made_from.items() for other in own}
    edges |= {(number, other) for number, own in found.made_into.items() for other in own}
    drawn = sorted(pair for pair in edges if max(pair) < _MOST_NODES)
    lines += [f"  n{start} --> n{end}" for start, end in drawn]
    lines += ["  style n0 stroke-width:4px", "```"]
    if len(found.nodes) > _MOST_NODES:
        lines += ["", f"and {len(found.nodes) - _MOST_NODES} more"]
    return lines


def publish_lineage(found: Ancestry) -> Ancestry:
    """Publish the drawing and the trees as one artifact of the flow run.

    Returns:
        The same.
    """
    text = "\n".join(lineage_lines(found)).replace("```", "'''")
    head = "\n".join([f"# {found.key}", "", *mermaid(found), "", "```text", ""])
    room = _MOST_BYTES - len(head.encode())
    text = text.encode()[:room].decode("utf-8", "ignore")
    create_markdown_artifact(
        key=artifact_key("lineage", found.key),
        markdown=f"{head}{text}\n```",
        description=f"lineage of {found.key}",
    )
    return found


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _quoted(text: str) -> str:
    """Text that ends no label and no tag of a Mermaid drawing."""
    for sign, name in (("#", "35"), ("&", "38"), ('"', "34"), ("<", "60"), (">", "62")):
        text = text.replace(sign, f"\0{name};")
    return text.replace("\0", "#")
