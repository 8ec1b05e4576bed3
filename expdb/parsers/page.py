"""A report page, Markdown or plain text: pasted logs become runs, rows of result tables become reported results."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from expdb.parsers import Options
from expdb.parsers.logs.lines import EXAMPLES, LineReader, epoch_of
from expdb.parsers.pages.markup import LogBlock, Page, Place, TableBlock, has_captions, has_markup, scan
from expdb.parsers.pages.tables import TableReader, has_numbers
from expdb.parsers.reading import Reading, Sample
from expdb.records import Document, Event, RunStart, Unparsed

NAME = "page"
VERSION = 1
SUMMARY = "a report page (Markdown or text): pasted log blocks, and result tables with one row per run"

# How sure a table of unknown numbers makes.
_NUMBERS = 0.1
# What a page has and a log has not: fences, blank lines, headings, tables. Looked for before anything is taken apart.
_SIGNS = ("\n\n", "|", "\n#", "```", "\n\r\n", "~~~")


def recognise(sample: Sample) -> float:
    """1 for a page with results on it, little for one whose tables hold numbers that may be results, 0 for
    everything else: prose without results is no source."""
    text = sample.text
    if not sample.fits or (not text.startswith(("---", "#")) and not any(sign in text for sign in _SIGNS)):
        return 0.0
    if not has_markup(text) and not has_captions(text):
        return 0.0
    tables = TableReader(frozenset())

    def enough(page: Page) -> bool:
        return page.marked and (not sample.whole or _is_result(page.blocks[-1], tables))

    page = scan(text, enough)
    if not page.blocks or not _is_page(page):
        return 0.0
    if not sample.whole or any(_is_result(block, tables) for block in page.blocks):
        return 1.0
    # The person may yet say which columns hold results.
    return _NUMBERS if any(isinstance(block, TableBlock) and has_numbers(block) for block in page.blocks) else 0.0


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """Runs of the page in the order they stand on it; whatever else it says is left alone."""
    page = scan(reading.text)
    yield Document(page.title)
    front = {f"page.{key}": value for key, value in page.front.items()}
    tables = TableReader(options.metric_columns)
    index, unparsed = 0, 0
    examples: list[tuple[int, str]] = []
    for block in page.blocks:
        tags = {**front, **_tags(block.place)}
        called = _name(block.place, page.title)
        if isinstance(block, LogBlock):
            reader = LineReader(index)
            for event in reader.feed(block.line, "\n".join(block.lines)):
                yield replace(event, caption=called, tags=tags) if isinstance(event, RunStart) else event
            index += reader.runs
            unparsed += reader.unparsed.count
            examples += reader.unparsed.examples
            continue
        table = block.place.headings[-1] if block.place.headings else called or reading.name
        if has_numbers(block) and not tables.has_results(block):
            # The person may know what these numbers are, and say so by --metric-columns.
            unparsed += len(block.rows)
            examples.append((block.line, f"a table of numbers: {' | '.join(block.header)}"))
        for row in tables.runs(block, index, table):
            yield replace(row, tags={**tags, **row.tags}) if isinstance(row, RunStart) else row
            index += isinstance(row, RunStart) and row.index == index
    unparsed += len(tables.unread)
    yield Unparsed(unparsed, tuple(sorted([*examples, *tables.unread])[:EXAMPLES]))


def _is_page(page: Page) -> bool:
    """Whether the blocks stand on a page, rather than being one log with noise between its lines."""
    if page.marked:
        return True
    logs = [block for block in page.blocks if isinstance(block, LogBlock)]
    pairs = list(pairwise(logs))
    apart = sum(not _goes_on(a, b) for a, b in pairs)
    if page.headed:
        # "# seed 0" may head a log, too, and what stands between its epochs is no caption.
        few = sum(len(block.lines) for block in logs) < 3 * len(logs)
        alike = all(a.place == b.place or (few and a.place.headings == b.place.headings) for a, b in pairs)
        return not pairs or apart > 0 or not alike
    return page.captioned and (apart * 2 > len(pairs) or page.prose > 2)


def _goes_on(before: LogBlock, after: LogBlock) -> bool:
    """Whether the epochs of one block follow those of the other."""
    last, first = epoch_of(before.lines[-1]), epoch_of(after.lines[0])
    return last is None or first is None or last <= first <= last + 1


def _is_result(block: LogBlock | TableBlock, tables: TableReader) -> bool:
    return isinstance(block, LogBlock) or tables.has_results(block)


def _name(place: Place, title: str | None) -> str | None:
    """What the page calls a block: its heading and its caption."""
    heading = place.headings[-1] if place.headings else None
    return " · ".join(filter(None, (heading, place.caption))) or title


def _tags(place: Place) -> dict[str, str]:
    tags = {}
    if place.headings:
        tags["page.heading"] = " / ".join(place.headings)
    if place.caption:
        tags["page.caption"] = place.caption
    return tags
