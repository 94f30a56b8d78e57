"""What can go wrong that is not a bug.

    InitprobeError
    ├── ConfigError           a wrong option, value or file; one line, exit code 2   (also a ValueError)
    │   ├── UnknownNameError  a name no registry holds, with the nearest one         (also a KeyError)
    │   ├── InputError        input data that cannot be read or is not numbers
    │   │   └── DamagedRun    one run of a store; the others can be read
    │   ├── OutputError       a file or directory that cannot be written
    │   ├── MemoryLimitError  a run that would not fit
    │   └── MissingLibraryError  an extra that is not installed                  (also an ImportError)
    ├── CheckFailed           a check that was asked for did not hold; exit code 1
    ├── RunsFailed            some runs of a sweep failed; exit code 3, which beats 1
    └── Interrupted           somebody stopped a sweep; exit code 130

The message says what, where and what to do, in one line.
"""

from initprobe import formatting


class InitprobeError(Exception):
    """Base of every error that initprobe raises on purpose."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        # What a user typed may hold anything at any length; what we answer is one line.
        super().__init__(formatting.message(message))


class ConfigError(InitprobeError, ValueError):
    """The experiment, as asked for, cannot be run."""


class UnknownNameError(ConfigError, KeyError):
    """A name that is in no registry. A `KeyError` too, so `in` and `.get()` work on a registry."""

    def __str__(self) -> str:
        # KeyError would print the repr of its argument.
        return str(self.args[0]) if self.args else ""


class InputError(ConfigError):
    """Input data that cannot be read, or is not a table of finite numbers."""


class DamagedRun(InputError):
    """What a store holds of one run cannot be read; the other runs are not touched by that."""


class OutputError(ConfigError):
    """A file or directory that cannot be written."""


class MemoryLimitError(ConfigError):
    """A run that needs more memory than there is."""


class MissingLibraryError(ConfigError, ImportError):
    """Something needs a library that is not installed. An `ImportError` too, as whoever imports expects."""


class CheckFailed(InitprobeError):
    """A check that the user asked for did not hold."""

    exit_code = 1


class RunsFailed(InitprobeError):
    """Some runs of a sweep failed; the others are kept."""

    exit_code = 3


class Interrupted(InitprobeError):
    """Somebody stopped a sweep; what was done is kept."""

    exit_code = 130
