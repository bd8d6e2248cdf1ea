"""A flame graph: stacks laid out as boxes, as wide as their share; drawn as SVG without scripts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from zlib import crc32

from harness.pprof.profile import Profile, ValueType, column
from harness.pprof.units import counted, printable

WIDTH = 1200
_ROW = 18
_CHARACTER = 6.6
_NARROWEST = 0.2
_MINIMUM_TEXT = 30

STYLE = (
    "text{font:11px monospace;pointer-events:none;fill:#000}"
    "rect{stroke:#fff;stroke-width:.5}rect:hover{stroke:#000}"
)


@dataclass
class Node:
    """A call, reached by one way from the root: its own place and what it calls."""

    name: str
    value: int = 0
    gone: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)

    def child(self, name: str) -> "Node":
        """Return the call of `name` from here, a new one where there is none."""
        return self.children.setdefault(name, Node(name))

    @property
    def width(self) -> int:
        """Return how much came and went here together: a difference may have both."""
        return self.value + self.gone


@dataclass(frozen=True)
class Box:
    """One box: place and width in pixels, and the texts on it and over it."""

    x: float
    width: float
    depth: int
    name: str
    title: str
    shrunk: bool


def tree(profile: Profile) -> Node:
    """Return the calls of `profile`, from the outermost in, in the profile's first value."""
    shown, root = column(profile), Node("all")
    for sample in profile.samples:
        node = root
        _add(node, sample.values[shown])
        for frame in reversed(sample.stack):
            node = node.child(printable(frame.function))
            _add(node, sample.values[shown])
    return root


def _add(node: Node, value: int) -> None:
    node.value += max(value, 0)
    node.gone += max(-value, 0)


def boxes(profile: Profile, width: int = WIDTH) -> Iterator[Box]:
    """Lay the calls out over `width` pixels; what would be narrower than a hair is left out."""
    root = tree(profile)
    unit = profile.types[column(profile)]
    scale = width / root.width if root.width else 0.0
    stack = [(root, 0.0, 0)]
    while stack:
        node, x, depth = stack.pop()
        if node.width * scale < _NARROWEST:
            continue
        yield _box(node, x, depth, root, scale, unit)
        for each in sorted(node.children.values(), key=lambda child: child.name):
            stack.append((each, x, depth + 1))
            x += each.width * scale


def _box(node: Node, x: float, depth: int, root: Node, scale: float, unit: ValueType) -> Box:
    share = f"{100 * node.width / root.width:.1f} %"
    value = counted(node.value - node.gone, unit.type, unit.unit)
    title = f"{node.name}: {value}, {share}"
    return Box(x, node.width * scale, depth, node.name, title, node.gone > node.value)


def svg(profile: Profile, width: int = WIDTH, style: bool = True) -> str:
    """Return the flame graph of `profile` as an SVG document; hovering over a box names it.

    Without `style` the page that it stands in gives the letters and lines.
    """
    laid_out = list(boxes(profile, width))
    height = _ROW * (1 + max((box.depth for box in laid_out), default=0)) + 2
    drawn = "\n".join(_drawn(box) for box in laid_out) or '<text x="10" y="15">nothing</text>'
    css = f"<style>{STYLE}</style>" if style else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="flame graph">{css}\n{drawn}\n</svg>\n'
    )


def _drawn(box: Box) -> str:
    y = 1 + box.depth * _ROW
    return (
        f'<g data-x="{box.x:.3f}" data-w="{box.width:.3f}" data-d="{box.depth}">'
        f"<title>{escape(box.title)}</title>"
        f'<rect x="{box.x:.2f}" y="{y}" width="{box.width:.2f}" height="{_ROW - 1}" rx="2" '
        f'fill="{_colour(box)}"/>'
        f'<text x="{box.x + 3:.2f}" y="{y + 12}">{escape(_fitting(box))}</text></g>'
    )


def _fitting(box: Box) -> str:
    room = int((box.width - 6) / _CHARACTER)
    if box.width < _MINIMUM_TEXT:
        return ""
    return box.name if len(box.name) <= room else f"…{box.name[-room + 1 :]}"


def _colour(box: Box) -> str:
    """Return a colour that a module always has: green for what went, warm for all else."""
    tint = crc32(box.name.rpartition(".")[0].encode()) % 40
    hue = 100 + tint if box.shrunk else 15 + tint
    return f"hsl({hue} 85% 70%)"
