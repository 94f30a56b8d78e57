"""PyTorch is optional: where it is missing, one line says how to install it."""

from __future__ import annotations

from initprobe.errors import MissingLibraryError


def require_torch() -> None:
    """Check that PyTorch is installed.

    Raises:
        MissingLibraryError: PyTorch cannot be imported.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError("initprobe.torch needs PyTorch: pip install 'initprobe[torch]'") from error
