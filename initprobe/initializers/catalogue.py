"""All initializers that ship, by name and alias. To add one, edit the file of its family; nothing changes here."""

from __future__ import annotations

from initprobe.initializers.activation_tuned import ACTIVATION_TUNED
from initprobe.initializers.data_driven import DATA_DRIVEN
from initprobe.initializers.size_rules import RULES
from initprobe.registry import Registry

INITIALIZERS = Registry("initializer", [*RULES.values(), *ACTIVATION_TUNED, *DATA_DRIVEN])
