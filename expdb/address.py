"""Where a database is: a file of SQLite's, or PostgreSQL by its URL. What is shown of a URL holds no password."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from expdb.errors import UsageError

_POSTGRESQL = ("postgresql", "postgres", "expdb+postgresql", "expdb+postgres", "postgresql+psycopg")
_FILE = "expdb"
_SECRET_WORDS = ("password", "sslpassword")


@dataclass(frozen=True, slots=True, repr=False)
class Server:
    """A database on a PostgreSQL server. url: as the driver takes it, may hold a password; root: absolute, where the
    folders of its runs are on this machine."""

    url: str
    root: Path

    def __str__(self) -> str:
        return without_password(self.url)

    def __repr__(self) -> str:
        return f"Server({str(self)!r}, {str(self.root)!r})"


Address = Path | Server


def is_url(text: str) -> bool:
    """Whether the text means something that is no file's name."""
    return "://" in text or text.startswith(("postgresql:", "postgres:"))


def server(text: str, runs: Path) -> Server:
    """The server's database that a URL names. runs: the folder in which it gets one for its runs, a folder of its own:
    those of a file beside it are none of the server's. Raises UsageError where the URL is none of PostgreSQL's."""
    scheme, _, rest = text.partition("://")
    shown = without_password(text)
    hint = "postgresql://USER@HOST/NAME, or a file"
    if scheme.lower() not in _POSTGRESQL:
        raise UsageError(f"{shown} is no address of a database", hint=hint)
    url = f"postgresql://{rest}"
    if "@" in rest.partition("?")[0].partition("/")[0].rpartition("@")[0]:
        # libpq ends the password at the first, and would show the rest as the host.
        raise UsageError(f"{shown}: an @ in a name or a password is written %40", hint=hint)
    try:
        parts = urlsplit(url)
        host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "")
        _ = parts.port
    except ValueError:
        # libpq would repeat what it cannot read, which may be a password.
        raise UsageError(f"{shown} is no address of a database", hint=hint) from None
    name = unquote(parts.path.strip("/")) or parts.username or "postgres"
    label = f"{name}@{'localhost' if not host or host.startswith('/') else host}"
    return Server(url, Path(os.path.abspath(runs)) / re.sub(r"[^\w.@-]", "_", label))


def file_of(text: str) -> Path | None:
    """The file that an `expdb:///path` URL names; None where it is none."""
    scheme, separator, rest = text.partition("://")
    return Path(unquote(rest)) if separator and scheme.lower() == _FILE and rest.startswith("/") else None


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    head, separator, rest = url.partition("://")
    place, mark, query = rest.partition("?")
    # Up to the last @: a password may hold one of its own.
    said, at, host = place.rpartition("@")
    shown = f"{head}{separator}{said.partition(':')[0]}{at}{host}"
    if any(word in query for word in _SECRET_WORDS):
        kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key not in _SECRET_WORDS]
        mark, query = "?" if kept else "", urlencode(kept, safe="/", quote_via=quote)
    return f"{shown}{mark}{query}"


def environment(database: Address) -> dict[str, str]:
    """The variables by which a process that is started means the same database, wherever it goes."""
    if isinstance(database, Server):
        return {"EXPDB_DB": database.url, "EXPDB_RUNS": str(database.root)}
    return {"EXPDB_DB": os.path.abspath(database)}
