"""expdb: old training logs and report pages in, comparison tables out.

Nothing heavy is imported here: `expdb --help` and shell completion pass through this file.
"""

__version__ = "0.0.1"
