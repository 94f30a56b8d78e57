"""All activations that ship, by name and alias. To add one, edit the file of its family; nothing changes here."""

from __future__ import annotations

from initprobe.activations.rectifiers import RECTIFIERS
from initprobe.activations.sigmoids import SIGMOIDS
from initprobe.registry import Registry

ACTIVATIONS = Registry("activation", [*SIGMOIDS, *RECTIFIERS])
