"""Where a command runs: this machine, SLURM, Ray; one module each.

A runner is a module of this folder (or an entry point `expdb.runners`) with

    NAME, SUMMARY                          its name for --runner, one line
    submit(folder)                         have the run that the folder describes run, now or when there is room
    state(folder) -> State                 what is known of it
    stop(folder, force=False)              end it, waiting or running

A runner's processes write text into the run's folder; none of them opens the database.
"""

from functools import cache
from importlib import import_module
from typing import Protocol

from expdb.errors import UsageError
from expdb.runners.folder import RunFolder, State

BUILT_IN = ("local", "slurm", "ray")


class Runner(Protocol):
    """A place where commands run."""

    NAME: str
    SUMMARY: str

    def submit(self, folder: RunFolder) -> None:
        """Have the run run, now or when there is room."""
        ...

    def state(self, folder: RunFolder) -> State:
        """What is known of the run."""
        ...

    def stop(self, folder: RunFolder, *, force: bool = False) -> None:
        """End the run, waiting or running; with force at once."""
        ...


@cache
def named(name: str) -> Runner:
    """The runner with that name; UsageError naming them all where there is none."""
    if name in BUILT_IN:
        ours: Runner = import_module(f"expdb.runners.{name}")
        return ours
    # Costs a look into every installed package.
    from importlib.metadata import entry_points

    theirs = {one.name: one for one in entry_points(group="expdb.runners")}
    if name not in theirs:
        known = ", ".join([*BUILT_IN, *sorted(theirs)])
        raise UsageError(f"no runner is called {name!r}", hint=f"runners: {known}")
    loaded: Runner = theirs[name].load()
    return loaded
