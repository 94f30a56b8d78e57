"""The estimate of memory is never below what a process takes, and never far above it."""

import json
import subprocess
import sys

import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.probe.memory import cost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")

# From 200 MB on, what is said is at most this much above what was measured. Below, the program itself is most of it.
ROOM, FROM, PROGRAM = 1.3, 200e6, 45e6

RUN = """
import json, re, sys
from initprobe.config.probe_config import ProbeConfig
from initprobe.probe.run import run
fields, threads = json.loads(sys.argv[1])
if "weights" in fields:
    import numpy as np
    sizes, rng = fields.pop("sizes"), np.random.default_rng(0)
    pairs = enumerate(zip(sizes, sizes[1:]), start=1)
    np.savez(fields["weights"], **{f"W{n}": rng.standard_normal(fans, np.float32) / fans[0] ** .5 for n, fans in pairs})
    from subprocess import run as start  # the arrays above are not to count
    sys.exit(start([sys.executable, "-c", sys.argv[2], json.dumps([fields, threads]), sys.argv[2]]).returncode)
run(ProbeConfig(**fields), threads=threads)
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""
# Without what makes a file first.
MEASURE = RUN.replace(RUN[RUN.index('if "weights"') : RUN.index("run(Probe")], "")

SMALL = {
    "tiny": {"layers": 2, "width": 5, "batch": 10, "draws": 2},
    "one layer of one unit": {"layers": 1, "width": 1, "batch": 2, "draws": 1},
}
CASES = SMALL | {
    "the defaults": {},
    "deep and narrow": {"layers": 2000, "width": 50, "batch": 100, "draws": 1},
    "wide": {"layers": 4, "width": 2000, "batch": 500, "draws": 1},
    "wide, dL/dW whole": {"layers": 4, "width": 2000, "batch": 500, "draws": 1, "full_weight_gradient": True},
    "large batch": {"layers": 6, "width": 300, "batch": 20_000, "draws": 1},
    "float64": {"layers": 10, "width": 1000, "batch": 2000, "draws": 1, "dtype": "float64"},
    "batches": {"layers": 10, "width": 1200, "batch": 500, "batches": 3, "draws": 2},
    "layer norm": {"layers": 10, "width": 1000, "batch": 2000, "draws": 1, "norm": "layer"},
    "batch norm": {"layers": 10, "width": 1000, "batch": 2000, "draws": 1, "norm": "batch", "act": "gelu"},
    "residual": {"layers": 10, "width": 1000, "batch": 2000, "draws": 1, "residual": True, "act": "relu"},
    "many draws": {"layers": 10, "width": 30, "batch": 30, "draws": 1500},
    "training": {"layers": 6, "width": 1000, "batch": 2000, "draws": 1, "train_steps": 3},
    "a loss": {"layers": 6, "width": 1500, "batch": 500, "draws": 2, "loss": "mse"},
    "lsuv": {"layers": 5, "width": 1000, "batch": 4000, "draws": 1, "init": "lsuv"},
    "autoencoder": {"layers": 4, "width": 1000, "batch": 1000, "draws": 1, "init": "autoencoder:epochs=1"},
    "orthogonal": {"layers": 4, "width": 1500, "batch": 100, "draws": 1, "init": "orthogonal"},
    "segments": {"layers": 110, "width": 2048, "batch": 256, "draws": 1},
    "segments of activations": {"layers": 300, "width": 512, "batch": 2000, "draws": 1, "norm": "batch"},
    "sparse": {"layers": 4, "width": 2000, "batch": 200, "draws": 1, "init": "sparse:sparsity=0.9,std=0.1"},
    "many draws of many batches": {"layers": 4, "width": 20, "batch": 100, "batches": 10, "draws": 1000},
    "lsuv, wide": {"layers": 4, "width": 2000, "batch": 300, "draws": 1, "init": "lsuv"},
    "autoencoder, large batch": {"layers": 3, "width": 300, "batch": 8000, "draws": 1, "init": "autoencoder:epochs=1"},
    "a loss, large batch": {"layers": 6, "width": 300, "batch": 10_000, "draws": 1, "loss": "cross-entropy"},
    "training, float64": {"layers": 4, "width": 1200, "batch": 600, "draws": 1, "train_steps": 2, "dtype": "float64"},
    "batch norm, residual, relu": {
        "layers": 10,
        "width": 600,
        "batch": 3000,
        "draws": 1,
        "norm": "batch",
        "residual": True,
        "act": "relu",
    },
    "tapered": {"widths": (3000, 100, 100, 100), "input_width": 3000, "batch": 1000, "draws": 1},
    "wide input": {"layers": 2, "width": 100, "input_width": 20_000, "batch": 1000, "draws": 1},
    "gelu": {"layers": 10, "width": 1000, "batch": 2000, "draws": 1, "act": "gelu"},
    "weights from a file": {"sizes": (1500,) * 7, "batch": 500, "init": None},
}


def peak(fields, threads, directory):
    """Bytes of a run at its peak, and the estimate."""
    given = {"init": "xavier", "act": "tanh"} | fields
    if "sizes" in given:
        given["weights"] = str(directory / "w.npz")
    command = [sys.executable, "-c", RUN, json.dumps([given, threads]), MEASURE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    given.pop("sizes", None)
    return int(done.stdout), cost(ProbeConfig(**given), threads).peak_bytes


def check(fields, threads, directory):
    measured, said = peak(fields, threads, directory)
    print(f"\nPEAK {said / 1e6:.0f} MB said, {measured / 1e6:.0f} measured, {100 * (said / measured - 1):+.0f}%")
    assert said >= measured
    assert said <= max(ROOM * measured, measured + PROGRAM if measured <= FROM else 0)


@pytest.mark.parametrize("case", SMALL)
def test_a_small_run_takes_what_the_program_takes(case, tmp_path):
    check(SMALL[case], 2, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("case", CASES)
def test_the_stated_memory_is_the_memory_taken(case, threads, tmp_path):
    check(CASES[case], threads, tmp_path)
