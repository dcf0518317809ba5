"""E-mail addresses and secrets become placeholders. Rows stay, with a note `scrubbed: 2 e-mail, 1 token`."""

import re
from collections import Counter
from typing import NamedTuple

import pyarrow as pa

from tower_rl.data.corpus.cleaning.table import map_texts, note, records


class _Kind(NamedTuple):
    """One kind of secret."""

    name: str
    signs: tuple[str, ...]
    """One of them is in every text that has such a secret: looking for it is cheaper than matching."""
    pattern: re.Pattern[str]
    placeholder: str


_TOKENS = (
    r"(?:A3T[A-Z0-9]|AKIA|ASIA)[A-Z0-9]{16}"  # AWS access key
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,255}"  # GitHub, GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}"  # Slack
    r"|sk-(?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{20,255}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,255}"  # OpenAI's kind; Stripe
    r"|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{34}"  # Google, Hugging Face
)
_VALUE = r"(?![<{%$\[*])[^\s&#\"'<>{}@/]{1,255}"
"""Of a password; what begins like a placeholder is none."""

KINDS = (
    _Kind(
        "private key",
        ("PRIVATE KEY",),
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[^-]{1,20000}-----END [A-Z0-9 ]{1,60}-----"
            r"|[A-Za-z0-9+/=\s\\]{40,})"
        ),
        "<PRIVATE_KEY>",
    ),
    _Kind("JWT", ("eyJ",), re.compile(r"\beyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{8,4000}"), "<TOKEN>"),
    _Kind(
        "token",
        ("AKIA", "ASIA", "A3T", "gh", "glpat-", "xox", "sk-", "k_live_", "k_test_", "AIza", "hf_"),
        re.compile(rf"(?<![A-Za-z0-9_-])(?:{_TOKENS})(?![A-Za-z0-9])"),
        "<TOKEN>",
    ),
    _Kind(
        "AWS secret",
        ("secret", "SECRET", "Secret"),
        re.compile(r"((?i:aws_?secret_?(?:access_?)?key)[\"']?\s{0,3}[=:]\s{0,3}[\"']?)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"),
        r"\1<TOKEN>",
    ),
    _Kind(
        "password", ("://",), re.compile(rf"(\b[a-z][a-z0-9+.-]{{1,20}}://[^\s:/@<>]{{1,100}}:){_VALUE}(?=@)"), r"\1<PASSWORD>"
    ),
    _Kind(
        "password",
        ("=",),
        re.compile(rf"([?&;](?i:password|passwd|pwd|token|access_token|api_?key|client_secret|secret)=){_VALUE}"),
        r"\1<PASSWORD>",
    ),
    _Kind(
        "e-mail",
        ("@",),
        # Not after the end of a placeholder, as in %(name)s@example.com; neither icon@2x.png nor package@1.2.0-beta.rc.
        re.compile(
            r"(?<![A-Za-z0-9_.+%)}$-])(?!git@)[A-Za-z0-9_.+-]{1,64}@(?![0-9]{1,9}(?:\.[0-9]|x\.))"
            r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
        ),
        "<EMAIL>",
    ),
)


def scrub(table: pa.Table) -> pa.Table:
    """The table with secrets replaced in all texts of the rows in use, counted in the rows' notes."""
    counts = [sum((scrubbed(text)[1] for text in record.texts), Counter()) if record else Counter() for record in records(table)]
    if not any(counts):
        return table
    notes = ["scrubbed: " + ", ".join(f"{n} {name}" for name, n in count.items()) if count else "" for count in counts]
    return note(map_texts(table, lambda text: scrubbed(text)[0]), notes)


def scrubbed(text: str) -> tuple[str, Counter[str]]:
    """The text with placeholders for its secrets, and how many of each kind it had. Idempotent: placeholders are no secrets."""
    found: Counter[str] = Counter()
    for kind in KINDS:
        if any(sign in text for sign in kind.signs):
            text, count = kind.pattern.subn(kind.placeholder, text)
            found[kind.name] += count
    return text, +found
