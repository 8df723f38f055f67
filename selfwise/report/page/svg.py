"""Figures inside a page: markup of matplotlib that a strict policy lets through.

matplotlib writes `style` attributes and a `<style>` for the whole page, which a policy that allows
one style by its hash forbids. The attributes become classes of that one style here, and names that
nothing points at go, since several figures in a page would have the same.
"""

import re
import xml.etree.ElementTree as ElementTree

from selfwise.report.page.figures import INCH

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
REMOVED = {f"{{{SVG}}}{name}" for name in ("style", "metadata")}
FORBIDDEN = {f"{{{SVG}}}{name}" for name in ("script", "foreignObject", "image", "a")}
REFERENCE = re.compile(r"#([^)\"']+)")
PER_POINT = 1.28 / INCH  # CSS pixels; below 4 / 3, so that two of 4.6 inches stand side by side

ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


class Figures:
    """The figures of one page; `style` is what their classes mean."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # what a class says: its name

    @property
    def style(self) -> str:
        """CSS rules, in the order in which the figures were added."""
        return "".join(f"svg .{name}{{{css}}}\n" for css, name in self._names.items())

    def add_figure(self, markup: bytes) -> str:
        """Return a figure for the page, as wide as it was drawn and not wider."""
        root = ElementTree.fromstring(markup)
        elements = list(root.iter())
        assert not FORBIDDEN & {element.tag for element in elements}, "a figure only draws"
        for parent in elements:
            for child in [child for child in parent if child.tag in REMOVED]:
                parent.remove(child)
        values = [text for element in elements for text in element.attrib.values()]
        referenced = {name for text in values for name in REFERENCE.findall(text)}
        for element in elements:
            if element.get("id") not in referenced:
                element.attrib.pop("id", None)
            css = element.attrib.pop("style", "")
            if css:
                element.set("class", self._names.setdefault(css, f"f{len(self._names)}"))
        root.set("width", f"{float(root.get('viewBox', '').split()[2]) * PER_POINT:.0f}")
        root.set("aria-hidden", "true")  # the words for it are at what holds it
        return ElementTree.tostring(root, encoding="unicode")
