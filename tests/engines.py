"""Engines of clusters on this machine's loopback, for tests: each starts its own processes and ends them by number."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from conftest import requires

from expdb.runners import keeper as keeping
from expdb.runners.folder import RunFolder, Spec, create

# Debian installs daemons where only root's PATH looks.
PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])


def until(check: Callable[[], object], seconds: float = 20.0, what: Callable[[], object] = lambda: "") -> None:
    """Return once check is true; fail, with what can be said, after so many seconds."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s: {what()}"
        time.sleep(0.05)


def new_run(
    root: Path, script: str, *, runner: str, gpus: int = 0, name: str = "r", options: Mapping[str, str] | None = None
) -> RunFolder:
    """The folder of a run whose command is a script of the shell; root is where all of a test's runs lie."""
    import uuid

    command = ("/bin/sh", "-c", script)
    return create(
        root,
        Spec(
            uid=uuid.uuid4().hex,
            name=name,
            experiment="e",
            command=command,
            template=command,
            cwd=str(root.parent),
            created_ms=time.time_ns() // 1_000_000,
            env={"COLOUR": "green"},
            params={},
            tags={},
            runner=runner,
            gpus=gpus,
            diff=False,
            options=options or {},
        ),
    )


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def descendants(pid: int) -> list[int]:
    """The process and all that come from it, as far as /proc tells."""
    children: dict[int, list[int]] = {}
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (one / "stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(one.name))
    found = [pid]
    for number in found:
        found.extend(children.get(number, []))
    return found


def marked(variable: str) -> list[int]:
    """The processes that have this variable in their environment."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{variable}\0".encode() in (one / "environ").read_bytes():
                found.append(int(one.name))
    return found


def kill(pids: Sequence[int]) -> None:
    """kill -9, of what is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


CONFIGURATION = """
ClusterName=expdb
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=bf_interval=1,sched_min_interval=0,sched_interval=1,batch_sched_delay=0
KillWait=5
CompleteWait=0
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=1000 Gres=gpu:2
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(slots=True)
class Slurm:
    """A controller and two nodes, n1 with two GPUs (as Slurm counts them) and n2 without, two CPUs each."""

    home: Path
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, *words: str | Path) -> None:
        with (self.home / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.home,
                # What a node starts for its jobs leaves its family, but keeps this.
                env=os.environ | {"EXPDB_TEST_DAEMON": self.mark(name)},
            )

    def mark(self, name: str) -> str:
        return f"{self.home}/{name}"

    def start_node(self, name: str) -> None:
        """The node, or one in its place."""
        self.start(name, program("slurmd"), "-D", "-N", name)

    def lose_node(self, name: str) -> None:
        """The node goes dark with everything on it, and the controller learns of it."""
        kill(self.family(name))
        self.processes.pop(name).wait()
        said("scontrol", "update", f"nodename={name}", "state=down", "reason=lost")

    def pause_controller(self) -> None:
        process = self.processes.pop("controller")
        process.terminate()
        process.wait(timeout=20)

    def start_controller(self) -> None:
        self.start("controller", program("slurmctld"), "-D")
        until(lambda: subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0, what=self.log)

    def family(self, name: str) -> list[int]:
        """A daemon, what it started, and their descendants."""
        return [one for found in marked(f"EXPDB_TEST_DAEMON={self.mark(name)}") for one in descendants(found)]

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.home.glob("*.log"))

    def close(self) -> None:
        for name in ("n1", "n2"):
            kill(self.family(name))
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                kill(descendants(process.pid))
                process.wait()


def program(name: str) -> str:
    """Where it is; the bare name where it is not."""
    return shutil.which(name, path=PLACES) or name


def said(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """A Slurm cluster on the loopback, ready for jobs; SLURM_CONF names it as long as it is there."""
    import getpass

    for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun"):
        requires("slurm", shutil.which(name, path=PLACES), f"{name} is not installed")
    # Not pytest's folder: a socket's path must be short, and munge wants no folder that others may write to.
    home = Path(tempfile.mkdtemp(prefix="expdb-slurm-"))
    cluster = Slurm(home)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = f"{home}/slurm.conf"
    try:
        home.chmod(0o755)
        for folder in ("munge", "state", "spool/n1", "spool/n2"):
            (home / folder).mkdir(mode=0o711, parents=True)
        key = home / "munge" / "key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o600)
        control, first, second = free_ports(3)
        text = CONFIGURATION.format(home=home, user=getpass.getuser(), control=control, first=first, second=second)
        (home / "slurm.conf").write_text(text)
        # Two devices that every machine has; nobody looks at more than their numbers.
        (home / "gres.conf").write_text("NodeName=n1 Name=gpu File=/dev/null,/dev/zero\n")
        # No limits are set through it, but slurmd wants one that it knows.
        (home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        munge = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
        words = [f"--{option}={home}/munge/{name}" for option, name in munge.items()]
        cluster.start("munge", program("munged"), "-F", *words)
        until((home / "munge" / "socket").exists, what=(home / "munge.out").read_text)
        cluster.start_controller()
        for name in ("n1", "n2"):
            cluster.start_node(name)
        until(lambda: said("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"], what=cluster.log)
        yield cluster
    finally:
        cluster.close()
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(home)


@dataclass(slots=True)
class Ray:
    """A head with two CPUs and the resource `head`, and a second node with two CPUs and two GPUs."""

    home: Path
    process: "subprocess.Popen[str]"
    address: str = ""
    # What has been its process, with its start: what survives a node has no parent any more, and hides its environment.
    seen: dict[int, str] = field(default_factory=dict)

    def tell(self, word: str) -> str:
        """Have it add or lose its second node."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.look()
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def look(self) -> None:
        for pid in (*descendants(self.process.pid), *marked(f"EXPDB_TEST_DAEMON={self.home}")):
            self.seen.setdefault(pid, str(keeping.identity(pid)["start"]))

    def lose(self) -> None:
        """Everything that makes the cluster, but not the workers, is killed."""
        self.look()
        kill([pid for pid in self.seen if Path(f"/proc/{pid}/exe").resolve().name in ("raylet", "gcs_server")])

    def close(self) -> None:
        self.look()
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self.process.communicate(timeout=15)
        kill([pid for pid, start in self.seen.items() if start and keeping.alive(pid, start)])


# Ray wants to be the master of the process it is used in: signals, output, hooks.
RAY_PROGRAM = """
import itertools, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from ray.cluster_utils import Cluster
common = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
beats = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 300, "health_check_timeout_ms": 1000,
         "health_check_failure_threshold": 3, "gcs_rpc_server_reconnect_timeout_s": 3}
cluster = Cluster()
cluster.add_node(**common, num_gpus=0, resources={"head": 1}, _system_config=beats)
for word in itertools.chain(["add"], sys.stdin):
    if word.strip() == "add":
        second = cluster.add_node(**common, num_gpus=2)
    else:
        cluster.remove_node(second, allow_graceful=False)
    print(cluster.address, file=answers, flush=True)
cluster.shutdown()
"""


@contextlib.contextmanager
def ray() -> Iterator[Ray]:
    """A Ray cluster on the loopback, of two nodes, ready for runs."""
    requires("ray", find_spec("ray"), "ray is not installed")
    # Not pytest's folder: a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="expdb-ray-"))
    environment = os.environ | {"EXPDB_TEST_DAEMON": str(home), "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(home)}
    try:
        with (home / "out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", RAY_PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                encoding="utf-8",
                env=environment,
                start_new_session=True,
            )
        cluster = Ray(home, process)
        with process:
            try:
                assert process.stdout is not None
                cluster.address = process.stdout.readline().strip()
                assert cluster.address, (home / "out").read_text()[-4000:]
                yield cluster
            finally:
                cluster.close()
    finally:
        shutil.rmtree(home)
