"""What a figure says, and whether all of it can be read."""

from itertools import pairwise

from matplotlib.text import Text

from initprobe.reports.figures.style import DPI


def texts(figure):
    """All texts of a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def assert_legible(figure):
    """Nothing is cut at the border, no tick labels touch, and the figure fits on a page."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    assert figure.get_figwidth() * DPI <= 1000
    sheet = figure.bbox
    for axes in figure.axes:
        for axis, way in ((axes.xaxis, 0), (axes.yaxis, 1)):
            shown = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
            boxes = sorted(label.get_window_extent(renderer).get_points()[:, way].tolist() for label in shown)
            assert all(first[1] <= second[0] for first, second in pairwise(boxes)), texts(figure)
        tight = axes.get_tightbbox(renderer)
        assert tight.x0 >= sheet.x0 and tight.x1 <= sheet.x1 and tight.y0 >= sheet.y0 and tight.y1 <= sheet.y1
    for legend in figure.legends:
        box = legend.get_window_extent(renderer)
        assert sheet.x0 <= box.x0 and box.x1 <= sheet.x1
        assert all(box.y1 <= axes.get_tightbbox(renderer).y0 for axes in figure.axes)
