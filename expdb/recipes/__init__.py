"""What is trained: torch programs that print a log. `python -m expdb.recipes.NAME --help` tells each one's settings.

Nothing here imports anything of expdb outside this folder, and nobody imports it: a recipe and expdb meet in the log.
"""

import sys
from collections.abc import Callable


class RecipeError(Exception):
    """What a person can put right: a setting, a data set that is not there, a checkpoint of another training."""


def start(program: Callable[[], None]) -> None:
    """Run a program: a RecipeError becomes one line on stderr and exit code 1, Ctrl-C exit code 130.

    Under `--diagnose` it is 2: 1 says that something was found.
    """
    try:
        program()
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if "--diagnose" in sys.argv else 1)
    except KeyboardInterrupt:
        sys.exit(130)
