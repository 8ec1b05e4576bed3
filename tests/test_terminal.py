"""Terminal captures: what is left of them is what a person saw, line by line."""

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from expdb.parsers.logs.terminal import settle

CAPTURES = st.text(
    st.sampled_from("\x1b\x1b[]()0123;?=mKAGDH\\PX_^\b\b\b\r\r\n\n\a\0\x7f\x9b\x85 \tabcé轮"), max_size=60
) | st.lists(
    st.sampled_from(
        ["\x1b[32m", "\x1b[0m", "\x1b[K", "\x1b[2K", "\x1b[1G", "\x1b[A", "\x1b]0;t\a", "\x1b(B", "\b", "\b\b\b", "\r"]
    )
    | st.sampled_from(["\n", "\r\n", "\r\r\n", "\0", "loss: 0.5", "acc", " ", "轮"]),
    max_size=20,
).map("".join)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[32m[2021-01-01] \x1b[33m(main)\x1b[0m: INFO\n", "[2021-01-01] (main): INFO\n"),
        ("\x1b[38;5;196mred\x1b[m \x1b[1;31mloss\x1b[22;39m 0.5", "red loss 0.5"),
        ("\x1b]0;me@box: ~/work\a(env) me@box:~$ ls\n", "(env) me@box:~$ ls\n"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\ end", "link end"),
        ("\x1b(Bloss\x1b)0 1\x1b[?25l\x1b[?2004h", "loss 1"),
        ("\x1b7\x1b[1;1H\x1b8a\x1bMb\x1b=", "ab"),
        ("a\x1b", "a"),
        ("a\x1b[3\nb\x1b[", "a\nb"),
        ("\x1b]0;a title without an end\nloss 1", "0;a title without an end\nloss 1".replace("0;", "]0;", 1)),
        ("loss 1\0\0\0\n\0\0epoch\a 2\x7f\n", "loss 1\nepoch 2\n"),
        ("a\tb\vc\fd\x1fe", "a\tbcde"),
        ("训练\x85轮\x9b", "训练轮"),
        ("a\r\nb\r\r\nc\r", "a\nb\nc"),
        ("a\r\x1b[K\nb\x1b[0m\r\0\n", "a\nb\n"),
        ("progress\n\x1b[A\x1b[Adone\n", "progress\ndone\n"),
    ],
)
def test_terminal_control_leaves_no_trace(text: str, seen: str) -> None:
    assert settle(text) == (seen, None)


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("pytno\b\x1b[K\bhon main.py", "python main.py"),
        ("pytno\b \b\b \bhon main.py", "python main.py"),
        ("pytno\b\bhon main.py", "python main.py"),
        ("N\bNA\bAM\bME\bE", "NAME"),
        ("\b\bloss 1\b2", "loss 2"),
        ("loss 0.13\x1b[1D\b25", "loss 0.25"),
        ("loss 0.1\x1b[31m3\b5\x1b[0m", "loss 0.15"),
        ("a\nbc\bd\n\b\n", "a\nbd\n\n"),
    ],
)
def test_what_was_typed_over_is_gone(typed: str, seen: str) -> None:
    assert settle(typed) == (seen, None)


def test_a_counter_written_into_the_middle_of_a_bar_leaves_the_rest_of_the_line() -> None:
    line = " [====>....] Step: 12ms | Loss: 1.25 | Acc: 40.5%"
    bar = f"{line}{chr(8) * 42} 7/98 "
    assert settle(f"{bar}\r{bar}\r\n") == (" [====> 7/98 Step: 12ms | Loss: 1.25 | Acc: 40.5%\n", None)


def test_a_bar_that_backspaces_to_the_start_of_the_line_keeps_its_states() -> None:
    states = ["1/3 [=>..] - loss: 0.5", "2/3 [==>.] - loss: 0.4", "3/3 [====] - loss: 0.3"]
    for mark in ("\b" * len(states[0]), "\b" * 90 + "\r", "\r", "\x1b[1G", "\x1b[2K\r", "\r\x1b[K"):
        text = f"Epoch 1/9\n{mark.join(states)}\nEpoch 2/9\n"
        assert settle(text) == ("\n".join(["Epoch 1/9", *states, "Epoch 2/9", ""]), [0, 1, 1, 1, 2, 3])


def test_states_of_a_line_know_the_line_they_stood_in() -> None:
    text = "start\r\n\r  0%\r\r  0%\r 50%\r   \r100%\r\nend\r\n"
    assert settle(text) == ("start\n  0%\n 50%\n100%\nend\n", [0, 1, 1, 1, 2, 3])
    assert settle("a\n\rb\n \r \nc") == ("a\nb\n\nc", None)


def test_text_without_control_is_the_same_object() -> None:
    for text in ("", "epoch 1\tloss 0.5\n", "第 1 轮, 损失 0.5\n"):
        assert settle(text)[0] is text


@given(CAPTURES)
@example("\x1b\x1b[[31m31m")
@example("a\rb\r\0\n\b")
@example("\x1b]\x1b]\x1b]a\a")
@example("\x1b[1G\b\x1b[1\bG")
def test_whatever_a_terminal_was_sent_becomes_plain_lines(text: str) -> None:
    settled, origins = settle(text)
    assert not [c for c in settled if unicodedata.category(c) == "Cc" and c not in "\t\n"]
    assert settle(settled) == (settled, None)
    assert settle(settled)[0] is settled
    pieces = settled.split("\n")
    numbers = list(range(len(pieces))) if origins is None else list(origins)
    assert len(numbers) == len(pieces)
    assert numbers == sorted(numbers)
    # Every line is still there, so that line numbers hold.
    assert sorted(set(numbers)) == list(range(text.count("\n") + 1))


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    settle(text)


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1), min_size=1))
def test_returns_split_and_nothing_else_changes(states: list[str]) -> None:
    kept: list[str] = []
    for state in states:
        if not state.isspace() and kept[-1:] != [state]:
            kept.append(state)
    assert settle("\r".join(states) + "\r\n")[0] == "\n".join(kept or [""]) + "\n"


@pytest.mark.parametrize(
    "piece", ["\x1b]0;", "\x1b[", "a\b", "\b", "\r", "a\b\b\bcd", "\x1b]a\x1b", "\r\0", "ab\x1b[K\b"]
)
def test_settling_takes_time_in_proportion_to_the_text(piece: str) -> None:
    text = piece * (400_000 // len(piece))
    start = time.process_time()
    settle(text)
    assert time.process_time() - start < 2
