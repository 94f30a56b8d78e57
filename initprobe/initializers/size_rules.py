"""The rules that draw weights from the layer's size alone, whatever the activation and the data.

To add one, edit the file of its family; nothing changes here.
"""

from __future__ import annotations

from initprobe.initializers.fan_scaled import FAN_SCALED
from initprobe.initializers.fixed import FIXED
from initprobe.initializers.framework_defaults import FRAMEWORK_DEFAULTS
from initprobe.registry import Registry

RULES = Registry("initializer", [*FIXED, *FAN_SCALED, *FRAMEWORK_DEFAULTS])
