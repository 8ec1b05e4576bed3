"""A folder of class folders to a shuffled list of `path,label`: what `--data csv` trains and tests on.

    python -m expdb.recipes.index animals -o animals.csv

The first 80 % of the lines train and the rest test, so that the order is the split: the same seed, the same split.
Labels number the class folders in alphabetical order; paths start at the list's own folder.
"""

import argparse
import csv
import io
import os
import random
from pathlib import Path

from expdb.recipes import RecipeError, data, start


def listed(folder: Path, beside: Path, seed: int) -> str:
    """The list's text. beside: the folder that its paths start at. Raises RecipeError where there are no pictures."""
    paths, labels, _ = data.class_folders(folder)
    rows = [(Path(os.path.relpath(path, beside)).as_posix(), label) for path, label in zip(paths, labels, strict=True)]
    random.Random(seed).shuffle(rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def main() -> None:
    """Write the list, and say what is in it."""
    parser = argparse.ArgumentParser(
        prog="python -m expdb.recipes.index",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="holds a folder for each class")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the list to write")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default 0)")
    words = parser.parse_args()
    text = listed(words.folder, words.output.parent, words.seed)
    try:
        words.output.write_bytes(text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise RecipeError(f"{words.output}: {error.strerror}") from error
    classes = sorted(one.name for one in words.folder.iterdir() if one.is_dir())
    print(f"{words.output}: {len(text.splitlines())} pictures, {len(classes)} classes: {', '.join(classes)}")


if __name__ == "__main__":
    start(main)
