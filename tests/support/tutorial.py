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
result""",
    """The outputs vanish: each layer multiplies their variance by 200 x 0.01^2 = 0.02. The verdict comes first. The
table has one row per layer, with the prediction of mean-field theory beside each measurement. In the figure, the
outputs collapse to a spike at 0.

Each finding has its evidence, its cause and a fix. The fix was measured before it is offered.""",
    """finding = result.diagnosis[0]
print(finding.evidence, finding.cause, finding.fix, sep="\\n")""",
    """Every result has a line, `print(result)`, a text, `result.table()`, and a pandas frame, `result.to_dataframe()`
(`pip install pandas`). Results with figures have `result.figure(kind)`.""",
    """print(result)
result.to_dataframe()[["layer", "output.variance", "theory.output_variance", "output_gradient.variance"]]""",
    """Several initializers side by side, the worst first. Ten layers of tanh survive with both; ten of ReLU need
He.""",
    """configs = [
    ProbeConfig(init=init, act=act, layers=10, width=200) for act in ("tanh", "relu") for init in ("xavier", "he")
]
comparison = initprobe.compare(configs)
comparison""",
    """`diff` says what changed by more than a tolerance, between two results or files of results. The default is
1%.""",
    """initprobe.diff(comparison[0], comparison[1], ["verdict", "output.variance", "output_gradient.variance:10%"])""",
    """Theory alone, without a measurement: which gain suits an activation.""",
    """initprobe.gain("gelu")""",
    """Where do very deep networks settle? Below the edge of chaos gradients vanish, above it they explode.""",
    """import numpy as np

initprobe.phase("tanh", sigma_w=np.linspace(0.5, 3, 60), sigma_b=np.linspace(0, 1, 60)).figure()""",
    """And which weights are recommended for a depth, with the code that draws them. They were measured too.""",
    """initprobe.recommend("relu", layers=20, width=200)""",
    """Next: `initprobe tour` in a terminal, your own PyTorch model with `initprobe.torch.probe`, many runs with
`initprobe.sweep`, saved results with `initprobe.load`.""",
)


def is_code(number: int) -> bool:
    """Text and code take turns; the first cell is text."""
    return number % 2 == 1


def _is_empty(output: dict) -> bool:
    return output["output_type"] == "display_data" and not any(output["data"].values())


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
        if "outputs" in cell:  # without the cleared displays of progress bars
            cell["outputs"] = [output for output in cell["outputs"] if not _is_empty(output)]
    TUTORIAL.write_text(nbformat.writes(notebook), encoding="utf-8")


if __name__ == "__main__":
    execute()
