"""One JSON document a file: the Trainer's state, Keras histories, TensorBoard's exports, Chainer's and Sacred's logs,
summaries of W&B and DVCLive, files of results."""

import re
from collections.abc import Iterator

from expdb.errors import InputError
from expdb.parsers import Options
from expdb.parsers.jsons.contents import Contents, contents_of
from expdb.parsers.jsons.text import PLAIN, Skipped, mended
from expdb.parsers.reading import Reading, Sample
from expdb.records import Event

NAME = "json"
VERSION = 1
SUMMARY = "one JSON document: trainer_state.json, Keras history, TensorBoard export, Sacred, DVCLive, results"

_BEGINS = re.compile(r'\s*+(?:\{\s*+"|\[\s*+(?:\{\s*+"|\[\s*+-?\d))')
# What begins a document too large for the sample tells what it is.
_BEGINNING = 16_384


def recognise(sample: Sample) -> float:
    """Sure of a document that holds curves or results; 0 for configurations, data sets, and records of one line."""
    # The cheap test first: nothing but JSON begins like this.
    if not _BEGINS.match(sample.text[:4096]):
        return 0.0
    name = sample.name.partition(".")[0]
    if sample.whole:
        try:
            found = contents_of(sample.text, name)
            return found.sureness if found else 0.0
        except (ValueError, RecursionError):
            # What breaks off was being written.
            pass
    found = _contents(mended(sample.text[:_BEGINNING]), name)
    return found.sureness if found else 0.0


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """The runs of the document; that it breaks off is told, and so are its lines where it holds no training."""
    del options
    text = _text(reading)
    found, broken = _contents(text, reading.name), None
    if found is None:
        try:
            PLAIN.decode(text)
        except (ValueError, RecursionError):
            text, broken = mended(text), text
            found = _contents(text, reading.name)
    if found is None:
        skipped = Skipped()
        for number, line in enumerate(text.split("\n"), 1):
            skipped.add(number, line)
        yield skipped.unparsed
        return
    yield from found.events(broken_at=None if broken is None else broken.count("\n", 0, len(text)) + 1)


def _contents(text: str, name: str) -> Contents | None:
    try:
        return contents_of(text, name)
    except (ValueError, RecursionError):
        return None


def _text(reading: Reading) -> str:
    if reading.is_small:
        return reading.text
    text = "".join(block.text for block in reading.blocks())
    if reading.overlong:
        raise InputError(
            "a JSON document of more than 16 MB with a line of more than 1 MB is not read",
            path=reading.path,
            line=reading.overlong[0],
            hint="write it indented: python -m json.tool FILE > NEW",
        )
    return text
