"""expdb: old training logs and report pages in, comparison tables out.

    with expdb.start_run("fusion", params={"lr": 0.1}) as run:   a training that logs by itself
        run.log({"train/loss": 0.5}, step=1)
    expdb.open().runs(where="lr = 0.1")                           what is stored, as DataFrames (extra pandas)

Nothing heavy is imported here: `expdb --help` and shell completion pass through this file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expdb.frames import Results, open
    from expdb.tracking import Run, start_run

__version__ = "0.0.1"
__all__ = ("Results", "Run", "open", "start_run")

_HOME = {"Results": "frames", "Run": "tracking", "open": "frames", "start_run": "tracking"}


if not TYPE_CHECKING:
    # A checker that saw it would take any name for one of ours.
    def __getattr__(name: str) -> object:
        """What scripts use, imported when it is first asked for."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
