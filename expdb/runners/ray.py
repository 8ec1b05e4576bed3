"""Runs on a Ray cluster, one detached actor each: it outlives expdb, and is tried again where its node is lost.

The run's folder must lie on a disk that the nodes see, and the command must be one that they have; its environment is
that of the node's Ray, with what `spec.json` adds. This machine must be one of the cluster's nodes (any, also one
without CPUs), or reach it by a `ray://` address (`pip install 'ray[client]'`).

Options (`--runner-option KEY=VALUE`): address (else $RAY_ADDRESS, else the cluster that runs here), num_cpus (1),
memory (`8G`), resources (`NAME=2,OTHER=1`, the cluster's own), accelerator_type, retries after lost nodes (3).
"""

import atexit
import functools
import json
import math
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expdb.errors import ExpdbError, UsageError, need
from expdb.runners import keeper as keeping
from expdb.runners.folder import RunFolder, Spec, State, alive

NAME = "ray"
SUMMARY = "a Ray cluster"

RETRIES = 3
# One answer is good for all runs for a moment, a refusal for longer.
FRESH_S, REFUSED_S = 0.3, 10.0
START_S, ANSWER_S = 60.0, 10.0
# What a keeper gives its command to end, and the file to come into sight from another node.
END_S = keeping.GRACE_S + 10.0

_OPTIONS = ("address", "num_cpus", "memory", "resources", "accelerator_type", "retries")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster. resources: what it has in all."""

    id: str
    host: str
    alive: bool
    resources: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class View:
    """The cluster at one moment. workers: uids of runs that wait or run; free: resources that nobody uses."""

    workers: frozenset[str]
    nodes: tuple[Node, ...]
    free: Mapping[str, float]


@dataclass(slots=True)
class Cluster:
    """A cluster by its address, and the process that speaks with it (`ray_clerk`)."""

    wanted: str
    address: str = ""
    process: "subprocess.Popen[bytes] | None" = None
    viewed_s: float = float("-inf")
    latest: View | None = None
    refusal: ExpdbError | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, question: str, **details: object) -> dict[str, Any]:
        """The answer; ExpdbError where the cluster cannot be reached or refuses."""
        with self.turn:
            if self.process is None or self.process.poll() is not None:
                self.start()
            return self.exchange({"ask": question, **details}, ANSWER_S)

    def start(self) -> None:
        """A clerk that is connected."""
        self.close()
        package = str(Path(__file__).parents[2])
        environment = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "expdb.runners.ray_clerk", self.wanted],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            # An interrupt from the terminal is not for it; it ends when we do, by the end of its input.
            start_new_session=True,
        )
        self.address = str(self.exchange(None, START_S)["address"])

    def exchange(self, question: dict[str, object] | None, seconds: float) -> dict[str, Any]:
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        line = b""
        try:
            if question is not None:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
            if select.select([process.stdout], [], [], seconds)[0]:
                line = process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            # Ray has ended it, or it hangs in Ray.
            self.close()
            raise self.unreachable("it does not answer")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            if question is None:
                self.close()
                raise self.unreachable(answer["error"])
            raise ExpdbError(f"Ray refuses: {answer['error']}", hint="see: ray status")
        return answer

    def unreachable(self, why: str) -> ExpdbError:
        place = "" if self.wanted == "auto" else f" at {self.wanted}"
        return ExpdbError(
            f"no Ray cluster can be reached{place}: {why}",
            hint="start one with: ray start --head; or name it: --runner-option address=HOST:PORT",
        )

    def view(self) -> View:
        """The cluster as it was at most FRESH_S ago."""
        if time.monotonic() - self.viewed_s > (REFUSED_S if self.refusal else FRESH_S):
            try:
                self.latest, self.refusal = _view(self.ask("look")), None
            except ExpdbError as error:
                self.latest, self.refusal = None, error
            self.viewed_s = time.monotonic()
        if self.latest is None:
            assert self.refusal is not None
            raise self.refusal
        return self.latest

    def close(self) -> None:
        """End the clerk; the runs go on."""
        process, self.process = self.process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.kill()
        process.wait()
        process.stdout.close()
        try:
            process.stdin.close()
        except BrokenPipeError:
            # A question was still in it.
            pass


@functools.cache
def cluster(address: str) -> Cluster:
    made = Cluster(address)
    atexit.register(made.close)
    return made


def submit(folder: RunFolder) -> None:
    """Hand the run over. ExpdbError where no cluster can be reached, UsageError for options that are none."""
    need("ray", extra="ray")
    spec = folder.spec()
    asks = wanted(spec)
    at = cluster(spec.options.get("address") or os.environ.get("RAY_ADDRESS") or "auto")
    if folder.exit():
        # What is handed over again is not what was stopped.
        (folder.path / "stop").unlink(missing_ok=True)
        (folder.path / "exit.json").unlink()
    # Before the worker, which adds its node to it.
    at.ask("look")
    kept: dict[str, object] = {"engine": NAME, "id": spec.uid, "address": at.address}
    keeping.write_json(str(folder.path / "job.json"), kept)
    at.ask("submit", uid=spec.uid, folder=str(folder.path), scripts=str(Path(keeping.__file__).parent), asks=asks)
    at.viewed_s = float("-inf")


def wanted(spec: Spec) -> dict[str, object]:
    """What the run asks of a node, as Ray calls it. UsageError for an option that is none."""
    for key in spec.options:
        if key.replace("-", "_") not in _OPTIONS:
            raise UsageError(f"Ray has no option {key!r} here", hint=f"options: {', '.join(_OPTIONS)}")
    options = {key.replace("-", "_"): value for key, value in spec.options.items()}
    asks: dict[str, object] = {
        "num_cpus": _number("num_cpus", options.get("num_cpus", "1")),
        "num_gpus": spec.gpus,
        "max_restarts": int(_number("retries", options.get("retries", str(RETRIES)))),
    }
    if memory := options.get("memory"):
        if not (found := re.fullmatch(r"(?i)(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", memory)):
            raise UsageError(f"option memory of the runner: {memory!r} is no size", hint="--runner-option memory=8G")
        asks["memory"] = int(float(found[1]) * _UNITS[found[2].upper()])
    if others := options.get("resources"):
        pairs = [pair.partition("=") for pair in others.split(",")]
        asks["resources"] = {name.strip(): _number(f"resources {name}", count or "1") for name, _, count in pairs}
    if kind := options.get("accelerator_type"):
        asks["accelerator_type"] = kind
    return asks


def state(folder: RunFolder) -> State:
    """How the run is, from its files and, where they leave it open, from Ray."""
    ended = folder.exit()
    # A command that ended by itself, or was to be stopped, is not started again.
    if ended and (ended.signal is None or ended.stopped):
        return State("ended")
    job = keeping.read_json(str(folder.path / "job.json"))
    if "address" not in job:
        return folder.state()
    kept = folder.keeper()
    try:
        view = cluster(str(job["address"])).view()
    except ExpdbError as error:
        if kept and alive(kept, folder) is False and not folder.exit():
            return State("lost", error.message)
        return folder.state() if ended else State("running" if kept else "queued", error.message)
    if folder.uid not in view.workers:
        if folder.exit():
            return State("ended")
        if kept and (alive(kept, folder) or _stopped_s(folder) < END_S):
            return State("running", f"on {kept.host}, ending")
        if kept is None:
            return State("lost", f"its worker ended before the command began: does the node see {folder.path}?")
        return State("lost", "Ray has no worker for it any more: it was killed, or its retries are used up")
    node = next((one for one in view.nodes if one.id == job.get("node")), None)
    attempt = kept.attempt if kept else 0
    if node is None or not node.alive:
        lost = f"{job.get('host')} was lost; attempt {attempt + 1} " if node is not None and attempt else ""
        return State("queued", lost + waits_for(wanted(folder.spec()), view))
    return State("running", f"on {job.get('host')}" + (f", attempt {attempt}" if attempt > 1 else ""))


def waits_for(asks: Mapping[str, object], view: View) -> str:
    """What a run that is not placed is waiting for, in words."""
    needs = {"CPU": asks["num_cpus"], "GPU": asks["num_gpus"], "memory": asks.get("memory", 0)}
    others = asks.get("resources")
    needs |= others if isinstance(others, dict) else {}
    needs = {name: count for name, count in needs.items() if count}
    here = [node for node in view.nodes if node.alive]
    for name, count in needs.items():
        most = max((node.resources.get(name, 0) for node in here), default=0)
        if _as_number(count) > most:
            return f"waits: no node has {_shown(name, count)} (at most {_shown(name, most)})"
    short = [f"{_shown(name, count)} (free: {_shown('', view.free.get(name, 0))})" for name, count in needs.items()]
    return f"waits for {', '.join(short)}" if short else "waits for a node"


def stop(folder: RunFolder, *, force: bool = False) -> None:
    """End the run; returns when it has ended. force: the command is not asked to end itself."""
    now = state(folder)
    if now.kind in ("ended", "lost"):
        return
    job = keeping.read_json(str(folder.path / "job.json"))
    (folder.path / "stop").touch()
    if "address" in job:
        at = cluster(str(job["address"]))
        at.ask("kill", uid=folder.uid, force=force)
        at.viewed_s = float("-inf")
    # A run that was not placed has nobody who would write its exit file.
    until = time.monotonic() + (0 if now.kind == "queued" else END_S)
    while folder.exit() is None:
        if time.monotonic() >= until:
            kept = folder.keeper()
            content = keeping.stopped_before_start(kept.attempt if kept else 1)
            keeping.write_json(str(folder.path / "exit.json"), content)
        time.sleep(0.02)


def _view(answer: Mapping[str, Any]) -> View:
    nodes = tuple(Node(one["id"], one["host"], one["alive"], one["resources"]) for one in answer["nodes"])
    return View(frozenset(answer["workers"]), nodes, answer["free"])


def _stopped_s(folder: RunFolder) -> float:
    """How long ago a stop was asked for."""
    try:
        return time.time() - (folder.path / "stop").stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(f"option {name} of the runner: {text!r} is no number", hint=f"--runner-option {name}=2")
    return int(number) if number.is_integer() else number


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _shown(name: str, value: object) -> str:
    """An amount of a resource: 2 GPU, 8.0 GiB memory."""
    number = _as_number(value)
    return f"{number / 2**30:.1f} GiB memory" if name == "memory" else f"{number:g} {name}".strip()
