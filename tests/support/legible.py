"""What a figure says, and whether all of it can be read."""

import itertools

from matplotlib.text import Text

from initprobe.reports.figures.style import DPI

_WIDEST = 1000  # pixels of a page
_SMALLEST = 4.9  # points
_CUT, _TOUCH = 2, 2.5  # pixels of empty margin that the box of a text may have


def texts(figure):
    """All texts of a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def assert_legible(figure):
    """No text is cut, covers another or is tiny; legends stand below the axes, and the figure fits on a page."""
    assert figure.get_figwidth() * DPI <= _WIDEST
    boxes = _boxes(figure)
    sheet = figure.bbox
    for text, box in boxes:
        assert box.x0 > -_CUT and box.y0 > -_CUT and box.x1 < sheet.x1 + _CUT and box.y1 < sheet.y1 + _CUT, text
        assert text.get_fontsize() > _SMALLEST, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(overlap) < _TOUCH, (one, other)
    renderer = figure.canvas.get_renderer()
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        assert sheet.x0 <= box.x0 and box.x1 <= sheet.x1
        assert all(box.y1 <= axes.bbox.y0 for axes in figure.axes)


def _boxes(figure):
    """The texts that a figure shows, each with its box in pixels."""
    figure.draw_without_rendering()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    beyond = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _beyond(axis)}
    boxes = [(text, Text.get_window_extent(text)) for text in shown if text not in beyond]
    return [(text, box) for text, box in boxes if box.width > 1]


def _beyond(axis):
    """Labels of ticks beyond the ends of an axis, which are not drawn."""
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
        if not low - room <= tick.get_loc() <= high + room:
            yield from (tick.label1, tick.label2)
