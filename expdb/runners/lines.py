"""Lines that are appended to a file of the run's folder, one write each, on a disk that may be full."""

import os
import sys
from collections import deque
from pathlib import Path

from expdb.errors import InputError

# Lines that wait for room on the disk; beyond this the oldest are given up.
BACKLOG_BYTES = 16 << 20


class Lines:
    """A file that whole lines are appended to, each by one write, so that no process tears another's.

    A write that fails (disk full) is told once on stderr; its lines wait in memory, BACKLOG_BYTES at most, and go
    first with the next write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=str(path)) from error
        self._pid = os.getpid()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._told = False
        # What is in the file of the first that waits, and how long the file was then.
        self._torn: tuple[int, int] | None = None

    def is_of(self, pid: int) -> bool:
        """Whether the lines that wait are this process's."""
        return self._pid == pid

    def forked(self) -> None:
        """From here on in another process."""
        self._pid = os.getpid()
        self._waiting.clear()
        self._size = self._lost = 0
        self._torn = None

    def write(self, data: bytes) -> None:
        """Append whole lines."""
        if not self._waiting:
            try:
                done = os.write(self._fd, data)
            except OSError as error:
                self._keep(data, 0, error)
                return
            if done == len(data):
                return
            self._keep(data, done, None)
        else:
            self._keep(data, 0, None)
        self._catch_up()

    def close(self) -> None:
        """Write what waits, say what was lost, and leave the file."""
        if self._waiting:
            self._catch_up()
        lost = self._lost + len(self._waiting)
        if lost:
            say(f"{self.path}: {lost:,} {'line' if lost == 1 else 'lines'} could not be written and are lost")
        self._waiting.clear()
        os.close(self._fd)

    def _keep(self, data: bytes, done: int, error: OSError | None) -> None:
        self._waiting.append(data)
        self._size += len(data)
        if done:
            self._torn = done, os.fstat(self._fd).st_size
        while self._size > BACKLOG_BYTES and len(self._waiting) > 1:
            given_up = self._waiting.popleft()
            self._size -= len(given_up)
            self._lost += given_up.count(b"\n")
            if self._torn:
                # Nothing will complete the line that stands there in part.
                self._torn = 0, -1
        if error is not None:
            self._tell(error)

    def _catch_up(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            before = b""
            at = 0
            if self._torn:
                done, size = self._torn
                if os.fstat(self._fd).st_size == size:
                    at = done
                else:
                    # Another process wrote behind our half line: it is ended, and the whole line is told again.
                    before = b"\n"
            data = before + first[at:]
            try:
                done = os.write(self._fd, data)
            except OSError as error:
                self._tell(error)
                return
            if done < len(data):
                self._torn = max(at + done - len(before), 0), os.fstat(self._fd).st_size
                continue
            self._waiting.popleft()
            self._size -= len(first)
            self._torn = None

    def _tell(self, error: OSError) -> None:
        if not self._told:
            say(f"{self.path}: {error.strerror or error}; what is logged waits in memory and is tried again")
        self._told = True


def say(message: str) -> None:
    """A line on stderr, where there is one."""
    try:
        print(f"expdb: {message}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # A training without a standard error goes on.
        pass
