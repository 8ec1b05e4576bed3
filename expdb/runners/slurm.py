"""Runs on a Slurm cluster: submitit writes the batch script and hands it over, a keeper on the node does the rest.

The job's process becomes the keeper (an exec, nothing stays in between), so Slurm's signals reach it as they are, its
exit code is the job's, and whatever happens to expdb or to this machine does not reach the run. The run's folder must
lie on a disk that the nodes see. A job whose node is lost is started again by Slurm (`--requeue`): the next attempt.

Options (`--runner-option KEY=VALUE`) are sbatch's own long options, without the dashes in front: partition, time, mem,
cpus-per-task, account, qos, constraint, reservation, exclusive=true, ... `setup` is a line of shell before the command
(`setup="module load cuda"`), `srun_args` more words for srun, `use_srun=false` leaves srun out, as a command that
calls srun itself needs it (several nodes), `python` the interpreter on the nodes.
"""

import functools
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from expdb.errors import ExpdbError, UsageError, need
from expdb.runners import keeper
from expdb.runners.folder import RunFolder, Spec, State

NAME = "slurm"
SUMMARY = "a Slurm cluster, through submitit"

# Slurm's controller serves a whole site: one answer is good for all runs for a moment, a refusal for longer.
FRESH_S, REFUSED_S = 1.0, 30.0
# A node's last file may reach this machine later than the scheduler's word (attribute caches of NFS).
VISIBLE_S = 15.0
STOP_S = 45.0

_WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"))
_ON_NODES = frozenset(
    ("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED")
)
_SAID = {
    "TIMEOUT": "its time limit was reached",
    "OUT_OF_MEMORY": "it needed more memory than was asked for",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "it was preempted",
    "DEADLINE": "its deadline passed",
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
}
# What submitit takes itself; everything else is a word of sbatch.
_BATCH_ONLY = frozenset(("array", "wrap", "parsable", "test-only", "wait"))


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the scheduler has it. restarts: how often it was started again; ended_s: Unix time, None before."""

    id: str
    state: str
    reason: str
    nodes: str
    restarts: int
    ended_s: float | None


@dataclass(slots=True)
class Queue:
    """What the scheduler says of jobs, asked at most every FRESH_S."""

    asked_s: float = float("-inf")
    jobs: Mapping[str, Job] = field(default_factory=dict)
    refusal: ExpdbError | None = None

    def job(self, number: str) -> Job | None:
        """The job; None once the scheduler has forgotten it. ExpdbError where the scheduler does not answer."""
        if time.monotonic() - self.asked_s > (REFUSED_S if self.refusal else FRESH_S):
            try:
                self.jobs, self.refusal = {job.id: job for job in _asked("--me")}, None
            except ExpdbError as error:
                self.refusal = error
            self.asked_s = time.monotonic()
        if self.refusal:
            raise self.refusal
        return self.jobs.get(number) or now(number)


@functools.cache
def queue() -> Queue:
    return Queue()


def now(number: str) -> Job | None:
    """The job as it is at this moment, whoever's it is."""
    return next(iter(_asked(f"--jobs={number}")), None)


def submit(folder: RunFolder) -> None:
    """Hand the run over. ExpdbError where Slurm is not there, does not answer or refuses the job."""
    need("submitit", extra="slurm")
    if not shutil.which("sbatch") or not shutil.which("srun"):
        raise ExpdbError(
            "there is no Slurm here: sbatch and srun are not on the PATH",
            hint="start expdb on a login node of the cluster, or with --runner local",
        )
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    spec = folder.spec()
    options = {key.replace("_", "-"): value for key, value in spec.options.items()}
    place = folder.path / NAME
    if folder.exit():
        # What is handed over again is not what was stopped.
        (folder.path / "stop").unlink(missing_ok=True)
        (folder.path / "exit.json").unlink()
    executor = SlurmExecutor(folder=place, **_taken(options, "python"))
    executor.update_parameters(**_parameters(spec, options))
    try:
        # It prints what sbatch said, and raises it.
        with redirect_stderr(io.StringIO()):
            job = executor.submit(Work(str(folder.path)))
    except (FailedJobError, FailedSubmissionError) as error:
        _refused("sbatch", str(error))
    kept: dict[str, object] = {"engine": NAME, "id": job.job_id}
    keeper.write_json(str(folder.path / "job.json"), kept)


def state(folder: RunFolder) -> State:
    """How the run is, from its files and, where they leave it open, from Slurm."""
    ended = folder.exit()
    # A command that ended by itself, or was to be stopped, is not started again.
    if ended and (ended.signal is None or ended.stopped):
        return State("ended")
    number = job_number(folder)
    if number is None:
        return folder.state()
    try:
        job = queue().job(number)
    except ExpdbError as error:
        return State("running" if folder.keeper() else "queued", f"job {number}: {error.message}")
    if job is None:
        if ended or folder.exit():
            return State("ended")
        return State("lost", f"job {number} ended without a trace; Slurm has forgotten it")
    attempt = f", attempt {job.restarts + 1}" if job.restarts else ""
    if job.state in _WAITING:
        return State("queued", f"job {number} waits: {job.reason}{attempt}")
    if job.state in _ON_NODES:
        how = "" if job.state == "RUNNING" else f" ({job.state.lower()})"
        return State("running", f"job {number} on {job.nodes}{how}{attempt}")
    why = _SAID.get(job.state, job.state.lower().replace("_", " "))
    # Looked at again: it may have been written since.
    if folder.exit():
        return State("ended", f"job {number}: {why}" if job.state in _SAID else "")
    if job.ended_s is not None and time.time() < job.ended_s + VISIBLE_S and folder.keeper():
        return State("running", f"job {number} has ended on {job.nodes}; its last file is awaited")
    return State("lost", ": ".join(filter(None, (f"job {number}", why, last_words(folder, number)))))


def stop(folder: RunFolder, *, force: bool = False) -> None:
    """Cancel the job; returns when it is over, or after STOP_S. force: the command is not asked to end itself."""
    queue().asked_s = float("-inf")
    before = state(folder).kind
    if before in ("ended", "lost"):
        return
    (folder.path / "stop").touch()
    number = job_number(folder)
    if number is None:
        # Not handed over; or it was, by somebody who was killed, and then the job sees the mark.
        keeper.write_json(str(folder.path / "exit.json"), keeper.stopped_before_start(1))
        return
    if force:
        # The keeper's second signal ends the command without asking. Two that come at once are one to it, and the one
        # that scancel sends below may be too late.
        for _ in range(2):
            with suppress(ExpdbError):
                _said("scancel", "--signal=TERM", number)
            time.sleep(0.2)
    try:
        _said("scancel", number)
    except ExpdbError:
        job = now(number)
        if job is not None and job.state in _WAITING | _ON_NODES:
            raise
    until = time.monotonic() + STOP_S
    pause_s = 0.1
    while (job := now(number)) is not None and job.state in _WAITING | _ON_NODES:
        if time.monotonic() > until:
            return
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 1.0)
    queue().asked_s = float("-inf")
    # A job that waited, for the first time or again, had no keeper that would write it.
    if folder.exit() is None and (before == "queued" or not _appears(folder)):
        attempted = folder.keeper()
        content = keeper.stopped_before_start(attempted.attempt if attempted else 1)
        keeper.write_json(str(folder.path / "exit.json"), content)


def job_number(folder: RunFolder) -> str | None:
    """The job's number at Slurm; None where the run was not handed over."""
    number = keeper.read_json(str(folder.path / "job.json")).get("id")
    return number if isinstance(number, str) else None


def last_words(folder: RunFolder, number: str) -> str:
    """The last line that the job wrote outside of its command; "" where it wrote none."""
    with suppress(OSError):
        text = (folder.path / NAME / f"{number}_0_log.out").read_text(encoding="utf-8", errors="replace")
        # What srun adds is that it failed, not why.
        noise = ("submitit INFO", "Exited with exit code")
        lines = [line.strip() for line in text.splitlines() if not any(one in line for one in noise)]
        return next((line for line in reversed(lines) if line), "")
    return ""


@dataclass(frozen=True, slots=True)
class Work:
    """What runs on the node: submitit's process becomes the keeper of the run's folder."""

    folder: str

    def __call__(self) -> NoReturn:
        job = os.path.join(self.folder, "job.json")
        if not keeper.read_json(job):
            # Who handed the job over was killed before it could write down its number.
            keeper.write_json(job, {"engine": NAME, "id": os.environ["SLURM_JOB_ID"]})
        if Path(self.folder, "stop").exists():
            sys.exit(128 + signal.SIGTERM)
        words = [sys.executable, "-I", "-S", keeper.__file__, self.folder]
        if gpus := os.environ.get("CUDA_VISIBLE_DEVICES"):
            words += ["--gpus", gpus]
        # Before the time limit Slurm sends one of these to all processes of the job. A command that wants it handles
        # it (a shell cannot); any other, and the keeper, would die of it.
        for one in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(one, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        sys.stdout.flush()
        os.execv(words[0], words)


def _parameters(spec: Spec, options: dict[str, str]) -> dict[str, object]:
    """For submitit: its own parameters by their names, sbatch's through `additional_parameters`."""
    for key, value in options.items():
        if key in _BATCH_ONLY:
            raise UsageError(f"a run is one job, so {key} is no option of it", hint="several values make a sweep")
        if "\n" in value or not key:
            raise UsageError(f"option {key or '(empty)'} of the runner: {value!r} does not fit on a line of sbatch")
    parameters: dict[str, object] = {
        # submitit's own default is five minutes; the partition knows better.
        "time": None,
        "wckey": None,
        "stderr_to_stdout": True,
        "job_name": " ".join(spec.name.split()) or spec.uid[:8],
    }
    if setup := options.pop("setup", ""):
        parameters["setup"] = [setup]
    if words := options.pop("srun-args", ""):
        parameters["srun_args"] = shlex.split(words)
    several = options.get("nodes", "1") != "1" or options.get("ntasks", "1") != "1"
    parameters["use_srun"] = _truth(options.pop("use-srun", "false" if several else "true"))
    if delay := options.pop("signal-delay-s", ""):
        if not delay.isdecimal():
            raise UsageError(f"option signal_delay_s of the runner: {delay!r} is no number of seconds")
        parameters["signal_delay_s"] = int(delay)
    if spec.gpus and not any(key == "gres" or key.startswith("gpus") for key in options):
        parameters["gpus_per_node"] = spec.gpus
    requeue = _truth(options.pop("requeue", "true"))
    words_of_sbatch: dict[str, object] = {"requeue" if requeue else "no_requeue": True}
    for key, value in options.items():
        if value == "false":
            continue
        words_of_sbatch[key.replace("-", "_")] = value in ("", "true") or value
    parameters["additional_parameters"] = words_of_sbatch
    return parameters


def _taken(options: dict[str, str], key: str) -> dict[str, str]:
    """The option by itself, no longer among the others; {} where it was not given."""
    return {key: options.pop(key)} if key in options else {}


def _truth(word: str) -> bool:
    if word not in ("true", "false", ""):
        raise UsageError(f"{word!r} is neither true nor false", hint="--runner-option requeue=false")
    return word != "false"


def _asked(which: str) -> list[Job]:
    """The jobs that squeue lists, also those that ended lately. [] for a job it does not know."""
    fields = "JobID:|,State:|,NodeList:|,RestartCnt:|,EndTime:|,Reason:|"
    try:
        said = _said("squeue", which, "--noheader", "--states=all", "-O", fields)
    except ExpdbError as error:
        if "Invalid job id" in error.message:
            return []
        raise
    jobs = []
    for line in said.splitlines():
        number, word, nodes, restarts, ended, reason, *_ = line.split("|")
        ended_s = float(ended) if ended.isdecimal() and int(ended) else None
        jobs.append(Job(number, word, reason, nodes, int(restarts or 0), ended_s))
    return jobs


def _said(*words: str) -> str:
    """What a program of Slurm's printed. ExpdbError where it is missing, fails or does not answer."""
    environment = dict(os.environ) | {"SLURM_TIME_FORMAT": "%s", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            words, capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=30, check=False
        )
    except FileNotFoundError:
        raise ExpdbError(
            f"there is no Slurm here: {words[0]} is not on the PATH",
            hint="start expdb on a login node of the cluster",
        ) from None
    except subprocess.TimeoutExpired:
        raise ExpdbError(f"Slurm does not answer: {words[0]} took more than 30 s", hint="see: scontrol ping") from None
    if done.returncode:
        _refused(words[0], done.stderr or done.stdout)
    return done.stdout


def _refused(program: str, said: str) -> NoReturn:
    """What the program said, in one sentence, with what to do about it."""
    lines = [line.partition("error: ")[2] or line for line in said.splitlines() if "error:" in line]
    why = lines[-1].strip() if lines else " ".join(said.split()) or "no reason given"
    if "contact slurm controller" in why or "configuration" in why.lower():
        raise ExpdbError(f"Slurm does not answer: {why}", hint="see: scontrol ping; the run can be started again")
    if program == "sbatch":
        detail = "; ".join(dict.fromkeys(line.strip() for line in lines)) or why
        raise ExpdbError(
            f"Slurm refuses the job: {detail}",
            hint="see: sinfo -o '%P %l %c %m %G'; then --runner-option partition=..., time=..., mem=...",
        )
    raise ExpdbError(f"{program}: {why}")


def _appears(folder: RunFolder) -> bool:
    """Whether the exit file of a run that has ended comes into sight."""
    until = time.monotonic() + VISIBLE_S
    while time.monotonic() < until:
        if folder.exit():
            return True
        time.sleep(0.1)
    return False
