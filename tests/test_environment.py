"""What a run ran on is found out beside it: a real repository, a real interpreter, the script as it is started."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from expdb.runners import environment

SCRIPT = Path(environment.__file__)
KEY = "hf_" + "Ab1" * 12


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, of a user without settings of their own."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "A Person")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "person@example.org")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("lr = 0.1\n", encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=folder, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout.strip()


def gathered(cwd: Path, *command: str, root: Path | None = None, **spec: object) -> dict[str, object]:
    """The env.json that the script writes for a run of this command."""
    folder = (root or cwd.parent / "runs") / "0123abcd"
    folder.mkdir(parents=True, exist_ok=True)
    said = {"version": 1, "command": command or (sys.executable, "train.py"), "cwd": str(cwd), "env": {}, **spec}
    (folder / "spec.json").write_text(json.dumps(said), encoding="utf-8")
    subprocess.run([sys.executable, "-I", "-S", SCRIPT, folder], check=True, cwd="/")
    assert {path.name for path in folder.iterdir()} - {"keeper.json"} == {"env.json", "spec.json"}
    found = json.loads((folder / "env.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_commit_machine_and_interpreter_are_written(project: Path) -> None:
    found = gathered(project)
    assert found["git_commit"] == git(project, "rev-parse", "HEAD")
    assert found["git_dirty"] is False
    assert found["git_diff"] == ""
    assert found["host"]
    assert found["user_name"]
    assert found["python"] == f"{sys.version.split()[0]} ({sys.executable})"
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert packages["pytest"] == pytest.__version__


def test_changes_and_names_of_new_files_are_kept_and_tokens_in_them_are_not(project: Path) -> None:
    (project / "train.py").write_text(f"lr = 0.2\napi_key = 'very private'\nhub = '{KEY}'\n", encoding="utf-8")
    (project / "新.py").write_text("print()\n", encoding="utf-8")
    found = gathered(project)
    diff = str(found["git_diff"])
    assert found["git_dirty"] is True
    assert diff.startswith("diff --git a/train.py b/train.py\n")
    assert "-lr = 0.1\n+lr = 0.2\n+api_key = '***'\n+hub = '***'\n" in diff
    assert diff.endswith("?? 新.py\n")
    assert "private" not in json.dumps(found)


def test_the_diff_is_left_out_on_request(project: Path) -> None:
    (project / "train.py").write_text("lr = 0.2\n", encoding="utf-8")
    found = gathered(project, diff=False)
    assert found["git_dirty"] is True
    assert "git_diff" not in found


def test_only_new_files_leave_a_repository_clean(project: Path) -> None:
    (project / "new.py").touch()
    found = gathered(project)
    assert found["git_dirty"] is False
    assert found["git_diff"] == "?? new.py\n"


def test_from_a_folder_below_the_whole_repository_is_seen(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "train.py").write_text("lr = 0.2\n", encoding="utf-8")
    (project / "new.py").touch()
    diff = str(gathered(project / "sub", root=project.parent / "runs")["git_diff"])
    assert "a/train.py" in diff
    assert diff.endswith("?? new.py\n")


def test_the_folders_of_runs_are_no_part_of_the_code(project: Path) -> None:
    found = gathered(project, root=project / "runs [1]")
    assert found["git_diff"] == ""
    assert found["git_dirty"] is False


def test_a_long_diff_is_cut_at_a_line_and_says_so(project: Path) -> None:
    line = f"x = '{KEY}'\n"
    (project / "train.py").write_text(line * 100_000, encoding="utf-8")
    diff = str(gathered(project)["git_diff"])
    assert len(diff) < environment.MOST_DIFF_BYTES + 200
    assert diff.endswith(environment.CUT.format(environment.MOST_DIFF_BYTES) + "\n")
    assert "hf_" not in diff
    assert diff.splitlines()[-2] == "+x = '***'"


def test_binary_and_huge_files_are_named_and_not_shown(project: Path) -> None:
    (project / "weights.bin").write_bytes(b"\x00\x01" * 100)
    (project / "data.csv").write_bytes(b"1,2\n" * 3_000_000)
    git(project, "add", ".")
    diff = str(gathered(project)["git_diff"])
    assert "Binary files /dev/null and b/weights.bin differ" in diff
    assert "Binary files /dev/null and b/data.csv differ" in diff
    assert len(diff) < 1000


def test_a_repository_without_commits_and_no_repository_at_all(project: Path) -> None:
    empty = project.parent / "empty"
    empty.mkdir()
    nothing = gathered(empty)
    assert not any(key.startswith("git") for key in nothing)
    assert "python" in nothing
    git(empty, "init", "-q")
    (empty / "a.py").write_text("a = 1\n", encoding="utf-8")
    git(empty, "add", ".")
    found = gathered(empty)
    assert "git_commit" not in found
    assert found["git_dirty"] is True
    assert "+a = 1" in str(found["git_diff"])


def test_settings_of_the_user_do_not_change_the_form(project: Path) -> None:
    for key, value in {
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "color.ui": "always",
        "diff.external": "/bin/false",
        "core.pager": "/bin/false",
        "diff.renames": "copies",
        "status.showUntrackedFiles": "no",
    }.items():
        git(project, "config", key, value)
    (project / "train.py").rename(project / "main.py")
    git(project, "add", ".")
    (project / "new.py").touch()
    diff = str(gathered(project)["git_diff"])
    assert [line for line in diff.splitlines() if line.startswith("diff")] == [
        "diff --git a/main.py b/main.py",
        "diff --git a/train.py b/train.py",
    ]
    assert diff.endswith("?? new.py\n")


def test_looking_writes_nothing_into_the_repository(project: Path) -> None:
    index = project / ".git" / "index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    # git would refresh the times it keeps of this file.
    os.utime(project / "train.py", (1, 1))
    gathered(project)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_a_repository_named_by_a_hook_is_not_taken_for_this_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(project / "nowhere"))
    found = gathered(project)
    monkeypatch.delenv("GIT_DIR")
    assert found["git_commit"] == git(project, "rev-parse", "HEAD")


def test_without_git_the_rest_is_there(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = gathered(project)
    assert not any(key.startswith("git") for key in found)
    assert str(found["python"]).startswith(sys.version.split()[0])


# The interpreter


def test_torch_is_read_and_not_imported(project: Path) -> None:
    place = project.parent / "packages"
    (place / "torch").mkdir(parents=True)
    (place / "torch" / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    (place / "torch" / "version.py").write_text(
        "from typing import Optional\n__version__ = '2.4.0+cu121'\ncuda: Optional[str] = '12.1'\nhip = None\n",
        encoding="utf-8",
    )
    (place / "torch-2.4.0.dist-info").mkdir()
    (place / "torch-2.4.0.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.4.0\n", encoding="utf-8")
    (place / "damaged-1.dist-info").mkdir()
    found = gathered(project, env={"PYTHONPATH": str(place)})
    assert (found["torch"], found["cuda"]) == ("2.4.0+cu121", "12.1")
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert packages["torch"] == "2.4.0"
    assert "pytest" in packages


def test_the_variables_are_those_the_command_was_started_with(project: Path) -> None:
    place = project.parent / "packages"
    (place / "own-7.dist-info").mkdir(parents=True)
    (place / "own-7.dist-info" / "METADATA").write_text("Name: own\nVersion: 7\n", encoding="utf-8")
    folder = project.parent / "runs" / "0123abcd"
    folder.mkdir(parents=True)
    for uid, known in (("0123abcd", True), ("another", False)):
        variables = {**os.environ, "PYTHONPATH": str(place), "EXPDB_RUN_UID": uid}
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=variables) as child:
            (folder / "keeper.json").write_text(json.dumps({"child": {"pid": child.pid}, "gpus": []}))
            packages = gathered(project)["packages"]
            child.communicate(b"\n")
        assert isinstance(packages, dict)
        assert ("own" in packages) is (known and Path("/proc/self/environ").exists())


def test_what_lies_in_the_working_directory_is_not_imported(project: Path) -> None:
    for name in ("json", "platform", "re"):
        (project / f"{name}.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    assert "packages" in gathered(project)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("{python}", "-u", "train.py"),
        ("env", "A=1", "nice", "-n", "5", "{python}", "-m", "pkg"),
        ("torchrun", "--nproc_per_node", "2", "train.py"),
        ("bin/torchrun", "train.py"),
        ("accelerate", "launch", "train.py"),
        ("uv", "run", "--frozen", "train.py"),
        ("poetry", "run", "python", "train.py"),
        ("conda", "run", "-p", "{env}", "python", "train.py"),
        ("bash", "train.sh"),
        ("./train.py",),
        ("a-program-that-nobody-has",),
    ],
)
def test_the_interpreter_is_the_one_the_command_uses(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = program(tmp_path / "envs" / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "work" / ".venv").mkdir(parents=True)
    (tmp_path / "work" / ".venv" / "bin").symlink_to(python.parent)
    program(tmp_path / "work" / "bin" / "torchrun", f"#!{python}\n")
    program(tmp_path / "work" / "bin" / "accelerate", f"#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n")
    program(tmp_path / "work" / "train.py", "#!/usr/bin/env python\n")
    program(tmp_path / "other" / "python", "#!/bin/sh\nexit 1\n")
    named = "{python}" in command or command[0] in ("./train.py", "bash", "a-program-that-nobody-has")
    first = python.parent if named else tmp_path / "other"
    path = os.pathsep.join((str(first), str(tmp_path / "work" / "bin"), "/usr/bin", "/bin"))
    words = [word.format(python=python, env=tmp_path / "envs") for word in command]
    wanted = environment.Wanted(tuple(words), tmp_path / "work", {"PATH": path})
    found = environment.interpreter(wanted, {"PATH": path})
    assert found is not None
    assert Path(found).resolve() == python


def test_an_interpreter_that_hangs_costs_its_own_answer_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = program(project.parent / "bin" / "python3", "#!/bin/sh\nsleep 1000 & wait\n")
    monkeypatch.setattr(environment, "_PROBE_S", 0.2)
    began = time.monotonic()
    found = environment.gathered(environment.Wanted((str(hanging), "train.py"), project, os.environ))
    assert time.monotonic() - began < 20
    assert "git_commit" in found
    assert "python" not in found


# GPUs


def information(proc: Path, bus: str, model: str, uuid: str, minor: int) -> None:
    (proc / "gpus" / bus).mkdir(parents=True)
    (proc / "gpus" / bus / "information").write_text(
        f"Model: \t\t {model}\nIRQ:   \t\t 55\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\nDevice Minor: \t {minor}\n",
        encoding="utf-8",
    )


def test_gpus_are_those_of_the_container_in_the_order_of_the_bus(tmp_path: Path) -> None:
    information(tmp_path, "0000:81:00.0", "NVIDIA L4", "GPU-bb", 0)
    information(tmp_path, "0000:01:00.0", "NVIDIA H100 80GB HBM3", "GPU-aa", 1)
    information(tmp_path, "0000:91:00.0", "NVIDIA T4", "GPU-cc", 2)
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\nGCC version: gcc 12.2\n",
        encoding="utf-8",
    )
    for minor in (0, 1):
        (tmp_path / f"nvidia{minor}").touch()
    there, driver = environment.gpus_there(tmp_path, tmp_path)
    assert there == [("NVIDIA H100 80GB HBM3", "GPU-aa"), ("NVIDIA L4", "GPU-bb")]
    assert driver == "550.54.14"
    h100, l4 = "NVIDIA H100 80GB HBM3", "NVIDIA L4"
    assert environment.chosen_gpus(there, ["1"], by_bus=True) == [l4]
    assert environment.chosen_gpus(there, ["GPU-aa", "0"], by_bus=True) == [h100, h100]
    assert environment.chosen_gpus(there, [""], by_bus=True) == []
    assert environment.chosen_gpus(there, ["0", "-1", "1"], by_bus=True) == [h100]
    assert environment.chosen_gpus(there, ["MIG-dd"], by_bus=True) == []
    assert environment.chosen_gpus(there, ["0", "1"], by_bus=False) == []
    assert environment.chosen_gpus(there[:1], ["0", "MIG-dd"], by_bus=False) == [h100, h100]
    assert environment.gpus_there(tmp_path / "nowhere") == ([], None)


def test_a_folder_without_a_spec_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", SCRIPT, tmp_path], capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert "spec.json" in done.stderr
    assert not list(tmp_path.iterdir())
