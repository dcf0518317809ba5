"""The program in a response: the last fenced Python block, or a completion of the prompt's signature."""

import ast
import re
import textwrap

MAX_CHARACTERS = 100_000
_LANGUAGES = ("", "python", "python3", "py")
_FENCE = re.compile(r"\s*+(`{3,}+|~{3,}+)[ \t]*+([^\s`{]*+)([^`]*+)$")


class NoProgram(ValueError):
    """The response holds no program; the message says why."""


def program(response: str, prompt: str = "", function: str = "") -> str:
    """The program to run. Raises NoProgram.

    With a prompt (code that ends with a signature) the block, or a response without fences, may be the function's body only. What
    the prompt defines stays defined.
    """
    if len(response) > MAX_CHARACTERS:
        raise NoProgram(f"{len(response)} characters; at most {MAX_CHARACTERS}")
    answer = _after_thinking(response)
    blocks = fenced_blocks(answer)
    if blocks:
        usable = [code for language, code in blocks if language in _LANGUAGES and not _transcript(code)]
        if not usable:
            raise NoProgram("no fenced block is a Python program")
        code = usable[-1]
    elif prompt:
        code = answer
    else:
        raise NoProgram("no fenced block")
    if not code.strip():
        raise NoProgram("the program is empty")
    return _completed(prompt, code, function) if prompt else code


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Language (lower case) and content of each fenced block. Raises NoProgram when one is not closed."""
    blocks, fence, language, lines = [], "", "", list[str]()
    for line in text.replace("\r\n", "\n").split("\n"):
        match = _FENCE.match(line)
        if not fence and match:
            fence, language, lines = match[1], match[2].lower(), []
        elif fence and match and match[1].startswith(fence) and not (match[2] or match[3].strip()):
            blocks.append((language, textwrap.dedent("\n".join(lines)) + "\n"))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        raise NoProgram("the last fenced block is not closed")
    return blocks


def _after_thinking(response: str) -> str:
    _, end, tail = response.rpartition("</think>")
    if "<think>" in tail:
        raise NoProgram("the thinking does not end")
    return tail if end else response


def _transcript(code: str) -> bool:
    return code.lstrip().startswith(">>>")


def _completed(prompt: str, code: str, function: str) -> str:
    """The prompt with the code as a whole program after it, or as the body that it lacks."""
    if re.search(rf"^(?:async\s+)?def\s+{function}\b|^{function}\s*=", code, re.MULTILINE):
        return f"{opened(prompt)}\n{code}"
    head = prompt.rstrip() + "\n"
    indent = (re.findall(r"^([ \t]+)\S", prompt, re.MULTILINE) or ["    "])[-1]
    for body in (code, textwrap.indent(textwrap.dedent(code), indent), indent + code.lstrip()):
        if _last_line(head + body, function) > head.count("\n"):
            return head + body
    raise NoProgram(f"neither a definition of {function} nor a body for it")


def opened(prompt: str) -> str:
    """A prompt that ends with a signature, as code that runs by itself."""
    return prompt if _parsed(prompt) else f"{prompt.rstrip()}\n    pass\n"


def _last_line(code: str, function: str) -> int:
    """Where the last top-level function of this name ends; 0 when there is none, or no syntax."""
    tree = _parsed(code)
    ends = [each.end_lineno for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == function] if tree else []
    return (ends or [0])[-1] or 0


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
