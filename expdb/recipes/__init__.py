"""What is trained: torch programs that print a log. `python -m expdb.recipes.NAME --help` tells each one's settings.

Nothing here imports anything of expdb outside this folder, and nobody imports it: a recipe and expdb meet in the log.
"""

import sys
from collections.abc import Callable


class RecipeError(Exception):
    """What a person can put right: a setting, a data set that is not there, a checkpoint of another training."""


def start(program: Callable[[], None]) -> None:
    """Run a program: a RecipeError becomes one line on stderr and exit code 1, Ctrl-C exit code 130."""
    try:
        program()
    except RecipeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
