"""How well `code` judges HumanEval: `python benchmarks/humaneval.py PATH [MUTANTS_PER_PROBLEM]`, PATH being HumanEval.jsonl.gz.

Every canonical solution has to pass. Mutants of them (one changed operator, constant, ... each) are judged twice: by the
verifier, and by the plain asserts in a process. Where the two differ, the mutant is printed.
"""

import ast
import copy
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verifiers import Task, Verdict
from verifiers.calls import verify
from verifiers.code import Code, CodeOptions, datasets
from verifiers.code.datasets import Row

SECONDS = 4.0
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.FloorDiv,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def constants(value: Any) -> list[Any]:
    """What a constant may become."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, 2 * value, 0]
    if isinstance(value, str) and len(value) < 20:
        return [value + "x", ""]
    return []


def edits(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Single changes of a node: a field and its new value."""
    for field, value in ast.iter_fields(node):
        if type(value) in SWAPS:
            yield field, SWAPS[type(value)]()
        if isinstance(value, list) and len(value) == 1 and type(value[0]) in SWAPS:
            yield field, [SWAPS[type(value[0])]()]
    if isinstance(node, ast.Constant):
        yield from (("value", new) for new in constants(node.value) if new != node.value)
    if isinstance(node, ast.Return) and node.value is not None:
        yield "value", ast.Constant(None)
        yield "value", ast.List([node.value], ast.Load())
        yield "value", ast.Tuple([node.value], ast.Load())
        yield "value", ast.UnaryOp(ast.Not(), node.value)
        yield "value", ast.BinOp(node.value, ast.Mult(), ast.Constant(2))
        yield "value", ast.BinOp(node.value, ast.Add(), ast.Constant(1))
        yield from (
            ("value", ast.Call(ast.Name(name, ast.Load()), [node.value], [])) for name in ("str", "float", "list", "sorted")
        )
    if isinstance(body := getattr(node, "body", None), list):
        yield from (("body", [*body[:i], ast.Pass(), *body[i + 1 :]]) for i in range(len(body)))
    if isinstance(node, ast.If | ast.While):
        yield "test", ast.UnaryOp(ast.Not(), node.test)


def mutants(source: str, function: str, count: int, rng: random.Random) -> list[str]:
    """So many different programs with one change in the function. Raises ValueError when there are fewer."""
    tree = ast.parse(source)
    target = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == function][-1]
    places = [(number, field, new) for number, node in enumerate(ast.walk(target)) for field, new in edits(node)]
    found = {mutated(tree, function, *place): None for place in rng.sample(places, len(places))}
    changed = [each for each in found if _code(each) != _code(source)]
    if len(changed) < count:
        raise ValueError(f"only {len(changed)} mutants of {function}")
    return changed[:count]


def _code(source: str) -> str:
    """Without docstrings, whose change is none."""
    tree = ast.parse(source)
    for each in tree.body:
        if isinstance(each, ast.FunctionDef) and ast.get_docstring(each) is not None:
            each.body[0] = ast.Pass()
    return ast.unparse(tree)


def mutated(tree: ast.Module, function: str, number: int, field: str, new: Any) -> str:
    """The program with the change at the node of this number in the function."""
    tree = copy.deepcopy(tree)
    target = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == function][-1]
    setattr(list(ast.walk(target))[number], field, new)
    return ast.unparse(ast.fix_missing_locations(tree))


def plainly(source: str, meta: dict[str, Any]) -> bool:
    """Whether the plain asserts pass, in a process. These programs are trusted."""
    whole = f"{source}\n{meta['tests']}\nimport random\nrandom.seed(0)\ncheck({meta['function']})\n"
    try:
        run = subprocess.run([sys.executable, "-c", whole], capture_output=True, timeout=SECONDS, env={})
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def judged(code: Code, meta: dict[str, Any], source: str) -> Verdict:
    """The verifier's verdict on a program in a fence."""
    (verdict,) = verify(code, [Task("", f"```python\n{source}\n```", meta=meta)])
    return verdict


def compare(code: Code, row: Row, solution: str, count: int) -> list[tuple[bool, Verdict]]:
    """For each mutant: whether the plain asserts pass, and the verdict."""
    name, prompt, meta = row
    pairs = []
    for source in mutants(prompt + solution, meta["function"], count, random.Random(name)):
        plain, verdict = plainly(source, meta), judged(code, meta, source)
        pairs.append((plain, verdict))
        if plain != verdict.passed:
            print(f"--- {name}: asserts pass {plain}, verdict {verdict.passed} ({verdict.reason})\n{source[len(prompt) :]}")
    return pairs


def main(path: Path, count: int) -> None:
    """Print the counts."""
    code, begin = Code(CodeOptions(test_seconds=SECONDS / 2, seconds=SECONDS)), time.monotonic()
    rows = list(datasets.humaneval(path))
    solutions = [row["canonical_solution"] for row in datasets.read(path)]
    verdicts = [judged(code, row[2], solution) for row, solution in zip(rows, solutions, strict=True)]
    passed = sum(bool(verdict.passed) for verdict in verdicts)
    print(f"canonical solutions: {passed} of {len(rows)} pass, {(time.monotonic() - begin) / len(rows):.3f} s each", flush=True)
    pairs = [pair for row, solution in zip(rows, solutions, strict=True) for pair in compare(code, row, solution, count)]
    print(f"mutants: {len(pairs)} ({count} a problem), of which the plain asserts catch {sum(not plain for plain, _ in pairs)}")
    print(f"and the verifier {sum(verdict.passed is False for _, verdict in pairs)}")
    print(f"verdicts that differ: {sum(plain != verdict.passed for plain, verdict in pairs)}")
    print(f"invalid: {sum(verdict.passed is None for _, verdict in pairs)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
