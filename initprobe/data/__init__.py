"""Data that a network is fed: synthetic input, data sets that ship, and files of the user's.

Start in `noise.py`, which has the registry of inputs. `tables.py` reads .npy, .npz and .csv files; `files.py` and
`archives.py` check a path before it is read. `documents.py` reads YAML. `machine.py` says how much memory is free.

A file may come in here if it reads data and asks nothing about networks. Data never runs code: nothing is unpickled
or imported.
"""
