"""The keeper of one run: starts its command, waits for it, and writes down how it ended.

A program of its own, `python -I -S keeper.py FOLDER`, that imports nothing but the standard library's lightest parts,
so that the command starts at once and whatever happens to expdb does not reach the run. What it promises:

- No command runs without a `keeper.json` that tells which process it is, and none runs twice at a time in one folder.
- `exit.json` is written last, whatever the command did; only a `kill -9` of the keeper itself leaves a run without.
- A run with a file `stop` does not start; whoever wants a stopped run again removes that file first.
- Hang-ups and interrupts do not reach it; SIGTERM makes it end the whole process group of its command.

With --detach the program returns once the command runs (or has failed to), and the keeper stays behind. Without, it
stays in front, as the engines of clusters expect, and ends with the command's own exit code.
"""

# pathlib takes as long to import as all of the rest.
# ruff: noqa: PTH104, PTH105, PTH108, PTH110, PTH112, PTH113, PTH115, PTH120, PTH122, PTH123, PTH208

import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

# Of spec.json.
VERSION = 1
# From the polite signal to the one that cannot be refused, unless --grace says otherwise.
GRACE_S = 10.0
# What a killed process takes to be gone.
KILLED_S = 2.0
# For the process that gathers env.json, after the command's end.
ENVIRONMENT_S = 3.0
# An exit file that cannot be written (disk full) is tried again for this long.
RETRY_S = 600.0

NOT_FOUND, NOT_EXECUTABLE = 127, 126
# What this program itself ends with when another keeper has the folder (EX_TEMPFAIL), or nothing could be started.
TAKEN, BROKEN = 75, 1

# What may still be read from a terminal whose command has ended: more than a terminal holds, but not all that a process
# it left behind will ever print.
_TERMINAL_BYTES = 1 << 20

# Each attempt has its own.
_OF_ONE_ATTEMPT = ("stdout.log", "metrics.jsonl", "system.jsonl")


def write_json(path: str, value: object) -> None:
    """Replace the file by the value, whole: a reader finds the old content or the new one, never a part."""
    folder, name = os.path.split(path)
    partial = os.path.join(folder, f".{name}.partial")
    data = (json.dumps(value) + "\n").encode("ascii")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(fd, data)
        os.fsync(fd)
    except OSError:
        os.unlink(partial)
        raise
    finally:
        os.close(fd)
    os.replace(partial, path)


def write_all(fd: int, data: bytes) -> None:
    """All of the data, however little one write takes."""
    while data:
        data = data[os.write(fd, data) :]


def identity(pid: int) -> dict[str, int | str]:
    """What tells this process from every other that ever has its number, on this machine and since it started."""
    fields = _stat(pid)
    return {"pid": pid, "start": fields[19] if fields else "", "boot": boot(), "pidns": pidns()}


def boot() -> str:
    """This machine's running since it was started; "" where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def pidns() -> str:
    """The space in which process numbers hold: a container has its own. "" where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def alive(pid: int, start: str) -> bool:
    """Whether that process of this machine still runs; one that has ended and waits to be asked for its code does
    not."""
    if start:
        fields = _stat(pid)
        return fields is not None and fields[19] == start and fields[0] not in ("Z", "X")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def members(pgid: int) -> int:
    """Processes of the group that are alive."""
    try:
        found = [one for one in os.listdir("/proc") if one.isdecimal()]
    except FileNotFoundError:
        found = []
    if found:
        stats = (_stat(int(one)) for one in found)
        return sum(1 for one in stats if one and one[2] == str(pgid) and one[0] not in ("Z", "X"))
    try:
        os.killpg(pgid, 0)
    except OSError:
        return 0
    return 1


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the program's name: state, parent, group, ... (index 19: start)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode("ascii").split()
    except (OSError, ValueError):
        # A process that ends while it is read is no process (ESRCH).
        return None


def lock(folder: str) -> int | None:
    """A descriptor that holds the folder for one keeper until it is closed; None where another holds it."""
    fd = os.open(os.path.join(folder, "spec.json"), os.O_RDWR | os.O_CLOEXEC)
    if _locked(fd) is False:
        os.close(fd)
        return None
    return fd


def is_held(folder: str) -> bool | None:
    """Whether a keeper of this machine, in whatever container, holds the folder; None where that cannot be told."""
    try:
        fd = os.open(os.path.join(folder, "spec.json"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        locked = _locked(fd)
    finally:
        os.close(fd)
    return None if locked is None else not locked


def _locked(fd: int) -> bool | None:
    """Whether the file could be locked; None where its file system knows no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Lustre is often mounted without locks; NFS may have nobody to ask for them.
        return None if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK) else False
    return True


def read_json(path: str) -> dict[str, object]:
    """The object in the file; {} where there is no such file or it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def stopped_before_start(attempt: int) -> dict[str, object]:
    """The content of exit.json for a run that was stopped before its command began."""
    now_ms = time.time_ns() // 1_000_000
    return {
        "code": 128 + signal.SIGTERM,
        "signal": None,
        "started_ms": now_ms,
        "ended_ms": now_ms,
        "wall_s": 0.0,
        "cpu_s": 0.0,
        "max_rss_bytes": 0,
        "stopped": True,
        "lingering": 0,
        "error": None,
        "attempt": attempt,
    }


class Keeper:
    """One attempt at one run."""

    def __init__(self, folder: str, spec: dict[str, object], gpus: str | None, grace_s: float) -> None:
        self.folder = folder
        self.spec = spec
        self.gpus = gpus
        self.grace_s = grace_s
        self.pid = 0
        # Of the monotonic clock; None until the command is to be ended.
        self.deadline: float | None = None
        # Neither before its command is itself, in a group of its own, nor after it was asked for its code.
        self.signalled = False
        # The exit code and the reason where the command could not be started.
        self.failure: tuple[int, str] | None = None
        earlier = (read_json(self.path(name)).get("attempt") for name in ("keeper.json", "exit.json"))
        self.attempt = 1 + max((one for one in earlier if isinstance(one, int)), default=0)

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def refuses(self) -> str | None:
        """Why no attempt may be made now; None where one may."""
        if self.attempt > 1:
            earlier = read_json(self.path("keeper.json"))
            child = earlier.get("child")
            if (
                isinstance(child, dict)
                and (child.get("boot"), child.get("pidns")) == (boot(), pidns())
                and alive(int(child["pid"]), str(child["start"]))
            ):
                return f"its command still runs (process {child['pid']})"
        return None

    def stopped_already(self) -> bool:
        """Whether a stop was asked for, while the run waited or in an earlier attempt; its exit file says so, too."""
        if not os.path.exists(self.path("stop")):
            return False
        if not os.path.exists(self.path("exit.json")):
            self.write_exit(stopped_before_start(self.attempt))
        return True

    def start(self) -> None:
        """Start the command, of which keeper.json tells before its first instruction, or find that it cannot be
        (`failure`)."""
        if self.attempt > 1:
            for name in _OF_ONE_ATTEMPT:
                stem, suffix = os.path.splitext(name)
                earlier = self.path(f"{stem}.{self.attempt - 1}{suffix}")
                # It is there already where this attempt has been made before, and came to nothing.
                if os.path.exists(self.path(name)) and not os.path.exists(earlier):
                    os.rename(self.path(name), earlier)
        log = os.open(self.path("stdout.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.log = log
        self.master, terminal = _terminal() if self.spec.get("pty") else (-1, -1)
        gate, opened = os.pipe()
        told, teller = os.pipe()
        env = self.environment()
        self.started_ms = time.time_ns() // 1_000_000
        self.pid = os.fork()
        if self.pid == 0:
            os.close(opened)
            os.close(told)
            _become(self.spec, env, gate, teller, log, terminal)
        os.close(gate)
        os.close(teller)
        if terminal >= 0:
            os.close(terminal)
        else:
            os.close(log)
        try:
            gpus = self.gpus.split(",") if self.gpus and self.gpus != "none" else []
            kept = {
                "keeper": identity(os.getpid()),
                "child": identity(self.pid),
                "pgid": self.pid,
                "host": os.uname().nodename,
                "started_ms": self.started_ms,
                "gpus": gpus,
                "attempt": self.attempt,
            }
            write_json(self.path("keeper.json"), kept)
            # Not before: a run of which neither file speaks for the moment would look lost.
            if os.path.exists(self.path("exit.json")):
                os.unlink(self.path("exit.json"))
            self.started = time.monotonic()
            _tell(opened)
        finally:
            # A closed gate ends the process behind it.
            os.close(opened)
        said = b""
        while more := os.read(told, 65536):
            said += more
        os.close(told)
        if said:
            code, _, why = said.partition(b" ")
            self.failure = int(code), why.decode("utf-8", "replace")

    def environment(self) -> dict[str, str]:
        """The variables of the command."""
        env = dict(os.environ)
        env["PYTHONUNBUFFERED"] = "1"
        added = self.spec.get("env")
        if isinstance(added, dict):
            env.update(added)
        if self.gpus is not None:
            if "CUDA_VISIBLE_DEVICES" not in env and self.gpus != "none":
                # The numbers are those of the bus; CUDA's own order is by speed.
                env.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            env["CUDA_VISIBLE_DEVICES"] = "" if self.gpus == "none" else self.gpus
        env["EXPDB_RUN"] = self.folder
        env["EXPDB_RUN_UID"] = os.path.basename(self.folder)
        return env

    def companions(self) -> list[int]:
        """The processes beside the command: what gathers env.json, then what samples the system where it is asked
        for."""
        here = os.path.dirname(os.path.abspath(__file__))
        script = os.path.join(here, "environment.py")
        gathering = sampling = 0
        if os.path.exists(script):
            gathering = _spawn([sys.executable, "-I", "-S", script, self.folder], dict(os.environ), niceness=10)
        if self.spec.get("system_s"):
            env = dict(os.environ)
            # expdb may have been found by the folder it was started in.
            package = os.path.dirname(os.path.dirname(here))
            env["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [env.get("PYTHONPATH")])])
            words = [sys.executable, "-P", "-m", "expdb.runners.system", self.folder, str(self.spec["system_s"])]
            sampling = _spawn(words, env, niceness=0)
        return [gathering, sampling]

    def end(self, signum: int, frame: object) -> None:
        """SIGTERM: the group is asked to end; the alarm, or a second SIGTERM, does not ask."""
        if self.deadline is None:
            self.deadline = time.monotonic() + self.grace_s
            signal.setitimer(signal.ITIMER_REAL, self.grace_s)
            signum = signal.SIGTERM
        else:
            signum = signal.SIGKILL
        if self.signalled:
            _kill_group(self.pid, signum)

    def wait(self) -> dict[str, object]:
        """Wait for the command's end; the content of exit.json."""
        if self.master >= 0:
            self.copy_terminal()
        if hasattr(os, "waitid"):
            # Ended but not asked for its code, it keeps its number, and the group's is nobody else's.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            wall_s = time.monotonic() - self.started
            if self.deadline is not None:
                _wait_for_members(self.pid, self.deadline)
                _kill_group(self.pid, signal.SIGKILL)
                _wait_for_members(self.pid, time.monotonic() + KILLED_S)
            lingering = members(self.pid)
            self.signalled = False
            _, status, used = os.wait4(self.pid, 0)
        else:
            _, status, used = os.wait4(self.pid, 0)
            self.signalled = False
            wall_s = time.monotonic() - self.started
            lingering = members(self.pid)
        signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = 128 + signum if signum is not None else os.WEXITSTATUS(status)
        error = None
        if self.failure:
            (code, error), signum = self.failure, None
        return {
            "code": code,
            "signal": signum,
            "started_ms": self.started_ms,
            # Not the clock's time now: it may have been set back meanwhile.
            "ended_ms": self.started_ms + round(wall_s * 1000),
            "wall_s": round(wall_s, 6),
            "cpu_s": round(used.ru_utime + used.ru_stime, 6),
            "max_rss_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "stopped": os.path.exists(self.path("stop")),
            "lingering": lingering,
            "error": error,
            "attempt": self.attempt,
        }

    def copy_terminal(self) -> None:
        """What the command writes to its terminal goes into the log, until the command has ended."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        told = False
        # From here on its end wakes the wait below.
        ended = _has_ended(self.pid)
        left = _TERMINAL_BYTES
        while left > 0:
            # Ended before the last look: what is read now is all there will be from it.
            ready, _, _ = select.select([self.master, woken], [], [], 0 if ended else 1.0)
            if self.master in ready:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    # EIO: nobody has the terminal any more.
                    data = b""
                if not data:
                    break
                try:
                    write_all(self.log, data)
                except OSError as error:
                    # The training goes on; a log that cannot be written must not hold it up.
                    if not told:
                        say(f"stdout.log: {error.strerror}; output is lost")
                    told = True
                left -= len(data) if ended else 0
            elif ended:
                break
            if woken in ready:
                os.read(woken, 4096)
            if woken in ready or not ready:
                ended = _has_ended(self.pid)
        signal.set_wakeup_fd(-1)
        os.close(self.log)

    def write_exit(self, content: dict[str, object]) -> None:
        """exit.json, tried again while it cannot be written."""
        until = time.monotonic() + RETRY_S
        pause_s = 0.05
        told = False
        while True:
            try:
                write_json(self.path("exit.json"), content)
                return
            except OSError as error:
                if not told:
                    _listen(self.folder)
                    say(f"exit.json cannot be written: {error.strerror}; trying again: {json.dumps(content)}")
                told = True
                if time.monotonic() > until:
                    raise
            _pause(pause_s)
            pause_s = min(pause_s * 2, 5.0)


def _has_ended(pid: int) -> bool:
    """Whether that child has ended, without asking for its code."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    return members(pid) == 0


def _terminal() -> tuple[int, int]:
    """A new terminal, ours and the command's side: as wide as COLUMNS and LINES say, and without the carriage return
    that terminals put before each line feed."""
    import termios

    master, terminal = os.openpty()
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.ONLCR
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    sides = [int(os.environ.get(name, "")) if os.environ.get(name, "").isdecimal() else 0 for name in _SIDES]
    lines, columns = (said or usual for said, usual in zip(sides, _SIDES.values(), strict=True))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, lines.to_bytes(2, sys.byteorder) + columns.to_bytes(6, sys.byteorder))
    return master, terminal


_SIDES = {"LINES": 40, "COLUMNS": 120}


def _become(spec: dict[str, object], env: dict[str, str], gate: int, teller: int, log: int, terminal: int) -> None:
    """In the new process: turn into the command, once the gate is open. Never returns; what hinders it is told as
    b"CODE WHY"."""
    code, why = NOT_EXECUTABLE, ""
    try:
        os.setsid()
        if terminal >= 0:
            import termios

            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        out = terminal if terminal >= 0 else log
        os.dup2(out, 1)
        os.dup2(out, 2)
        if not spec.get("stdin"):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _usual_signals()
        if not os.read(gate, 1):
            os._exit(BROKEN)
        code, why = _execute(spec, env)
    except OSError as error:
        why = f"the command could not be started: {error.strerror}"
    finally:
        try:
            os.write(teller, f"{code} {why or 'the command could not be started'}".encode("utf-8", "surrogateescape"))
        finally:
            os._exit(code)


def _execute(spec: dict[str, object], env: dict[str, str]) -> tuple[int, str]:
    """Turn into the command; the exit code and the reason where that cannot be."""
    command, cwd = spec.get("command"), spec.get("cwd")
    if not isinstance(command, list) or not command:
        return NOT_EXECUTABLE, "there is no command"
    words = [str(word) for word in command]
    name = words[0]
    try:
        if cwd:
            os.chdir(str(cwd))
    except OSError as error:
        return NOT_EXECUTABLE, f"its folder {cwd} cannot be entered: {error.strerror}"
    try:
        try:
            os.execvpe(name, words, env)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line #!...: a shell takes it for one of its own, and so does execvp of C.
            os.execve("/bin/sh", ["/bin/sh", str(error.filename or name), *words[1:]], env)
    except (FileNotFoundError, NotADirectoryError):
        if "/" in name and os.path.exists(name):
            return NOT_FOUND, f"{name}: the interpreter that its first line names is not there"
        return NOT_FOUND, f"command not found: {name}"
    except PermissionError:
        return NOT_EXECUTABLE, f"{name} is a folder" if os.path.isdir(name) else f"{name} is not executable"
    except OSError as error:
        return NOT_EXECUTABLE, f"{name} cannot be executed: {error.strerror}"
    except ValueError as error:
        return NOT_EXECUTABLE, f"{name!r} cannot be executed: {error}"


def _usual_signals() -> None:
    """Undo what this program, Python, and a shell that starts something in the background set for signals."""
    for name in ("HUP", "INT", "QUIT", "TERM", "ALRM", "CHLD", "PIPE", "XFSZ"):
        signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_DFL)


def _spawn(words: list[str], env: dict[str, str], niceness: int) -> int:
    """Start a process beside the command, in a group of its own; its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        _usual_signals()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        # A GPU is taken as long as its lock is open anywhere.
        os.closerange(3, 4096)
        if niceness:
            os.nice(niceness)
        os.execve(words[0], words, env)
    except OSError as error:
        say(f"{words[0]} cannot be started: {error.strerror}")
    finally:
        os._exit(BROKEN)


def _settle(gathering: int, sampling: int) -> None:
    """Wait for the companions, each for its time at most; what takes longer is ended."""
    if sampling:
        _kill_group(sampling, signal.SIGTERM)
    for pid, seconds in ((sampling, 1.0), (gathering, ENVIRONMENT_S)):
        if not pid:
            continue
        until = time.monotonic() + seconds
        pause_s = 0.001
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                _kill_group(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            _pause(pause_s)
            pause_s = min(pause_s * 2, 0.02)


def _wait_for_members(pgid: int, until: float) -> None:
    while members(pgid) and time.monotonic() < until:
        _pause(0.01)


def _pause(seconds: float) -> None:
    # time.sleep waits for a moment of a clock, which a clock that is set (by libfaketime) moves away.
    select.select([], [], [], seconds)


def _kill_group(pgid: int, signum: int) -> None:
    try:
        os.killpg(pgid, signum)
        # What was suspended hears no other signal.
        os.killpg(pgid, signal.SIGCONT)
    except (ProcessLookupError, PermissionError):
        pass


def say(message: str) -> None:
    """A line on standard error: the starter's as long as it listens, keeper.log from then on."""
    try:
        write_all(2, f"{message}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass


def _listen(folder: str) -> None:
    """From now on keeper.log has what is said; nobody has where it cannot be opened."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        log = os.open(os.path.join(folder, "keeper.log"), flags, 0o666)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 2)
    os.close(log)


def _tell(waiting: int) -> None:
    """Let the process at the other end of the pipe go on, if it is still there."""
    if waiting >= 0:
        try:
            os.write(waiting, b"1")
        except OSError:
            pass


def keep(folder: str, gpus: str | None, grace_s: float, ready: int = -1) -> int:
    """Make one attempt at the run; the exit code. ready: written to once the command runs or has failed to."""
    until = time.monotonic() + 0.2
    # Who stops a waiting run holds the folder for a moment.
    while (held := lock(folder)) is None:
        if time.monotonic() > until:
            say(f"another keeper has the run {folder}")
            return TAKEN
        _pause(0.01)
    spec = read_json(os.path.join(folder, "spec.json"))
    if spec.get("version") != VERSION:
        say(f"{folder}/spec.json is no description of a run, or one of another version than {VERSION}")
        return BROKEN
    keeper = Keeper(folder, spec, gpus, grace_s)
    if why := keeper.refuses():
        say(f"the run {folder} cannot be started again: {why}")
        return TAKEN
    signal.signal(signal.SIGTERM, keeper.end)
    signal.signal(signal.SIGALRM, keeper.end)
    if keeper.stopped_already():
        _tell(ready)
        return 128 + signal.SIGTERM
    keeper.start()
    _listen(folder)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if ready >= 0:
        os.dup2(null, 1)
    os.close(null)
    companions = [0, 0]
    if not keeper.failure:
        keeper.signalled = True
        if keeper.deadline is not None:
            # Asked to end while it started.
            _kill_group(keeper.pid, signal.SIGTERM)
        _tell(ready)
        companions = keeper.companions()
    content = keeper.wait()
    _settle(*companions)
    if os.fstat(2).st_size == 0 and os.path.exists(keeper.path("keeper.log")):
        os.unlink(keeper.path("keeper.log"))
    keeper.write_exit(content)
    if keeper.failure:
        _tell(ready)
    os.close(held)
    code = content["code"]
    return code if isinstance(code, int) else BROKEN


def main(words: list[str]) -> int:
    """FOLDER [--gpus IDS|none] [--grace SECONDS] [--detach]"""
    folder, gpus, grace_s, detach = "", None, GRACE_S, False
    rest = iter(words)
    for word in rest:
        if word == "--gpus":
            gpus = next(rest)
        elif word == "--grace":
            grace_s = float(next(rest))
        elif word == "--detach":
            detach = True
        else:
            folder = os.path.abspath(word)
    for one in (signal.SIGHUP, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    # An engine may have closed the first three; a pipe of ours must not be taken for one of them.
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(fd)
    if not os.path.isfile(os.path.join(folder, "spec.json")):
        say(f"{folder} is no run's folder: it has no spec.json")
        return BROKEN
    ready = -1
    if detach:
        told, ready = os.pipe()
        pid = os.fork()
        if pid:
            os.close(ready)
            if os.read(told, 1):
                # Without the interpreter's farewell, for which the starter would wait.
                os._exit(0)
            # It has said why on standard error, and ends.
            os._exit(abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) or BROKEN)
        os.close(told)
    try:
        os.setsid()
    except PermissionError:
        # The first of its group already; the command gets a session of its own in any case.
        pass
    return keep(folder, gpus, grace_s, ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
