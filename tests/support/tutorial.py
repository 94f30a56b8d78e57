"""The tutorial: `python tests/support/tutorial.py` executes its cells and writes .github/tutorial.ipynb."""

from pathlib import Path

TUTORIAL = Path(__file__).parents[2] / ".github" / "tutorial.ipynb"
CELLS = (
    """# Does the signal survive?

A network can only learn if its signal reaches the last layer, and its gradient the first. Both are decided before
training, by the scale of the random weights. This notebook measures them.""",
    """import initprobe
from initprobe import ProbeConfig

result = initprobe.run(ProbeConfig(init="normal:std=0.01", act="tanh", layers=10, width=200))
print(result.in_a_line())""",
    """The outputs vanish: each layer multiplies their variance by 200 x 0.01^2 = 0.02. The table has one row per layer,
with the prediction of mean-field theory beside each measurement.""",
    """print(result.table(width=100))""",
    """The figure shows the same: the outputs collapse to a spike at 0.""",
    """result.figure("output")""",
    """Each finding has its evidence, its cause and a fix. The fix was probed before it is offered.""",
    """finding = result.diagnosis[0]
print(finding.evidence, finding.cause, finding.fix, sep="\\n")""",
    """Several initializers side by side. With tanh, Xavier keeps both variances; with ReLU it is He.""",
    """configs = [
    ProbeConfig(init=init, act=act, layers=10, width=200) for act in ("tanh", "relu") for init in ("xavier", "he")
]
comparison = initprobe.compare(configs)
print(comparison.table(width=100))
comparison.figure()""",
    """Theory alone, without a measurement: the gain of an activation, and what is recommended for a depth.""",
    """print(initprobe.gain("gelu"))
print(initprobe.recommend("gelu", layers=20, width=200).summary)""",
    """Every number is there as a pandas frame (`pip install pandas`).""",
    """frame = comparison.to_dataframe()
frame.groupby("title")[["output.variance", "output_gradient.variance"]].agg(["first", "last"])""",
    """Next: `initprobe tour` in a terminal, your own PyTorch model with `initprobe.torch.probe`, sweeps with
`initprobe.sweep`.""",
)


def is_code(number: int) -> bool:
    """Text and code take turns; the first cell is text."""
    return number % 2 == 1


def execute() -> None:
    """Execute the cells in a kernel, and write the notebook with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    new = nbformat.v4
    cells = [new.new_code_cell(text) if is_code(n) else new.new_markdown_cell(text) for n, text in enumerate(CELLS)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook = new.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    for cell in cells:
        cell["metadata"] = {}
    TUTORIAL.write_text(nbformat.writes(notebook), encoding="utf-8")


if __name__ == "__main__":
    execute()
