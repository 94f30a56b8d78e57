"""Studies: questions that take more than one run to answer, `recommend` and `spectrum`.

What comes in: an activation and a depth, or a prepared experiment. What goes out: a `Recommendation` or a `Spectrum`,
which reports draw. Texts of a study stand beside its numbers.

Start reading in `recommendation.py` (`choice.py` decides, `frameworks.py` writes the weights as code) and in
`spectrum.py` (`spectrum_statistics.py` summarises singular values).
"""
