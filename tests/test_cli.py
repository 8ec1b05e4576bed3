"""The commands as a person types them: real processes, what they print, and how they end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Expdb, expdb_in

LINE = "epoch {0},\tloss {1:.4f},\ttrain accuracy {2:.3f},\ttest accuracy {3:.3f},\tuse time 19.630\n"
PAGE = """\
---
title: Fusion
---

## Products

| 配置 | accuracy |
| --- | --- |
| `a = b \\| c` | 84.10 |
| `bn(x)*2`<br>`y=1` | 87.62 |
"""


@pytest.fixture
def expdb(tmp_path: Path) -> Expdb:
    """Run the command in a folder of its own."""
    return expdb_in(tmp_path)


def log(path: Path, epochs: int = 5, top: float = 0.8) -> Path:
    """A log whose test accuracy rises to top at the epoch before the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        LINE.format(e, 2 / (e + 1), 0.5 + e / 20, top if e == epochs - 2 else top - 0.1 + e / 1000)
        for e in range(epochs)
    ]
    path.write_text("".join(rows), encoding="utf-8", newline="")
    return path


def test_a_folder_of_logs_becomes_a_table_with_two_commands(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "logs/vgg/train.log", top=0.7)
    log(tmp_path / "logs/resnet/train.log", top=0.8)
    read = expdb("ingest", "logs")
    assert (read.returncode, read.stderr) == (0, "")
    assert read.stdout == "log: 2 files, 2 new runs, 40 points, 0 lines not understood\n"
    table = expdb("compare", "--sort", "best(test/accuracy)")
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert lines[0].split() == [
        *("run", "epochs", "last(train/loss)", "last(train/accuracy)", "last(test/accuracy)"),
        *("best(test/accuracy)", "at", "step"),
    ]
    assert lines[2].split() == ["resnet", "0–4", "0.4000", "0.700", "0.704", "0.800", "3"]
    assert lines[3].split() == ["vgg", "0–4", "0.4000", "0.700", "0.604", "0.700", "3"]
    assert "# last: the value at the greatest step" in lines


def test_a_second_ingest_gives_nothing_new(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    again = expdb("ingest", "a.log")
    assert again.stdout == "known already: 1 file, 0 new runs\n"
    assert expdb("ls", "--format", "csv").stdout.count("\n") == 2


def test_reported_results_print_their_digits_and_render_as_markdown(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "post.md").write_text(PAGE, encoding="utf-8")
    assert expdb("ingest", "post.md").stdout.startswith("page: 1 file, 2 new runs, 2 points")
    shown = expdb("compare", "--columns", "配置, accuracy", "--format", "md").stdout
    assert shown.splitlines()[0].split("|")[1].strip() == "配置"
    assert "84.10" in shown
    assert "| `bn(x)*2`<br>`y=1`" in shown
    # A bar cannot stand in a code span of every renderer.
    assert "a = b &#124; c" in shown


def test_the_output_file_is_written_whole_and_in_the_format_of_its_suffix(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    assert expdb("compare", "-o", "out/table.csv").returncode == 0
    assert (tmp_path / "out/table.csv").read_text(encoding="utf-8").startswith("run,epochs,")
    assert expdb("compare", "-o", "table.json", "--columns", "run, best(test/accuracy) as acc").returncode == 0
    assert json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["rows"] == [{"run": "a", "acc": 0.8}]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.csv"]


def test_a_bad_file_is_named_stops_no_other_and_ends_in_1(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "logs/good.log")
    (tmp_path / "logs/bad.bin").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "logs/empty.log").write_bytes(b"")
    (tmp_path / "logs/plot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "logs/notes.txt").write_text("Nothing of 3 cards here.\n", encoding="utf-8")
    done = expdb("ingest", "logs", "nowhere.log")
    assert done.returncode == 1
    assert "log: 1 file, 1 new run" in done.stdout
    assert "no log: 1 file, 0 runs (logs/notes.txt)" in done.stdout
    assert "passed over: 1 binary file (logs/plot.png: an image)" in done.stdout
    assert "refused: 3 files" in done.stdout
    for name in ("logs/bad.bin: not a text file", "logs/empty.log: empty", "nowhere.log: no such file"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_that_is_named_is_refused(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    done = expdb("ingest", "plot.png")
    assert done.returncode == 1
    assert "plot.png: not a text file: it is an image" in done.stderr


def test_a_line_of_many_megabytes_is_refused_in_words(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "long.log").write_bytes(b"epoch 1, loss 0.5" + b" x" * (4 << 20))
    done = expdb("ingest", "long.log")
    assert done.returncode == 1
    assert "long.log: its first line is longer than 1 MB" in done.stderr


def test_a_dry_run_says_the_same_and_leaves_nothing(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    done = expdb("ingest", "--dry-run", "a.log")
    assert done.stdout == "log: 1 file, would give 1 new run, 20 points, 0 lines not understood\n"
    assert not (tmp_path / "runs").exists()


def test_standard_input_is_a_source(expdb: Expdb) -> None:
    done = expdb("ingest", "-", "-e", "piped", stdin=LINE.format(1, 0.5, 0.7, 0.6))
    assert "1 new run, 4 points" in done.stdout
    assert expdb("ls", "--format", "json").returncode == 0
    assert json.loads(expdb("ls", "--format", "json").stdout)["rows"][0]["run"] == "stdin"


def test_params_and_tags_of_the_command_line_reach_every_run(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    log(tmp_path / "b.log", top=0.7)
    expdb("ingest", "a.log", "-s", "lr=0.1", "-t", "who=me")
    expdb("ingest", "b.log", "-s", "lr=0.01")
    assert "a" in expdb("compare", "-w", "lr = 0.10 and tags.who = 'me'", "--columns", "run", "--format", "csv").stdout
    assert expdb("compare", "-w", "lr < 0.05", "--columns", "run, lr", "--format", "csv").stdout == "run,lr\nb,0.01\n"
    wrong = expdb("ingest", "a.log", "-s", "lr")
    assert wrong.returncode == 2
    assert "-s 'lr': a key, `=` and a value are needed" in wrong.stderr


def test_blame_prints_file_line_and_text(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    done = expdb("blame", "a", "test/accuracy", "3")
    assert (
        done.stdout == "a.log:4: epoch 3,\tloss 0.5000,\ttrain accuracy 0.650,\ttest accuracy 0.800,\tuse time 19.630\n"
    )
    assert expdb("blame", "@1", "test accuracy").stdout.count("\n") == 5
    assert expdb("blame", "a", "test/accuracy", "77").returncode == 3
    missing = expdb("blame", "a", "f1")
    assert missing.returncode == 3
    assert "its metrics: train/loss, train/accuracy" in missing.stderr


def test_show_tells_origin_and_draws_each_metric(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log", "-s", "lr=0.1")
    shown = expdb("show", "a").stdout
    assert "source     a.log:1–5" in shown
    assert "param      lr = 0.1" in shown
    assert "█" in shown
    assert "epoch 0–4" in shown


def test_edit_corrects_keeps_a_journal_and_refuses_curves(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "post.md").write_text(PAGE, encoding="utf-8")
    expdb("ingest", "post.md")
    done = expdb("edit", "Products row 1", "--metric", "accuracy=84.20", "--name", "first", "--note", "typo")
    assert done.returncode == 0, done.stderr
    assert "84.10 → 84.20" in done.stdout
    assert "84.20" in expdb("compare").stdout
    assert "edited" in expdb("show", "first").stdout
    assert expdb("edit", "first").returncode == 2
    assert expdb("db", "check").returncode == 0


def test_removed_runs_are_hidden_and_come_back(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    assert expdb("rm", "a").returncode == 0
    assert expdb("show", "a").returncode == 3
    assert "expdb restore" in expdb("show", "a").stderr
    assert expdb("restore").stdout.split()[1] == "a"
    assert expdb("restore", "a").returncode == 0
    assert expdb("show", "a").returncode == 0
    assert "with 20 points for good" in expdb("rm", "--purge", "a").stdout
    assert "1 new run" in expdb("ingest", "a.log").stdout


def test_sql_reads_and_nothing_else(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    query = "SELECT metric, count(*) AS n FROM curve GROUP BY metric ORDER BY metric"
    assert expdb("sql", query, "--format", "csv").stdout.splitlines()[:2] == ["metric,n", "epoch_time,5"]
    for statement in ("DELETE FROM run", "DROP TABLE run", "ATTACH 'other.db' AS o", "PRAGMA query_only = OFF"):
        refused = expdb("sql", statement)
        assert refused.returncode == 2, statement
        assert "only reading is allowed" in refused.stderr
    assert not (tmp_path / "other.db").exists()
    assert expdb("sql", "SELEC 1").returncode == 2
    assert expdb("sql", "SELECT 1; SELECT 2").returncode == 2


def test_what_is_not_there_ends_in_3_and_says_what_is(expdb: Expdb, tmp_path: Path) -> None:
    assert expdb("ls").returncode == 3
    assert "expdb ingest PATH" in expdb("ls").stderr
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    assert expdb("show", "nobody").returncode == 3
    assert "experiments: " in expdb("compare", "-e", "none").stderr
    unknown = expdb("compare", "--columns", "best(test/acuracy)")
    assert unknown.returncode == 3
    assert "did you mean test/accuracy" in unknown.stderr


def test_an_ambiguous_name_prints_the_candidates(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "x/a.log")
    log(tmp_path / "y/a.log", top=0.7)
    expdb("ingest", "x/a.log")
    expdb("ingest", "y/a.log")
    done = expdb("show", "a")
    assert done.returncode == 3
    assert done.stderr.count(" / a\n") == 2


def test_a_wrong_expression_says_where(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    done = expdb("compare", "-w", "lr == ")
    assert done.returncode == 2
    assert "at character 7" in done.stderr
    direction = expdb("compare", "--columns", "best(lr)")
    assert direction.returncode == 3
    always = expdb("compare", "-w", "run = 'a' or 0.2")
    assert always.returncode == 2


def test_best_asks_which_way_is_better_for_an_unknown_metric(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("epoch 1, loss 0.5, wobble 3\nepoch 2, loss 0.4, wobble 5\n", encoding="utf-8")
    expdb("ingest", "a.log")
    done = expdb("compare", "--columns", "best(wobble)")
    assert done.returncode == 2
    assert "say max(wobble) or min(wobble)" in done.stderr
    assert "5" in expdb("compare", "--columns", "max(wobble)").stdout


def test_a_hostile_name_is_shown_not_obeyed(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "x.log")
    expdb("ingest", "x.log")
    name = "[red]\x1b[31m<b>|`'\n动"
    assert expdb("edit", "x", "--name", name).returncode == 0
    for words in (("ls",), ("compare",), ("show", "@1"), ("compare", "--format", "md")):
        out = expdb(*words).stdout
        assert "\x1b" not in out
        assert "[red]" in out or r"\[red\]" in out
    assert json.loads(expdb("compare", "--format", "json").stdout)["rows"][0]["run"] == name


def test_a_seed_given_as_a_param_is_the_run_s_seed(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("epoch 1, loss 0.5\n")
    expdb = expdb_in(tmp_path)
    expdb("ingest", "a.log", "-s", "seed=3")
    assert "3" in expdb("compare", "--columns", "seed", "--format", "csv").stdout.split()


def test_parse_needs_no_database_and_its_json_is_complete(expdb: Expdb, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("hello there\nepoch 1, loss nan\nepoch 2, loss 0.25\n", encoding="utf-8")
    found = json.loads(expdb("parse", "a.log", "--json").stdout)
    assert (found["file"], found["format"], found["lines"], found["unparsed"]) == ("a.log", "log", 3, 1)
    (run,) = found["runs"]
    assert (run["name"], run["line_first"], run["line_last"], run["params"]) == ("a", 2, 3, {})
    (metric,) = run["metrics"]
    assert metric["name"] == "train/loss"
    assert metric["label"] == "loss"
    assert metric["unit"] is None
    assert metric["step_unit"] == "epoch"
    assert (metric["steps"], metric["lines"], metric["values"]) == ([1, 2], [2, 3], ["nan", 0.25])
    assert "line 1: hello there" in expdb("parse", "a.log").stdout
    (tmp_path / "prose.md").write_text("# Title\n\nJust text.\n", encoding="utf-8")
    assert json.loads(expdb("parse", "prose.md", "--json").stdout)["runs"] == []
    assert "0 runs" in expdb("parse", "prose.md").stdout
    assert expdb("parse", "none.log").returncode == 1
    assert expdb("parse", "a.log", "--as", "nonsense").returncode == 2


def test_the_database_is_found_upward_and_named_by_flag_or_environment(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    (tmp_path / "deep/er").mkdir(parents=True)
    here = subprocess.run(
        [sys.executable, "-m", "expdb", "db", "info"],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path / "deep/er",
        env={key: value for key, value in os.environ.items() if key != "EXPDB_DB"},
    )
    assert str(tmp_path / "runs/expdb.db") in here.stdout
    assert expdb("ls", env={"EXPDB_DB": "other.db"}).returncode == 3
    assert expdb("ingest", "a.log", "--db", "other.db").returncode == 0
    assert expdb("ls", env={"EXPDB_DB": "other.db"}).returncode == 0
    assert expdb("ls", "--db", "mysql://host/db").returncode == 2


def test_check_and_backup_work_on_a_real_database(expdb: Expdb, tmp_path: Path) -> None:
    source = log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    assert expdb("db", "check").stdout == "1 run checked: sound\n"
    assert expdb("db", "backup", "copy.db").returncode == 0
    assert expdb("db", "backup", "copy.db").returncode == 2
    assert expdb("ls", "--db", "copy.db").stdout == expdb("ls").stdout
    source.write_text(source.read_text(encoding="utf-8").replace("0.700", "0.900"), encoding="utf-8")
    changed = expdb("db", "check")
    assert changed.returncode == 1
    assert "a.log: changed since it was ingested" in changed.stdout


def test_a_reader_that_goes_away_is_no_error(expdb: Expdb, tmp_path: Path) -> None:
    for n in range(300):
        log(tmp_path / f"logs/run{n}.log", epochs=2)
    expdb("ingest", "logs")
    command = f"{sys.executable} -m expdb ls | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, encoding="utf-8", cwd=tmp_path
    )
    assert done.stderr == ""


def test_debug_shows_the_traceback_and_version_the_version(expdb: Expdb) -> None:
    assert "Traceback" in expdb("ls", env={"EXPDB_DEBUG": "1"}).stderr
    assert expdb("--version").stdout.startswith("expdb ")


@pytest.mark.parametrize("words", [("nonsense",), ("ingest",), ("compare", "--top", "0"), ("ls", "--format", "xml")])
def test_wrong_words_end_in_2(expdb: Expdb, tmp_path: Path, words: tuple[str, ...]) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    done = expdb(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_what_is_no_plain_file_is_written_to_and_not_replaced(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    (tmp_path / "target.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("target.csv")
    assert expdb("ls", "-o", "link.csv").returncode == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "target.csv").read_text().startswith("uid,")
    assert expdb("ls", "-o", "/dev/null", "--format", "csv").returncode == 0
    assert Path("/dev/null").is_char_device()
    for wrong in (".", "x.pdf"):
        assert expdb("ls", "-o", wrong).returncode == 2


def test_closed_streams_and_a_lost_folder_are_no_traceback(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log")
    expdb("ingest", "a.log")
    for words in ("ls >&-", "ingest - <&-", "ls >/dev/full", "ls --db ."):
        command = f"{sys.executable} -m expdb {words}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", cwd=tmp_path)
        assert "Traceback" not in done.stderr, (words, done.stderr)


def test_a_dry_run_names_the_file_that_another_is_the_same_as(expdb: Expdb, tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.log"):
        log(tmp_path / name, epochs=3)
    said = expdb("ingest", "--dry-run", "a.log", "b.log", "c.log").stdout
    assert "log: 1 file, would give 1 new run" in said
    assert "the same bytes: 2 files, 0 new runs (b.log as a.log, c.log as a.log)\n" in said
    assert "known already" not in said


def test_ls_says_what_a_runs_steps_count(expdb: Expdb, tmp_path: Path) -> None:
    log(tmp_path / "a.log", epochs=3)
    (tmp_path / "b.log").write_text("iter 100 loss 0.5\niter 200 loss 0.4\n", "utf-8")
    (tmp_path / "c.md").write_text("| model | accuracy |\n| - | - |\n| a | 0.5 |\n", "utf-8")
    expdb("ingest", "a.log", "b.log", "c.md")
    rows = json.loads(expdb("ls", "--format", "json").stdout)["rows"]
    assert [row["steps"] for row in rows] == ["epoch 0–2", "iteration 100–200", None]


def test_of_many_files_that_are_no_logs_a_few_are_named(expdb: Expdb, tmp_path: Path) -> None:
    for n in range(6):
        (tmp_path / f"{n}.txt").write_text(f"hello {n}\n", "utf-8")
    said = expdb("ingest", *(f"{n}.txt" for n in range(6))).stdout
    assert "no log: 6 files, 0 runs (0.txt, 1.txt, 2.txt, and 3 more)" in said


def test_times_compare_in_seconds_and_words_are_not_more_than_numbers(expdb: Expdb, tmp_path: Path) -> None:
    for name, time in (("a", "1.5 min"), ("b", "95 s"), ("c", "80000 ms")):
        (tmp_path / f"{name}.log").write_text(f"epoch 1, loss 0.5, use time {time}\n", encoding="utf-8")
    expdb("ingest", *(f"{name}.log" for name in "abc"))
    found = expdb("compare", "-w", "last(epoch_time) < 92", "--columns", "run", "--format", "csv").stdout
    assert found == "run\na\nc\n"
    expdb("edit", "a", "-s", "lr=auto")
    expdb("edit", "b", "-s", "lr=0.1")
    assert expdb("compare", "-w", "lr > 0.05", "--columns", "run", "--format", "csv").stdout == "run\nb\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("ingest", "a.log", "-s", "lr=1", "-s", "lr=2"), "expdb run -s lr=1,2"),
        (("ingest", "a.log", "-t", "by=me", "-t", "by =you"), "give it once"),
        (("edit", "@1", "--unit", "acc=percent", "--unit", "acc=fraction"), "give it once"),
        (("edit", "@1", "--metric", "acc=1", "--metric", "acc=2"), "give it once"),
        (("run", "-s", "lr=1", "-s", "lr=2", "--", "true"), "expdb run -s lr=1,2"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(expdb: Expdb, tmp_path: Path, words: tuple[str, ...], hint: str) -> None:
    log(tmp_path / "a.log")
    done = expdb(*words)
    assert done.returncode == 2
    assert "is given twice" in done.stderr
    assert hint in done.stderr
    assert not (tmp_path / "runs").exists()


def test_without_a_database_both_ways_to_one_are_told(expdb: Expdb) -> None:
    done = expdb("ls")
    assert done.returncode == 3
    assert done.stderr.endswith("  expdb ingest PATH... or expdb run -- COMMAND makes one\n")


def test_a_param_called_as_a_column_of_ours_has_a_title_of_its_own(expdb: Expdb, tmp_path: Path) -> None:
    for name, epochs in (("a", "10"), ("b", "20")):
        log(tmp_path / f"{name}.log", top=int(epochs) / 30)
        expdb("ingest", f"{name}.log", "-s", f"epochs={epochs}", "-s", f"run={name}", "-s", f"experiment={name}")
    table = expdb("compare", "--format", "csv").stdout.splitlines()
    titles = table[0].split(",")
    assert titles[:5] == ["run", "params.epochs", "params.run", "params.experiment", "epochs"]
    assert table[1].split(",")[:5] == ["a", "10", "a", "a", "0–4"]


INTERRUPTED = """
import sys
from expdb import cli
def command(): raise KeyboardInterrupt
sys.argv = ["expdb", *sys.argv[1:]]
cli.app = lambda standalone_mode: command()
cli.main()
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ingest", "interrupted; what was stored stays stored, the same command goes on from there\n"),
        ("compare", "interrupted\n"),
        ("run", ""),
        ("attach", ""),
        ("stop", ""),
    ],
)
def test_ctrl_c_says_no_more_than_is_true(command: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, command], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (130, said)
