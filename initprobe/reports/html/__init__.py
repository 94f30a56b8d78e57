"""Reports as one HTML file that opens offline. Start reading in `page.py`.

A page is a template in `templates/`, filled by the module of the same name. `assets/` holds the style, our script and
uPlot (MIT licence, beside it), which draws the charts. Without scripts the page still shows verdict, tables and charts.

What may come in: a rendering of results as HTML. Numbers are those of result.json, never rounded.
"""
