"""Runs a command that is told to end when its starter dies: `python -I -S leash.py COMMAND...`

Ray kills what a worker has started, but not what that has started in turn; and where a worker is killed itself, what
it started lives on. Either way the run would go on beside its own next attempt. So this process stands between: it is
killed when the worker ends, and the command gets SIGTERM when this process ends, however it does (Linux; elsewhere
the command lives on). Ends with the command's exit code.
"""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def bind(signum: int, parent: int) -> None:
    """This process gets the signal once its parent, given by its number, is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signum)
    if os.getppid() != parent:
        # It was gone before that.
        os._exit(128 + signum)


def main(words: list[str]) -> int:
    """Run the command; its exit code."""
    starter = os.getppid()
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            bind(signal.SIGTERM, me)
            os.execv(words[0], words)
        finally:
            os._exit(127)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != starter:
        return 128 + signal.SIGKILL
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
