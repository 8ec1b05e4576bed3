"""Two runs side by side: only what differs, in every kind of thing that is known of them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import expdb_in
from conftest import WriteLog
from drills import take

from expdb.diff import Difference, FileChange, diff
from expdb.errors import NotFoundError
from expdb.records import BOOKKEEPING_TAGS, Table
from expdb.store.sqlite import SqliteDatabase as Database

Rows = dict[str, tuple[object, object]]
DIFF = """\
diff --git a/train.py b/train.py
index 1111111..2222222 100644
--- a/train.py
+++ b/train.py
@@ -1,3 +1,3 @@
 import torch
-lr = 0.1
+lr = {lr}
--- a comment of SQL
"""


def section(found: Difference, title: str) -> Rows:
    return {str(name.value): (a.value, b.value) for name, a, b in table(found, title).rows}


def table(found: Difference, title: str) -> Table:
    return next((one for one in found.sections if one.title == title), Table((), ()))


def titles(found: Difference) -> list[str | None]:
    return [one.title for one in found.sections]


@pytest.fixture
def two(database: Database, write_log: WriteLog) -> Callable[..., tuple[Path, Path]]:
    """Two runs, a and b, of equal logs but for what is said."""

    def make(**changed: int) -> tuple[Path, Path]:
        paths = write_log("logs/a.log"), write_log("logs/b.log", **changed)
        take(database, paths[0], params={"lr": "0.1", "size": "64"}, tags={"by": "me"})
        take(database, paths[1], params={"lr": "1e-1", "size": "128"}, tags={"by": "you"}, copy=True)
        return paths

    return make


def ran(database: Database, name: str, **facts: object) -> None:
    """What a launched run ran on."""
    with database.transaction() as connection:
        ((run_id,),) = database.rows("SELECT id FROM run WHERE name = ?", (name,))
        keys = ", ".join(["run_id", *facts])
        marks = ", ".join("?" * (len(facts) + 1))
        connection.execute(f"INSERT INTO provenance ({keys}) VALUES ({marks})", (run_id, *facts.values()))


def test_params_and_tags_that_differ_are_told_and_equal_numbers_do_not(
    database: Database, two: Callable[..., object]
) -> None:
    two()
    found = diff(database, "a", "b")
    assert section(found, "params") == {"size": ("64", "128")}
    assert section(found, "tags") == {"by": ("me", "you")}
    assert titles(found) == ["params", "tags"]
    assert [column.title for column in table(found, "params").columns] == ["params", "a", "b"]


def test_metrics_are_told_with_last_best_and_length_as_compare_prints_them(
    database: Database, two: Callable[..., object]
) -> None:
    two(epochs=4, salt=3)
    found = diff(database, "a", "b")
    shown = section(found, "metrics")
    assert shown["epochs"] == ("0–2", "0–3")
    assert shown["best(test/accuracy)"] == (0.44, 0.54)
    assert "n(train/loss)" not in shown
    assert "last(train/accuracy)" in shown
    assert any(name.startswith("last(") and name.endswith("(s)") for name in shown)
    cells = {str(name.value): a for name, a, _ in table(found, "metrics").rows}
    assert cells["best(test/accuracy)"].decimals == 3
    rules = table(found, "metrics").rules
    assert any("best: the greatest test/accuracy" in rule for rule in rules)


def test_a_metric_of_one_run_only_has_nothing_beside_it(
    database: Database, write_log: WriteLog, tmp_path: Path
) -> None:
    take(database, write_log("logs/a.log"))
    (tmp_path / "logs" / "b.log").write_text("".join(f"epoch {n}, val loss 0.{n}\n" for n in range(3)))
    take(database, tmp_path / "logs" / "b.log")
    shown = section(diff(database, "a", "b"), "metrics")
    assert shown["last(val/loss)"] == (None, 0.2)
    assert shown["last(test/accuracy)"][1] is None


def test_a_curve_with_more_points_over_the_same_steps_is_told(database: Database, tmp_path: Path) -> None:
    lines = ["epoch 0, loss 3.0\n", "epoch 1, loss 2.0\n", "epoch 2, loss 1.0\n"]
    for name, kept in (("a", lines), ("b", [lines[0], lines[2]])):
        (tmp_path / f"{name}.log").write_text("".join(kept), encoding="utf-8")
        take(database, tmp_path / f"{name}.log", copy=True)
    assert section(diff(database, "a", "b"), "metrics") == {"n(train/loss)": (3, 2)}


def test_curves_that_end_alike_and_part_between_are_not_called_equal(
    database: Database, two: Callable[..., tuple[Path, Path]], write_log: WriteLog
) -> None:
    log = write_log("logs/a.log", epochs=6)
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[2] = lines[2].replace("loss 0.6667", "loss 0.6600")
    (log.parent / "b.log").write_text("".join(lines), encoding="utf-8")
    for name in ("a", "b"):
        take(database, log.parent / f"{name}.log", copy=True)
    found = diff(database, "a", "b")
    assert section(found, "metrics") == {"at(train/loss, 2)": (0.6667, 0.66)}
    assert table(found, "metrics").rules == ("at: the first step at which two curves differ that end alike",)


def test_runs_that_are_alike_are_said_to_be(database: Database, write_log: WriteLog) -> None:
    for name in ("a", "b"):
        take(database, write_log(f"logs/{name}.log"), copy=True)
        ran(database, name, host="here", git_commit="c" * 40, git_dirty=0, git_diff="", packages='{"a": "1"}')
    found = diff(database, "a", "b")
    assert (found.sections, found.code, found.remarks) == ((), (), ())


def test_diverged_runs_are_equal_where_both_are_not_a_number(database: Database, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.log").write_text("epoch 0, loss 1.0\nepoch 1, loss nan\n")
        take(database, tmp_path / f"{name}.log", copy=True)
    assert diff(database, "a", "b").sections == ()


def test_environment_and_packages_are_told(database: Database, two: Callable[..., object]) -> None:
    two()
    same = {"host": "here", "torch": "2.4.0", "git_commit": "c" * 40}
    ran(database, "a", **same, gpu="NVIDIA H100", git_dirty=0, packages=json.dumps({"b": "1", "A": "1", "c": "1"}))
    ran(database, "b", **same, exit_code=1, git_dirty=1, packages=json.dumps({"b": "2", "A": "1", "d": "1"}))
    found = diff(database, "a", "b")
    wanted = {"gpu": ("NVIDIA H100", None), "git_dirty": ("no", "yes"), "exit_code": (None, "1")}
    assert section(found, "environment") == wanted
    assert section(found, "packages") == {"b": ("1", "2"), "c": ("1", None), "d": (None, "1")}
    assert found.remarks == ("b: its changes since the commit were not kept",)


def test_what_is_not_known_of_one_run_is_remarked_and_no_difference(
    database: Database, two: Callable[..., object]
) -> None:
    two()
    ran(database, "a", host="here")
    found = diff(database, "a", "b")
    assert titles(found) == ["params", "tags"]
    assert found.remarks == ("b (from a log): its environment and code are not known",)


def test_of_two_diffs_the_lines_are_told_that_only_one_has(database: Database, two: Callable[..., object]) -> None:
    two()
    own = "diff --git a/a file.py b/a file.py\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/a file.py\n"
    ran(database, "a", git_diff=DIFF.format(lr=0.2) + own + "@@ -0,0 +1 @@\n+x = 1\n?? same.py\n?? new.py\n")
    ran(database, "b", git_diff=DIFF.format(lr=0.3) + "?? same.py\n")
    found = diff(database, "a", "b")
    assert found.code == (
        FileChange("a file.py", True, False, ("+x = 1",)),
        FileChange("train.py", True, True, ("+lr = 0.2",), ("+lr = 0.3",)),
        FileChange("new.py", True, False, untracked=True),
    )
    assert section(found, "code") == {
        "a file.py": ("+1 -0", None),
        "train.py": ("+1 -0", "+1 -0"),
        "new.py": ("not in git", None),
    }


def test_what_was_left_out_of_a_diff_is_remarked(database: Database, two: Callable[..., object]) -> None:
    two()
    cut = DIFF.format(lr=0.2).rpartition("\n--- ")[0] + "\n\\ cut here: the diff is longer than 1 bytes\n"
    ran(database, "a", git_commit="a" * 40, git_diff=cut)
    ran(database, "b", git_commit="b" * 40, git_diff="")
    assert diff(database, "a", "b").remarks == (
        f"what was committed between the two: git diff {'a' * 12} {'b' * 12}",
        "a: its changes were kept only in part, being too many",
    )
    with database.transaction() as connection:
        connection.execute("UPDATE provenance SET git_diff = NULL WHERE git_commit LIKE 'b%'")
    assert diff(database, "a", "b").remarks[1:] == ("b: its changes since the commit were not kept",)
    assert diff(database, "a", "b").code == ()


@pytest.mark.parametrize(
    ("a", "b", "remarks"),
    [
        ("", None, ("b: its changes since the commit were not kept",)),
        (None, "", ("a: its changes since the commit were not kept",)),
        (None, None, tuple(f"{name}: its changes since the commit were not kept" for name in "ab")),
        ("", "", ()),
    ],
)
def test_what_was_not_kept_is_not_said_to_be_equal(
    database: Database, write_log: WriteLog, tmp_path: Path, a: str | None, b: str | None, remarks: tuple[str, ...]
) -> None:
    for name, kept in (("a", a), ("b", b)):
        take(database, write_log(f"logs/{name}.log"), copy=True)
        ran(database, name, git_commit="c" * 40, git_dirty=True, git_diff=kept)
    assert diff(database, "a", "b").remarks == remarks
    said = expdb_in(tmp_path)("diff", "a", "b").stdout
    assert said == f"a and b: nothing {'that is known ' if remarks else ''}differs\n"


def test_without_changes_nothing_is_lost_where_no_diff_was_kept(database: Database, two: Callable[..., object]) -> None:
    two()
    ran(database, "a", git_commit="c" * 40, git_dirty=True, git_diff=DIFF.format(lr=0.2) + "?? new.py\n")
    ran(database, "b", git_commit="c" * 40, git_dirty=False)
    found = diff(database, "a", "b")
    # Of new files nothing is known under b.
    assert [(one.path, one.by_a, one.by_b) for one in found.code] == [("train.py", True, False)]
    assert found.remarks == ()


def test_code_that_was_in_no_git_is_told_apart_from_code_that_is_equal(database: Database, write_log: WriteLog) -> None:
    for name in ("a", "b"):
        take(database, write_log(f"logs/{name}.log"), copy=True)
        ran(database, name, command="python train.py")
    assert diff(database, "a", "b").remarks == ("the code is known of neither: it was not in git",)
    with database.transaction() as connection:
        connection.execute("UPDATE provenance SET git_commit = 'c', git_diff = '' WHERE run_id = 1")
    assert diff(database, "a", "b").remarks == ("b: nothing is known of its code",)


def test_a_run_below_a_launched_one_ran_on_what_that_ran_on(database: Database, two: Callable[..., object]) -> None:
    two()
    ran(database, "a", command="python train.py", host="here", git_diff=DIFF.format(lr=0.2))
    remarks = diff(database, "a", "b").remarks
    assert remarks == ("b (from a log): its environment and code are not known",)
    with database.transaction() as connection:
        connection.execute("UPDATE run SET parent_id = (SELECT id FROM run WHERE name = 'a') WHERE name = 'b'")
    found = diff(database, "a", "b")
    assert (found.remarks, section(found, "environment"), found.code) == ((), {}, ())
    # What it knows of itself stands above.
    ran(database, "b", command="python train.py", host="there", git_diff="")
    assert section(diff(database, "a", "b"), "environment") == {"host": ("here", "there")}


def test_the_tags_that_expdb_keeps_for_itself_are_no_difference(database: Database, write_log: WriteLog) -> None:
    for name in ("a", "b"):
        tags = dict.fromkeys(BOOKKEEPING_TAGS, name) | {"by": name}
        take(database, write_log(f"logs/{name}.log"), copy=True, tags=tags)
    assert section(diff(database, "a", "b"), "tags") == {"by": ("a", "b")}


def test_a_diff_of_git_is_read_as_git_writes_it(
    database: Database, two: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        person = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", *person, *words]
        return subprocess.run(command, cwd=repository, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout

    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "a b.sql").write_text("x\n-- gone\ny\n")
    (repository / "w.bin").write_bytes(b"\0\1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (repository / "a b.sql").write_text("x\n++ new\ny\n")
    (repository / "w.bin").write_bytes(b"\0\2")
    one = git("diff", "HEAD")
    (repository / "w.bin").write_bytes(b"\0\3")
    (repository / "a b.sql").write_text("x\n-- gone\ny")
    other = git("diff", "HEAD")
    two()
    ran(database, "a", git_diff=one)
    ran(database, "b", git_diff=other)
    script, weights = diff(database, "a", "b").code
    assert script == FileChange("a b.sql", True, True, ("--- gone", "+++ new"), ("-y", "+y"))
    assert weights.path == "w.bin"
    assert weights.only_a != weights.only_b


def test_a_run_beside_itself_and_one_that_is_not_there(database: Database, two: Callable[..., object]) -> None:
    two()
    found = diff(database, "a", "@2")
    assert (found.sections, found.remarks) == ((), ("both names mean the same run",))
    with pytest.raises(NotFoundError):
        diff(database, "a", "nobody")


def test_the_command_prints_tables_code_and_what_is_not_known(
    database: Database, two: Callable[..., object], tmp_path: Path
) -> None:
    two(epochs=4)
    run = expdb_in(tmp_path)
    done = run("diff", "a", "b")
    assert done.returncode == 0
    assert done.stderr == ""
    ran(database, "a", git_diff=DIFF.format(lr=0.2))
    ran(database, "b", git_diff=DIFF.format(lr="\x1b[0m"))
    done = run("diff", "a", "b")
    assert done.stderr == ""
    assert "< only under a    > only under b\ntrain.py\n  < +lr = 0.2\n  > +lr = \\x1b[0m\n" in done.stdout
    assert "size" in done.stdout
    assert "\nepochs" in done.stdout


def test_the_command_writes_one_table(database: Database, two: Callable[..., object], tmp_path: Path) -> None:
    two(epochs=4)
    run = expdb_in(tmp_path)
    lines = run("diff", "a", "b", "--format", "csv").stdout.splitlines()
    assert lines[0] == "section,name,a,b"
    assert "params,size,64,128" in lines
    assert run("diff", "a", "b", "-o", "out.md").returncode == 0
    assert "| params  | size" in (tmp_path / "out.md").read_text(encoding="utf-8")
    json.loads(run("diff", "a", "b", "--format", "json").stdout)


def test_the_command_says_that_nothing_differs(database: Database, write_log: WriteLog, tmp_path: Path) -> None:
    for name in ("a", "b"):
        take(database, write_log(f"logs/{name}.log"), copy=True)
    done = expdb_in(tmp_path)("diff", "a", "b")
    assert done.stdout == "a and b: nothing that is known differs\n"
    assert done.stderr == "expdb: environment and code are known of neither\n"
    for name in ("a", "b"):
        ran(database, name, command="python train.py", git_commit="a" * 40, git_dirty=False, git_diff="")
    done = expdb_in(tmp_path)("diff", "a", "b")
    assert (done.stdout, done.stderr) == ("a and b: nothing differs\n", "")
    assert expdb_in(tmp_path)("diff", "a", "nobody").returncode == 3
