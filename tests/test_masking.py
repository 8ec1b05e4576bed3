"""Tokens and passwords are hidden wherever they may stand; what only looks like them is left alone."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expdb.masking import HIDDEN, is_secret, mask, mask_command, mask_value

HEX = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("+api_key = 'a b'", "+api_key = '***'"),
        ('api_key: str = "a\\"b" # c', 'api_key: str = "***" # c'),
        ('{"api_key": "xyz", "lr": 1}', '{"api_key": "***", "lr": 1}'),
        ('os.environ["HF_TOKEN"] = "q"', 'os.environ["HF_TOKEN"] = "***"'),
        ("password: hunter2", "password: ***"),
        ("DB_PASSWORD=x;y", "DB_PASSWORD=***;y"),
        ("login(token=abc)", "login(token=***)"),
        ("AWS_SECRET_ACCESS_KEY=ab/c+d", "AWS_SECRET_ACCESS_KEY=***"),
        (f"export WANDB_API_KEY={HEX}", "export WANDB_API_KEY=***"),
        (f"wandb login --relogin {HEX}", "wandb login --relogin ***"),
        ("python t.py --token abc --lr 0.1", "python t.py --token *** --lr 0.1"),
        ("python t.py --hub-token=abc", "python t.py --hub-token=***"),
        ("t = 'hf_" + "a" * 34 + "'", "t = '***'"),
        ("sk-proj-" + "aB3" * 10, "***"),
        ("ghp_" + "a1" * 18, "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("postgresql://me:pw@host/db", "postgresql://me:***@host/db"),
        ("https://" + "a1" * 12 + "@host/x.git", "https://***@host/x.git"),
        ("https://host/x?sig=abc&y=1", "https://host/x?sig=***&y=1"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***"),
        (
            "+-----BEGIN RSA PRIVATE KEY-----\n+" + "A" * 64 + "\n+" + "B" * 64 + "\n+-----END RSA PRIVATE KEY-----",
            "+-----BEGIN RSA PRIVATE KEY-----***\n+-----END RSA PRIVATE KEY-----",
        ),
    ],
)
def test_a_secret_is_hidden_and_what_stands_around_it_stays(text: str, hidden: str) -> None:
    assert mask(text) == hidden
    assert mask(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        f"commit {HEX}",
        "max_tokens=512, pad_token='<pad>', eos_token: '</s>'",
        "token = tokenizer.next()",
        "self.token = token",
        "token_type_ids = batch['x']",
        "the token is good, a password was not asked for",
        "password = args.password",
        "api_key=os.getenv('API_KEY')",
        "api_key: str | None = None",
        "password=${PASSWORD}",
        "ssh://git@github.com/a/b",
        "key=abc",
        "lr = 0.1",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


def test_the_words_of_a_command_keep_their_number_and_order() -> None:
    words = ["env", "API_KEY=3", "python", "t.py", "--token", "x y", "--password=p", "hub.token=z", "--lr", "0.1"]
    wanted = ["env", "API_KEY=***", "python", "t.py", "--token", HIDDEN, "--password=***", "hub.token=***"]
    assert mask_command(words) == [*wanted, "--lr", "0.1"]
    assert mask_command(["t.py", "--token", "--lr", "1"]) == ["t.py", "--token", "--lr", "1"]
    assert mask_command(["t.py", "--use_auth_token", "True"]) == ["t.py", "--use_auth_token", "True"]
    assert mask_command(["sh", "-c", "TOKEN=abc python t.py"]) == ["sh", "-c", "TOKEN=*** python t.py"]
    assert mask_command(["wandb", "login", HEX]) == ["wandb", "login", HIDDEN]


def test_the_name_of_a_setting_says_whether_it_is_secret() -> None:
    for name in ("token", "hub.token", "HF_TOKEN", "api-key", "aws_secret_access_key", "PASSWORD", "hubToken"):
        assert is_secret(name)
        assert mask_value(name, "x") == HIDDEN
    for name in ("max_tokens", "pad_token", "tokenizer", "key", "passes", "secrets_of_success", "monkey"):
        assert not is_secret(name)
    assert mask_value("lr", "0.1") == "0.1"


@given(st.lists(st.sampled_from(["token", "api_key", " ", "=", ":", "'", '"', "a1", "--", "\n", "***", "://", "@"])))
def test_masking_twice_is_masking_once(pieces: list[str]) -> None:
    once = mask("".join(pieces))
    assert mask(once) == once


@pytest.mark.parametrize(
    "piece", ["a", "token ", "api_key: a|", "https://", "wandb ", "eyJa", "password = ", "--", "'"]
)
def test_a_diff_of_a_megabyte_takes_no_time(piece: str) -> None:
    began = time.process_time()
    mask("-----BEGIN PRIVATE KEY-----" + piece * (1_000_000 // len(piece)))
    assert time.process_time() - began < 5
