"""The held-out panel: the same prompts, answered before and after a stage.

A file is a JSON list of `{prompt_id, source, verifier, prompt, responses: [{text, score, passed, status, reason, parts}]}`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TypedDict

from tower_rl.files import replace_text
from tower_rl.reporting.rollouts import last_user_message
from tower_rl.types import ScoredGroup
from verifiers.types import Status


class PanelResponse(TypedDict):
    """One response and its verdict."""

    text: str
    score: float | None
    passed: bool | None
    status: str
    reason: str
    parts: dict[str, float]


class PanelEntry(TypedDict):
    """One prompt and the responses to it."""

    prompt_id: str
    source: str
    verifier: str
    prompt: str
    responses: list[PanelResponse]


Panel = list[PanelEntry]


@dataclass(frozen=True, slots=True)
class PanelScore:
    """What a verifier says about its part of the panel."""

    mean: float
    """Mean score of the scored responses; NaN when there is none."""
    pass_rate: float
    """Share of the scored responses that passed; NaN when there is none."""
    scored: int
    """Responses with a score."""
    invalid: int
    """Responses that the verifier could not judge; they count in neither mean nor share."""


def panel_of(scored_groups: Iterable[ScoredGroup]) -> Panel:
    """The panel in the form of its file."""
    return [
        PanelEntry(
            prompt_id=group.prompt.id,
            source=group.prompt.source,
            verifier=group.prompt.verifier,
            prompt=last_user_message(group.prompt),
            responses=[
                PanelResponse(
                    text=rollout.text,
                    score=verdict.score,
                    passed=verdict.passed,
                    status=verdict.status.value,
                    reason=verdict.reason,
                    parts=dict(verdict.parts),
                )
                for rollout, verdict in zip(group.rollouts, group.verdicts, strict=True)
            ],
        )
        for group in scored_groups
    ]


def write_panel(path: Path, scored_groups: Iterable[ScoredGroup]) -> Panel:
    """Writes a panel file and returns what is in it."""
    panel = panel_of(scored_groups)
    replace_text(path, json.dumps(panel, ensure_ascii=False, indent=1))
    return panel


def read_panel(path: Path) -> Panel:
    """The panel of a file; an empty one when there is no file."""
    if not path.exists():
        return []
    panel: Panel = json.loads(path.read_text(encoding="utf-8"))
    return panel


def panel_scores(panel: Panel) -> dict[str, PanelScore]:
    """The figures of each verifier, by its name in the configuration, sorted."""
    ordered = sorted(panel, key=lambda entry: entry["verifier"])
    return {
        verifier: _score([response for entry in entries for response in entry["responses"]])
        for verifier, entries in groupby(ordered, key=lambda entry: entry["verifier"])
    }


def panel_means(panel: Panel) -> dict[str, float]:
    """The mean score of each verifier's scored responses, NaN when it has none."""
    return {verifier: score.mean for verifier, score in panel_scores(panel).items()}


def pairs(before: Panel, after: Panel, count: int) -> list[tuple[PanelEntry, PanelEntry]]:
    """`count` prompts of both panels, before and after: by turns the next one of each verifier, in the panel's order.

    The choice does not look at scores, so that the samples flatter nobody.
    """
    later = {entry["prompt_id"]: entry for entry in after}
    turns: dict[str, int] = {}
    ranked: list[tuple[int, PanelEntry, PanelEntry]] = []
    for entry in before:
        if entry["prompt_id"] in later:
            turn = turns[entry["verifier"]] = turns.get(entry["verifier"], 0) + 1
            ranked.append((turn, entry, later[entry["prompt_id"]]))
    ranked.sort(key=lambda item: item[0])
    return [(first, second) for _, first, second in ranked[:count]]


def _score(responses: Sequence[PanelResponse]) -> PanelScore:
    valid = [response for response in responses if response["status"] != Status.INVALID]
    scores = [response["score"] for response in valid if response["score"] is not None]
    return PanelScore(
        mean=fmean(scores) if scores else float("nan"),
        pass_rate=fmean(bool(response["passed"]) for response in valid) if valid else float("nan"),
        scored=len(scores),
        invalid=len(responses) - len(valid),
    )
