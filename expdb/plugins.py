"""Readers of third parties, found by entry point and looked up once."""

from functools import cache
from importlib.metadata import entry_points

from expdb import parsers


@cache
def all_parsers() -> parsers.Parsers:
    """The built-in readers, then those of entry point group `expdb.parsers`, by name."""
    # An uncached look-up would cost more than reading a log.
    third = {point.name: point.load() for point in entry_points(group="expdb.parsers")}
    return {**third, **parsers.built_in()}
