"""verifiers.code.extract: which text of a response is the program."""

import time

import pytest

from verifiers.code.extract import MAX_CHARACTERS, NoProgram, fenced_blocks, program

ONE = "def f(x):\n    return x\n"
PROMPT = 'import math\n\n\ndef half(x):\n    return x / 2\n\n\ndef f(x):\n    """The same again.\n    >>> f(1)\n    1\n    """\n'


def fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code}{fence}"


@pytest.mark.parametrize(
    "response",
    [
        fenced(ONE),
        fenced(ONE, ""),
        fenced(ONE, "py"),
        fenced(ONE, "Python3"),
        fenced(ONE, "python title=main.py"),
        fenced(ONE, " python"),
        fenced(ONE, "python", "~~~"),
        fenced(ONE, "python", "`````"),
        "Here it is:\n\n" + fenced(ONE) + "\n\nIt returns `x` as it is.",
        fenced(ONE).replace("\n", "\r\n"),
        fenced("def f(x):\n    return None\n") + "\nBetter:\n" + fenced(ONE),
        fenced(ONE) + "\nRun it:\n" + fenced("python main.py\n", "bash"),
        fenced(ONE) + "\nIt prints\n" + fenced("1\n", "text"),
        fenced(ONE) + "\nFor example\n" + fenced(">>> f(1)\n1\n"),
        fenced(ONE) + "\n" + fenced(">>> f(1)\n1\n", ""),
        "1. Write it:\n   ```python\n   def f(x):\n       return x\n   ```\n2. Done.",
        "<think>\n" + fenced("def f(x):\n    return 0\n") + "\n</think>\n" + fenced(ONE),
        "<think>an open fence ```python\n</think>" + fenced(ONE),
        "thinking without its first tag, ```python</think>\n" + fenced(ONE),
        "Inline ```code``` is no block.\n" + fenced(ONE),
    ],
)
def test_the_last_python_block(response: str) -> None:
    assert program(response) == ONE


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ("", "no fenced block"),
        ("def f(x):\n    return x\n", "no fenced block"),
        ("`def f(x): return x`", "no fenced block"),
        ("```python\ndef f(x):\n    return x\n", "not closed"),
        (fenced(ONE) + "\n```python\ndef f(x", "not closed"),
        ("````python\ndef f(x):\n    return x\n```", "not closed"),
        ("```python\ndef f(x):\n    return x\n~~~", "not closed"),
        (fenced("print(1);\n", "javascript"), "no fenced block is a Python program"),
        (fenced(">>> 1 + 1\n2\n"), "no fenced block is a Python program"),
        (fenced(""), "empty"),
        (fenced("\n   \n"), "empty"),
        ("<think>" + fenced(ONE), "thinking"),
        ("<think>a</think>" + "<think>" + fenced(ONE), "thinking"),
        (fenced(ONE) + "</think>", "no fenced block"),
        ("x" * (MAX_CHARACTERS + 1), "characters"),
    ],
)
def test_no_program(response: str, why: str) -> None:
    with pytest.raises(NoProgram, match=why):
        program(response)


def test_a_longer_fence_holds_a_shorter_one() -> None:
    assert fenced_blocks("````md\n```python\nx\n```\n````") == [("md", "```python\nx\n```\n")]


def test_text_without_a_newline_at_the_fence_is_part_of_it() -> None:
    assert program('```python\ns = """\n```text\n"""\n```') == 's = """\n```text\n"""\n'


def result(source: str) -> object:
    names: dict[str, object] = {}
    exec(source, names)
    function = names["f"]
    assert callable(function)
    return function(5)


@pytest.mark.parametrize(
    "response",
    [
        "    return half(x) * 2\n",
        "return half(x) * 2",
        "    y = half(x)\n    return 2 * y\n",
        "y = half(x)\nreturn 2 * y",
        "y = half(x)\n    return 2 * y",
        "\n\n    return half(x) * 2",
        "        return half(x) * 2",
        "if x:\n    return half(x) * 2\nreturn 0",
        "    return half(x) * 2\n\n\ndef unused():\n    pass\n",
        "def f(x):\n    return half(x) * 2\n",
        "def half(x):\n    return x\n\n\ndef f(x):\n    return half(x)\n",
        "f = lambda x: half(x) * 2",
        PROMPT + "    return half(x) * 2\n",
        "```python\n    return half(x) * 2\n```",
        "```python\nreturn half(x) * 2\n```",
        "```python\ndef f(x: int) -> float:\n    return math.floor(x)\n```\nwith `math`.",
        "<think>def f(x): return 0</think>\n    return half(x) * 2\n",
    ],
)
def test_completions_of_a_signature(response: str) -> None:
    assert result(program(response, PROMPT, "f")) == 5


@pytest.mark.parametrize(
    "response",
    [
        "",
        "Sure! The function returns x.",
        "Sure:\n    return x",
        "def g(x):\n    return x\n```",
        "```python\nprint(1\n```",
        "return x)",
        "x" * 50_000 + "(" * 50_000,
        "-" * 90_000 + "1",
        "return " + "(" * 40_000,
        "return " + "+".join("1" * 40_000),
    ],
)
def test_no_completion(response: str) -> None:
    try:
        source = program(response, PROMPT, "f")
    except NoProgram:
        return
    assert len(source) > 50_000, "only the compiler in the jail refuses what is merely too big"


@pytest.mark.parametrize(
    "text", ["```" + "a" * 90_000 + "`", "~" * 99_000, "`" * 99_000 + "x`", "```" + " " * 90_000 + "`", "\n" * 99_000]
)
def test_long_lines_take_no_time(text: str) -> None:
    begin = time.monotonic()
    with pytest.raises(NoProgram):
        program(text, PROMPT, "f")
    assert time.monotonic() - begin < 2


def test_a_broken_definition_is_left_to_the_compiler() -> None:
    assert program("```python\ndef f(x:\n    return x\n```", PROMPT, "f").endswith("def f(x:\n    return x\n")


def test_a_prompt_without_a_docstring() -> None:
    assert result(program("def f(x):\n    return x", "def f(x):\n", "f")) == 5
    assert result(program("return x", "def f(x):\n", "f")) == 5
