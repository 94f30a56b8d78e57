"""Results as tables, text files and figures. Start reading in `run_table.py`; figures are in `figures/`.

Modules `html_...` write one HTML file that opens offline; start in `html_page.py`. A page is a template in
`html/templates`, filled by its module. `html/assets` holds the style, our script and uPlot (MIT licence, beside it),
which draws the charts. Without scripts a page still shows verdict, tables and charts. Its numbers are never rounded.

What may come in: a rendering of records of `results`, and words for their numbers. Nothing here computes a statistic.
rich stays in this room and in `cli`. matplotlib stays in `figures`, and is loaded only when a figure is drawn.
"""
