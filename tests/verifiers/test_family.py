"""What holds for every installed verifier: whatever comes in, one verdict comes out, in time, and the workers live on."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, registry
from verifiers.pool import Pool, Spec

TIMEOUT_S = 4.0
HELPERS = Path(__file__).parent / "helpers"
NEEDED = {"pairwise": {"judge": "judges:longer"}}

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["rules", "source", "source_lang", "target_lang", "language", "schema", "length", "glossary", "keep", "x"])
metas = st.dictionaries(keys, json_like | st.sampled_from(["de", "en", "zh_Hans", "pt_BR"]), max_size=6)
tasks = st.builds(Task, st.text(max_size=40), st.text(max_size=200), json_like | st.text(max_size=40), metas)

FACTS = {"source": "Save %(name)s", "source_lang": "en", "target_lang": "de", "rules": [{"rule": "no_commas"}], "length": 5}
HOSTILE = {
    "ten megabytes": "word " * 2_000_000,
    "one long word": "a" * 1_000_000,
    "nesting": "[" * 100_000,
    "tower": r"\boxed{9^{9^{9^{9^9}}}}",
    "invisible": "\u200b\u202e\ufeff" * 50_000,
    "surrogate": "\ud800 \udfff",
    "nul": "\0" * 1000,
    "pickle": "cos\nsystem\n(S'touch /tmp/x'\ntR.",
    "yaml": "!!python/object/apply:os.system ['true']",
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    specs = {
        name: Spec(registry.resolve(name), NEEDED.get(name, {}), TIMEOUT_S, 0, registry.group_aware(name))
        for name in registry.known()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HELPERS))
        with Pool(specs, workers=2, memory_mib=2048) as pool:
            yield pool


def is_a_verdict(verdict: Verdict) -> bool:
    """Scored, or invalid for a reason that is neither the death of a worker nor an exception that nobody thought of."""
    return verdict.status is Status.SCORED or (
        bool(verdict.reason) and not verdict.reason.startswith(("worker", "verifier error"))
    )


@pytest.mark.parametrize("name", registry.known())
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=st.lists(tasks, min_size=1, max_size=3))
def test_any_task_gets_a_verdict(pool: Pool, name: str, given: list[Task]) -> None:
    verdicts = pool.verify(name, given)
    assert len(verdicts) == len(given)
    assert all(map(is_a_verdict, verdicts)), verdicts


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("name", registry.known())
def test_hostile_responses_are_judged_in_time(pool: Pool, name: str, attack: str) -> None:
    reference: Any = "7" if name in ("math", "gsm8k") else "Speichere %(name)s"
    begin = time.monotonic()
    (verdict,) = pool.verify(name, [Task("", HOSTILE[attack], reference, FACTS)])
    assert time.monotonic() - begin < 30
    assert is_a_verdict(verdict), verdict
    assert verdict.score is None or verdict.score < 1 or name in ("constraints", "length"), "an attack does not pay"
