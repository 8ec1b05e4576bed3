"""Keys that MLflow refuses, and what they are called there: `acc@1` is `acc_1`, `mAP50(B)` is `mAP50_B`."""

import posixpath
import re

from expdb.store import departures
from expdb.store.database import Database

_LONGEST = 250
_TAKEN = re.compile(r"[/\w.\- :]+")
_REFUSED = re.compile(r"[^/\w.\- :]+")
_ROOM = 8


def is_taken(key: str) -> bool:
    """Whether MLflow takes the key of a metric, param or tag as it is."""
    if not _TAKEN.fullmatch(key) or len(key) > _LONGEST:
        return False
    # It may be a file there.
    norm = posixpath.normpath(key)
    return norm == key and norm != "." and not norm.startswith(("..", "/"))


def cleaned(key: str) -> str:
    """The nearest key that MLflow takes."""
    text = re.sub(r" *_+ *", "_", _REFUSED.sub("_", key)) if _REFUSED.search(key) else key
    text = "/".join(filter(None, (part.strip("_ ") for part in text.split("/") if part.strip("._ "))))
    text = text[: _LONGEST - _ROOM].rstrip("/ ")
    return text if text and is_taken(text) else "unnamed"


class Names:
    """What the keys of this database are called in one other store, remembered there and here."""

    def __init__(self, database: Database, store: str) -> None:
        self._database = database
        self._store = store
        self._theirs = departures.names(database, store)
        self._used = {(kind, theirs): ours for (kind, ours), theirs in self._theirs.items()}
        self._free: set[tuple[str, str]] = set()

    def theirs(self, kind: str, ours: str) -> str:
        """The key in the other store: ours, where it takes that and no other key of ours is called so there."""
        mark = (kind, ours)
        if mark in self._theirs:
            return self._theirs[mark]
        if mark in self._free:
            return ours
        if is_taken(ours) and mark not in self._used:
            self._free.add(mark)
            return ours
        base = cleaned(ours)
        theirs, n = base, 1
        while not self._is_free(kind, theirs, ours):
            n += 1
            theirs = f"{base}_{n}"
        self._theirs[mark] = theirs
        self._used[kind, theirs] = ours
        departures.put_name(self._database, self._store, kind, ours, theirs)
        return theirs

    def _is_free(self, kind: str, theirs: str, ours: str) -> bool:
        if self._used.get((kind, theirs), ours) != ours:
            return False
        return theirs == ours or not departures.has_key(self._database, kind, theirs)

    def model(self, uid: str) -> str | None:
        """The id of a logged model there, if it is there."""
        return self._theirs.get(("model", uid))

    def put_model(self, uid: str, theirs: str) -> None:
        """Remember the id of a logged model there."""
        self._theirs["model", uid] = theirs
        departures.put_name(self._database, self._store, "model", uid, theirs)
