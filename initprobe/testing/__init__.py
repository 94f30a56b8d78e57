"""For the tests of your own PyTorch model: assertions, and a plugin of pytest.

Start reading in `assertions.py`. No module here imports NumPy, PyTorch or pydantic before a test asks for it. pytest
loads `pytest_plugin.py` at each of its starts, wherever initprobe is installed.
"""

from initprobe.testing.assertions import assert_healthy, assert_init

__all__ = ["assert_healthy", "assert_init"]
