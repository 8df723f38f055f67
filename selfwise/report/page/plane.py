"""Maps of points: the position, color and shape of each point."""

from collections import Counter
from collections.abc import Sequence

from selfwise.report.page.parts import Map

WIDTH, HEIGHT, EDGE = 1000, 720, 14  # of the drawing, in its own units
NUM_COLORS = 10  # of the style, .c0 to .c9; what is in no class has none
SHAPES = (
    "M-7 0a7 7 0 1 0 14 0a7 7 0 1 0-14 0Z",  # circle
    "M-6-6H6V6H-6Z",  # square
    "M0-8.5 8 6H-8Z",  # triangle
    "M0-9 9 0 0 9-9 0Z",  # diamond
)
PLAIN = "n"  # the color of points without a class, and of classes beyond the last
MAX_CLASSES = 20  # pairs of color and shape; the largest classes get one of their own


def lay_out_map(part: Map, pictures: Sequence[dict[str, str]]) -> dict[str, object]:
    """Return the data of a map for the template and the script."""
    ranks = _rank_groups(part.groups)
    points = [
        {
            "x": round(EDGE + x * (WIDTH - 2 * EDGE)),
            "y": round(HEIGHT - EDGE - y * (HEIGHT - 2 * EDGE)),
            **_color_and_shape(ranks.get(group) if ranks else 0),
            "title": f"{name} ({group})" if group else name,
        }
        for (x, y), name, group in zip(
            part.points, part.names, part.groups or [""] * len(part.names), strict=True
        )
    ]
    legend = [{"name": name, **_color_and_shape(rank)} for name, rank in ranks.items()]
    about = f"a map of {len(points)} points; arrow keys go from one to the next"
    data = {"names": list(part.names), "groups": list(part.groups), "pictures": list(pictures)}
    return {
        "points": points,
        "legend": legend,
        "about": about,
        "data": data,
        "width": WIDTH,
        "height": HEIGHT,
        "caption": part.caption,
    }


def _rank_groups(groups: Sequence[str]) -> dict[str, int]:
    """Return which color and shape each class has: the largest ones their own, by name."""
    counts = Counter(group for group in groups if group)
    largest = [
        name for name, _ in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))[:MAX_CLASSES]
    ]
    return {name: rank for rank, name in enumerate(sorted(largest))}


def _color_and_shape(rank: int | None) -> dict[str, str | int]:
    if rank is None:
        return {"color": PLAIN, "shape": SHAPES[0]}
    return {"color": rank % NUM_COLORS, "shape": SHAPES[rank % len(SHAPES)]}
