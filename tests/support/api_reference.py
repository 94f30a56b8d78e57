"""The API reference: `pip install pdoc`, then `python tests/support/api_reference.py DIRECTORY` writes it as HTML."""

import sys
from importlib import import_module
from pathlib import Path

PUBLIC = ("initprobe", "initprobe.torch", "initprobe.testing")


def _write_out_methods(public: object) -> None:
    """Give a class of results the methods of `Shown` as its own; pdoc leaves out what a private class defines."""
    from initprobe.results.display import Shown

    if isinstance(public, type) and issubclass(public, Shown):
        for name in ("table", "figure", "to_dataframe"):
            if hasattr(public, name):
                setattr(public, name, getattr(public, name))


def write(directory: Path) -> None:
    """Write a page per public module."""
    import pdoc

    for name in PUBLIC:
        module = import_module(name)
        for public in module.__all__:  # pdoc does not see names that are loaded on first use
            setattr(module, public, getattr(module, public))
            _write_out_methods(getattr(module, public))
    pdoc.render.configure(docformat="google", footer_text="initprobe")
    pdoc.pdoc(*PUBLIC, output_directory=directory)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
