"""Writes the parts of docs/ that follow from the code: cli.md, schema.md and formats.md.

`python -m docs.generate` writes them; a test compares them with the files.
"""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlmodel import SQLModel

from expdb import metrics, parsers
from expdb.store import schema
from expdb.store.database import SCHEMA_VERSION

HERE = Path(__file__).parent
NOTICE = "<!-- Made by `make docs` from the code; edit that instead. -->\n"


def pages() -> dict[str, str]:
    """Each generated page's text by its file name."""
    return {"cli.md": cli(), "schema.md": tables(), "formats.md": formats()}


def cli() -> str:
    """The help of every command."""
    listed = _commands(_help())
    out = [
        NOTICE,
        "# Command line\n",
        "Every command, as its `--help` prints it. Exit codes: 0 ok, 1 a check failed or some input was refused,",
        "2 usage, 3 not found or ambiguous, 4 database, 130 interrupted. `EXPDB_DEBUG=1` shows an error's traceback.\n",
        "Settings: the nearest `expdb.toml` upward, see [own-formats.md](own-formats.md).",
        "Environment: `EXPDB_DB` (a database's file or URL), `EXPDB_RUNS` (where the folders of a server's runs are),",
        "`EXPDB_NOW` (holds the clock, for reproducible pages), `NO_COLOR`.\n",
        EXPRESSIONS,
        f"## expdb\n\n```text\n{_help()}```\n",
    ]
    for name in listed:
        text = _help(name)
        out.append(f"## expdb {name}\n\n```text\n{text}```\n")
        out += [f"## expdb {name} {sub}\n\n```text\n{_help(name, sub)}```\n" for sub in _commands(text)]
    return "\n".join(out)


EXPRESSIONS = """\
## Expressions

One language serves `--columns`, `--where` and `--sort`.

| Part | Says |
| --- | --- |
| `lr`, `params.lr`, `tags.lr` | a param or a tag; bare names look at fields, params, tags, metrics, in this order |
| `run experiment uid status origin seed note epochs` | a field of the run |
| `test/accuracy` | a metric; alone it means its last value. Names with other characters go in back-ticks |
| `first(x) last(x) min(x) max(x) best(x)` | the value a rule selects; `best` knows which way is better, or asks |
| `at(x, 49)`, `tail(x, 5)` | the value at a step; the mean of the last values |
| `step_of(best(x))`, `n(x)` | the step of a selected value; the number of points |
| `= != < <= > >= ~` | comparisons; `~` searches a regular expression. With a missing side none of them holds |
| `and or not ( )`, `'text'`, `90%` | beside an accuracy, 0.9 and 90 and 90% mean the same |
| `... as NAME` | a column's title |
"""


def _help(*words: str) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    command = [sys.executable, "-m", "expdb", *words, "--help"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=True)
    return done.stdout.replace("python -m expdb", "expdb")


def _commands(text: str) -> list[str]:
    listed = text.partition("Commands:\n")[2]
    return [line.split()[0] for line in listed.splitlines() if re.match(r"  \w", line)]


def tables() -> str:
    """Tables, columns and views of the database."""
    out = [
        NOTICE,
        "# Schema\n",
        f"Schema version {SCHEMA_VERSION}. {_paragraph(schema.__doc__)}\n",
        "`expdb sql 'SELECT ...'` reads it. The views are for people:\n",
    ]
    out += [f"### {name}\n\n```sql\n{body.strip()}\n```\n" for name, body in schema.VIEWS.items()]
    out.append("## Tables\n")
    classes = {str(cls.__tablename__): cls for cls in SQLModel.__subclasses__() if hasattr(cls, "__table__")}
    for name in SQLModel.metadata.tables:
        table = SQLModel.metadata.tables[name]
        out.append(f"### {name}\n\n{_paragraph(inspect.getdoc(classes[name]))}\n")
        out.append("| column | type | |\n| --- | --- | --- |")
        out += list(_columns(table))
        out.append("")
    return "\n".join(out)


def _columns(table: Table) -> Iterator[str]:
    for column in table.columns:
        facts = [
            "primary key" if column.primary_key else "" if column.nullable else "not null",
            *(f"→ {key.column.table.name}.{key.column.name}" for key in column.foreign_keys),
            "unique" if column.unique else "",
        ]
        kind = column.type.compile(dialect=sqlite.dialect())
        yield f"| `{column.name}` | {kind} | {', '.join(filter(None, facts))} |"


def formats() -> str:
    """Input formats, and the words that name quantities."""
    out = [
        NOTICE,
        "# File formats\n",
        "A file is recognised by its content, never by its name; `--as NAME` decides otherwise, and `expdb parse FILE`",
        "shows what is understood. Text may be UTF-8 (with or without BOM), UTF-16 with BOM or GB 18030, with LF or",
        "CRLF.",
        "A line of more than 1 MB is no log line.\n",
    ]
    built_in = parsers.built_in()
    out.append("`expdb parse --formats` lists them, those of other packages and your own patterns among them:")
    out.append("[own-formats.md](own-formats.md) says how to add one.\n")
    out.append("| format | reads |\n| --- | --- |")
    out += [f"| `{name}` | {_cell(parser.SUMMARY)} |" for name, parser in built_in.items()]
    out.append("")
    for name, parser in built_in.items():
        out.append(f"## {name} (version {parser.VERSION})\n\n{_paragraph(inspect.getdoc(parser))}\n")
    out.append(DETAILS)
    out.append("## Names\n")
    out.append("A printed label gets the canonical name `split/quantity`; the label is kept.\n")
    out.append("| split | words |\n| --- | --- |")
    out += [f"| {split} | {', '.join(words)} |" for split, words in metrics.SPLITS.items()]
    out.append("\n| quantity | better | words |\n| --- | --- | --- |")
    out += [f"| {q.name} | {q.better or 'not known'} | {', '.join(q.aliases)} |" for q in metrics.QUANTITIES]
    out.append(
        "\nUnits: a share of one is a fraction up to 1 and percent above; times are seconds unless a unit is printed.\n"
    )
    return "\n".join(out)


DETAILS = """\
### Log lines

`epoch N` and then fields `label value`, or at least two known quantities without an epoch (they take the epoch before
them, or count rows). Between fields: comma, tab, semicolon, bar or blanks; between label and value: blanks, `:` or `=`;
behind a value: `%`, `s`, `ms`, ... Values may be `nan` and `inf`. An epoch that falls back to where the run began, or
below, begins another run (tag `expdb.boundary` says where); one that steps back less is a resumed training and stays.

### Pages

- A fence with log lines is one run, and so is each unfenced block of them; blocks are never merged, except lines with
  only blank lines between them whose epochs follow each other.
- Headings are `#` lines. On a page without them a short line that stands alone (up to 60 columns, no sentence, no
  code; bold, numbered or with a colon at its end) names what follows: `ResNet` opens a part, a remark below it (`with
  batch norm`, `改用预训练模型`) is its caption until the next. Runs are called after heading and caption; tags
  `page.heading` and `page.caption` keep them, and `page.KEY` the front matter (a password or token is left out).
- A table with a column of results gives one run per row. A column holds results when its header is a known quantity or
  `--metric-columns` names it, and most of its cells are numbers; every other column is a param. A param's cell is
  canonical (no code ticks, not bold as a whole, `<br>` as a line end, single blanks); tag `page.cell.HEADER` keeps it
  as it was written. A number may carry a unit, a doubt (`± 0.2`, `(±0.2)`) or a footnote's mark (`*`, `†`, `~`);
  what is no number in a column of results is counted as not understood. Printed digits are kept. The same table twice
  on a page gives its runs once, with both places.
- Tables that `compare` wrote (a header such as `best(test/accuracy)`) and what a comment hides are not read. What
  stands between `<!-- expdb ... -->` and `<!-- /expdb -->` was written by expdb and is not read back.

### Settings

What a source says of how a run was configured becomes its params, as printed, nested keys joined by dots. A setting
whose name says that it is secret (`api_key`, `password`, `hub_token`) is left out.

## parse --json

One object: `file`, `format`, `lines`, `unparsed` (lines not understood), `runs`; of a folder `sources`, its files. A
run has `name`, `line_first`, `line_last`, `params`, `tags` and `metrics`. A metric has `name` (canonical), `label` (as
printed), `unit`, `step_unit`, and `steps`, `lines` and `values` of one length; a value that is no finite number is the
text `nan`, `inf` or `-inf`. Its `kind` says what it is and what becomes of it:

| kind | what | in the database |
| --- | --- | --- |
| `curve` | measured as the training went on | each point |
| `reported` | stated once, without a step (`null`) | one value |
| `aside` | printed beside results: ETA, speed, memory, the best so far | not stored |

With `--explain` there is `explain` beside them: how sure each reader is, the kinds of line and what each field was
taken for, why runs begin, units, and examples of what was not understood.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _paragraph(text: str | None) -> str:
    return inspect.cleandoc(text or "").strip()


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
