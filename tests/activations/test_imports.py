"""A record says whether its functions load `scipy.special`, of which estimates of memory know only by this."""

import subprocess
import sys

CODE = """
import sys
import numpy as np
from initprobe.activations.catalogue import ACTIVATIONS
z = np.linspace(-3, 3, 7, dtype=np.float32)
records = sorted(ACTIVATIONS.values(), key=lambda record: record.uses_scipy)
for record in records:
    record.slope(z, record.value(z))
    assert ("scipy.special" in sys.modules) == record.uses_scipy, record.name
print(sum(record.uses_scipy for record in records), len(records))
"""


def test_records_say_whether_they_load_scipy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    some, every = map(int, done.stdout.split())
    assert 0 < some < every
