"""Speaks with a Ray cluster for expdb, in a process of its own: `python -m expdb.runners.ray_clerk ADDRESS`

A process connected to Ray is not its own master: Ray ends it when the cluster goes away, prints into its output and
takes its signals. So this one is, and expdb, which writes the database, is not. One JSON object per line comes in on
standard input and one goes out on standard output for each, the first unasked: {"address": ...} or {"error": ...}.

    {"ask": "submit", "uid", "folder", "scripts", "asks": {num_cpus, ...}}    {}
    {"ask": "look"}             {"workers": [uid], "nodes": [{"id", "host", "alive", "resources"}], "free": {...}}
    {"ask": "kill", "uid", "force"}                                           {}

A run is a detached actor: it belongs to the cluster, not to who started it, and is started again elsewhere when its
node is lost. Its class is sent by value, so that a node needs no more of expdb than the scripts of this folder.
"""

import json
import logging
import os
import socket
import sys
import time
from typing import Any

NAMESPACE = "expdb"
# A cluster that is there takes a connection at once.
CONNECT_S = 5.0


class Worker:
    """On a node: one run's keeper, from beginning to end. Made again where Ray tries again."""

    def __init__(self, uid: str, folder: str, scripts: str, gpus: int) -> None:
        import importlib.util
        import runpy
        import socket
        import threading
        from pathlib import Path

        import ray

        self.uid, self.folder, self.scripts = uid, Path(folder), Path(scripts)
        if not (self.scripts / "keeper.py").exists():
            # No disk in common but that of the runs.
            found = importlib.util.find_spec("expdb.runners")
            if found is None or found.origin is None:
                raise FileNotFoundError(f"expdb is not installed on {socket.gethostname()}, nor is {scripts} there")
            self.scripts = Path(found.origin).parent
        self.gpus = [str(one) for one in ray.get_gpu_ids()] if gpus else []
        self.keeping = runpy.run_path(str(self.scripts / "keeper.py"), run_name="keeper")
        where = {"node": ray.get_runtime_context().get_node_id(), "host": socket.gethostname()}
        self.keeping["write_json"](str(self.folder / "job.json"), self.read("job.json") | where)
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        """Keep the run until it has ended, then leave the cluster."""
        import subprocess
        import sys
        import time

        import ray

        python = [sys.executable, "-I", "-S"]
        words = [*python, str(self.scripts / "leash.py"), *python, str(self.scripts / "keeper.py"), str(self.folder)]
        if self.gpus:
            words += ["--gpus", ",".join(self.gpus)]
        before = self.attempts()
        # The attempt before may take as long to end as it is given, where its node is not as lost as Ray thinks.
        until = time.monotonic() + 30
        try:
            with (self.folder / "worker.log").open("ab") as log:
                while not (self.folder / "stop").exists():
                    # A session of its own: Ray may end the worker's whole group.
                    done = subprocess.run(
                        words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                    )
                    taken = done.returncode == self.keeping["TAKEN"] and self.attempts() == before
                    if not taken or time.monotonic() > until:
                        break
                    time.sleep(0.2)
            self.tidy()
        finally:
            ray.kill(ray.get_actor(self.uid), no_restart=True)

    def tidy(self) -> None:
        """Where the keeper was killed, its command goes, too: Ray gives its place to others."""
        import os
        import signal
        import time

        kept = self.read("keeper.json")
        while self.lives(kept, "keeper"):
            # The leash was killed, as Ray does before it ends us; the keeper sees to its command.
            time.sleep(0.05)
        if self.read("exit.json").get("attempt") != kept.get("attempt") and self.lives(kept, "child"):
            os.killpg(kept["pgid"], signal.SIGKILL)

    def attempts(self) -> int:
        """How many there have been."""
        return max(int(self.read(name).get("attempt") or 0) for name in ("keeper.json", "exit.json"))

    def end(self) -> None:
        """Kill the command; the keeper writes down how it ended."""
        import os
        import signal

        kept = self.read("keeper.json")
        if self.lives(kept, "child"):
            os.killpg(kept["pgid"], signal.SIGKILL)

    def lives(self, kept: dict[str, Any], which: str) -> bool:
        """Whether the keeper, or its command, is a process of this node that is alive."""
        one = kept.get(which, {"boot": None, "pidns": None})
        here = (one["boot"], one["pidns"]) == (self.keeping["boot"](), self.keeping["pidns"]())
        return here and bool(self.keeping["alive"](one["pid"], one["start"]))

    def read(self, name: str) -> dict[str, Any]:
        """A file of the run's folder; {} where there is none."""
        found: dict[str, Any] = self.keeping["read_json"](str(self.folder / name))
        return found


class Clerk:
    """What can be asked of a cluster."""

    def __init__(self, address: str) -> None:
        import ray

        self.ray: Any = ray
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():
            # Ray itself would try for a minute.
            socket.create_connection((host.removeprefix("ray://").strip("[]"), int(port)), CONNECT_S).close()
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.CRITICAL)
        remote = address.startswith("ray://")
        self.address = address if remote else str(ray.get_runtime_context().gcs_address)

    def submit(self, uid: str, folder: str, scripts: str, asks: dict[str, Any]) -> dict[str, object]:
        wanted = {"name": uid, "lifetime": "detached", "max_concurrency": 2, **asks}
        worker = self.ray.remote(Worker).options(**wanted).remote(uid, folder, scripts, asks.get("num_gpus", 0))
        self.wait_for_hand_over(worker._actor_id.hex())
        return {}

    def wait_for_hand_over(self, actor: str) -> None:
        """Return once the cluster would go on with it if we were killed: it drops what has not told all it needs."""
        try:
            from ray._private.state import actors
        except ImportError:
            # No other way to ask without Ray's dashboard. It takes milliseconds.
            time.sleep(1)
            return
        until = time.monotonic() + CONNECT_S
        while actors(actor).get("State", "DEPENDENCIES_UNREADY") == "DEPENDENCIES_UNREADY":
            if time.monotonic() > until:
                raise TimeoutError("the cluster does not take the run")
            time.sleep(0.005)

    def look(self) -> dict[str, object]:
        nodes = [
            {
                "id": node["NodeID"],
                "host": node.get("NodeManagerHostname") or node["NodeManagerAddress"],
                "alive": node["Alive"],
                "resources": node["Resources"],
            }
            for node in self.ray.nodes()
        ]
        return {"workers": self.ray.util.list_named_actors(), "nodes": nodes, "free": self.ray.available_resources()}

    def kill(self, uid: str, force: bool) -> dict[str, object]:
        try:
            worker = self.ray.get_actor(uid)
        except ValueError:
            # It has left.
            return {}
        if force:
            try:
                self.ray.get(worker.end.remote(), timeout=2)
            except (self.ray.exceptions.GetTimeoutError, self.ray.exceptions.RayActorError):
                # It waits, or has left.
                pass
        self.ray.kill(worker, no_restart=True)
        return {}


def main(address: str) -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    # Ray prints what its nodes have to say.
    os.dup2(null, 1)
    os.dup2(null, 2)
    import ray

    # What Ray raises where it cannot reach the cluster, or is not given what it wants.
    refusals = (ray.exceptions.RayError, OSError, RuntimeError, ValueError, TypeError, AssertionError)
    try:
        clerk = Clerk(address)
        answer: dict[str, object] = {"address": clerk.address}
    except refusals as error:
        print(json.dumps({"error": in_words(error)}), file=answers, flush=True)
        return
    print(json.dumps(answer), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(clerk, request.pop("ask"))(**request)
        except refusals as error:
            answer = {"error": in_words(error)}
        print(json.dumps(answer), file=answers, flush=True)


def in_words(error: BaseException) -> str:
    """The error's first paragraph on one line."""
    return " ".join(str(error).strip().partition("\n\n")[0].split()) or type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1])
