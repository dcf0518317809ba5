"""Verdicts are kept by version, options and input, and never when invalid."""

from pathlib import Path

import pytest

from verifiers import Task, invalid, scored
from verifiers.cache import VerdictCache, key
from verifiers.pool import Pool, Spec

HELPERS = Path(__file__).parent / "helpers"


def test_a_key_depends_on_everything_but_the_order_of_fields() -> None:
    one = key("m:V", "1", {"a": 1, "b": 2}, [{"response": "x", "prompt": "p"}])
    assert key("m:V", "1", {"b": 2, "a": 1}, [{"prompt": "p", "response": "x"}]) == one
    others = [
        key("m:W", "1", {"a": 1, "b": 2}, [{"response": "x", "prompt": "p"}]),
        key("m:V", "2", {"a": 1, "b": 2}, [{"response": "x", "prompt": "p"}]),
        key("m:V", "1", {"a": 1}, [{"response": "x", "prompt": "p"}]),
        key("m:V", "1", {"a": 1, "b": 2}, [{"response": "y", "prompt": "p"}]),
    ]
    assert len({one, *others}) == 5


def test_verdicts_come_back_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    kept = [scored(0.5, reason="so so", parts={"a": 0.5}, flags=("f",), seconds=3.0)]
    cache = VerdictCache(path)
    cache.put("k", kept)
    cache.put("broken", [scored(1.0), invalid("worker lost")])
    cache.close()
    (verdict,) = VerdictCache(path).get("k") or []
    assert (verdict.score, verdict.parts, verdict.flags, verdict.seconds) == (0.5, {"a": 0.5}, ("f",), 0.0)
    assert VerdictCache(path).get("broken") is None
    assert VerdictCache(path).get("other") is None


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    path.write_bytes(b"no database, but long enough to be looked at " * 100)
    VerdictCache(path).put("k", [scored(1.0)])
    assert VerdictCache(path).get("k") is not None


@pytest.mark.parametrize(("cached", "calls"), [(True, 1), (False, 2)])
def test_the_pool_asks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool, calls: int) -> None:
    monkeypatch.syspath_prepend(str(HELPERS))
    mark = tmp_path / "mark"
    specs = {"hostile": Spec("hostile:Hostile", {}, 5.0, 0, cached=cached)}
    with Pool(specs, 1, 512, VerdictCache(tmp_path / "c")) as pool:
        for _ in range(2):
            (verdict,) = pool.verify("hostile", [Task("", "count", meta={"mark": str(mark)})])
            assert (verdict.score, verdict.verifier) == (1.0, "hostile")
        assert len(mark.read_text()) == calls
        for _ in range(2):
            assert pool.verify("hostile", [Task("", "raise")])[0].score is None
