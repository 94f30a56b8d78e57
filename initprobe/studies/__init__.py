"""Studies: questions that take more than one run to answer, `recommend`, `spectrum` and `width`.

What comes in: an activation and a depth, or a prepared experiment. What goes out: a `Recommendation` or a `Spectrum`,
which reports draw. Texts of a study stand beside its numbers.

Start reading in `recommendation.py` (`choice.py` decides, `frameworks.py` writes the weights as code) and in
`spectrum.py` (`spectrum_statistics.py` summarises singular values). `width.py` measures networks of several widths; the
rules about their slopes are in `diagnosis/width_verdict.py`.
"""
