"""`initprobe.run()` in a program of the user changes nothing that belongs to the whole process."""

import json
import subprocess
import sys

PROGRAM = """
import atexit, ctypes, gc, json, os, subprocess, sys, threading

changes = []
os.fork = os.posix_spawn = subprocess.Popen = lambda *args, **settings: changes.append("process")
atexit.register = lambda *args, **settings: changes.append("atexit") if owner() else None


def owner():
    return "initprobe" in sys._getframe(2).f_globals.get("__name__", "")


class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "mallopt":
            changes.append(name)
        return super().__getattr__(name)


ctypes.CDLL = Library
import threadpoolctl  # sets a variable of its own when imported
import initprobe

before = gc.get_threshold(), gc.isenabled(), gc.get_freeze_count(), dict(os.environ), threading.active_count()
result = initprobe.run(initprobe.ProbeConfig(init="xavier", act="tanh", layers=4, width=300, batch=300))
result.table()
result.figure("depth")
after = gc.get_threshold(), gc.isenabled(), gc.get_freeze_count(), dict(os.environ), threading.active_count()
changes += [name for name, old, new in zip(("threshold", "enabled", "frozen", "environment", "threads"), before, after)
            if old != new]
print(json.dumps(changes))
"""


def test_a_host_process_is_unchanged():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
