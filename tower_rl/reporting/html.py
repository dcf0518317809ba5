"""report.html of a run: one file without scripts or outside resources, made from the run folder's own files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tower_rl.files import replace_text
from tower_rl.reporting.charts import line_chart
from tower_rl.reporting.markup import Markup, document, joined, tag
from tower_rl.reporting.metrics import read as read_metrics
from tower_rl.reporting.panel import Panel, PanelEntry, pairs, read_panel
from tower_rl.reporting.parts import (
    SAMPLE_CHARACTERS,
    Rows,
    block,
    lines,
    minutes,
    phases,
    points,
    points_after,
    steps_done,
    table,
    table_of,
    tiles,
)
from tower_rl.reporting.preference_html import preference_stage, sample_pairs
from tower_rl.reporting.rollouts import read_rollouts
from tower_rl.reporting.style import STYLE
from tower_rl.reporting.summary import (
    MIXTURE_COLUMNS,
    VALIDATION_COLUMNS,
    change,
    mixture_table,
    panel_changes,
    reward_names,
    tokens_per_second,
    validation_table,
)
from tower_rl.reporting.text import shortened
from tower_rl.runfolder import CONFIG, MANIFEST, StageFolder, read_yaml, stage_folders

SAMPLES = 3
COUNTING = "Steps count from 1 here and on the screen, and from 0 in metrics.jsonl."


def write_report(folder: Path) -> Path:
    """Writes report.html into a run folder, finished or not, and returns its path.

    Raises FileNotFoundError when there is no manifest.json or config.yaml.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    config_text = (folder / CONFIG).read_text(encoding="utf-8")
    planned = {f"{index}-{stage['name']}": stage.get("steps") for index, stage in enumerate(read_yaml(config_text)["stages"])}
    stages = [_stage(StageFolder(path), planned.get(path.name)) for path in stage_folders(folder)]
    body = joined(
        [
            _heading(manifest),
            *(stages or [tag("p", "No stage has begun.", class_="soft")]),
            tag("h2", "How it was run"),
            tag("details", tag("summary", "Configuration"), tag("pre", config_text)),
            tag("details", tag("summary", "Manifest"), tag("pre", json.dumps(manifest, indent=2, ensure_ascii=False))),
        ]
    )
    path = folder / "report.html"
    replace_text(path, document(f"{manifest['name']} — tower-rl", STYLE, body))
    return path


def _heading(manifest: Mapping[str, Any]) -> Markup:
    status = manifest["status"]
    ended = f", ended {manifest['ended']}" if manifest["ended"] else ""
    parts = [
        tag("h1", manifest["name"], " ", tag("span", status, class_=f"status {status}")),
        tag("p", f"attempt {manifest['attempt']}, created {manifest['created']}{ended}, seed {manifest['seed']}", class_="soft"),
    ]
    if manifest["reason"]:
        parts.append(tag("pre", shortened(manifest["reason"], SAMPLE_CHARACTERS), class_="failed"))
    return joined(parts)


def _stage(stage: StageFolder, planned: int | None) -> Markup:
    rows, validation, rounds = map(read_metrics, (stage.metrics, stage.validation, stage.rounds))
    before, after = read_panel(stage.panel_before), read_panel(stage.panel_after)
    return joined(
        [
            tag("h2", f"Stage {stage.path.name}"),
            tag("p", COUNTING if rows else "No step has been completed.", class_="soft"),
            preference_stage(rows, validation, rounds, planned) if rounds else _other_stage(rows, validation, planned),
            _panel_table(before, after),
            _pairs(before, after),
            _last_rollouts(stage),
            sample_pairs(stage.pairs, rounds),
        ]
    )


def _other_stage(rows: Rows, validation: Rows, planned: int | None) -> Markup:
    return joined(
        [
            *([_tiles(rows, planned), _charts(rows, validation)] if rows else []),
            table("Validation loss (nats a token)", VALIDATION_COLUMNS, validation_table(validation)),
            table("Mixture (shares of tokens)", MIXTURE_COLUMNS, mixture_table(rows)),
        ]
    )


def _tiles(rows: Rows, planned: int | None) -> Markup:
    reward, loss = change(rows, "reward/mean"), change(rows, "loss")
    rate = tokens_per_second(rows)
    values = {"steps": steps_done(rows, planned)}
    for name, found in (("mean reward", reward), ("loss", None if reward else loss)):
        if found:
            values |= {f"{name}, first 5 steps": f"{found.first:.3f}", f"{name}, last 5 steps": f"{found.last:.3f}"}
    values["minutes in steps"] = minutes(rows)
    if rate is not None:
        values["generated tokens per second of a step"] = f"{rate:.0f}"
    if (learned := change(rows, "tokens_per_second")) is not None:
        values["tokens per second, last 5 steps"] = f"{learned.last:.0f}"
    return tiles(values)


def _charts(rows: Rows, validation: Rows) -> Markup:
    rewards = {name: points(rows, f"reward/{name}") for name in ["mean", *reward_names(rows)]}
    losses = [key for row in validation[:1] for key in row if key.startswith("loss")]
    held_out = {key.removeprefix("loss/"): points_after(validation, key) for key in losses}
    figures = [
        line_chart("Reward", rewards),
        line_chart("Validation loss (nats a token)", held_out),
        phases(rows),
        line_chart("Loss (nats a token)", {"loss": points(rows, "loss")}, from_zero=True),
        *lines(rows),
    ]
    return tag("div", *figures, class_="charts")


def _panel_table(before: Panel, after: Panel) -> Markup:
    changes = panel_changes(before, after)
    if not changes:
        return Markup()
    names = ("verifier", "mean before", "mean after", "change", "passed before", "passed after", "responses", "invalid")
    cells = [
        tag(
            "tr",
            tag("td", name),
            tag("td", f"{first.mean:.3f}"),
            tag("td", f"{last.mean:.3f}"),
            tag("td", f"{last.mean - first.mean:+.3f}", class_="up" if last.mean >= first.mean else "down"),
            tag("td", f"{first.pass_rate:.0%}"),
            tag("td", f"{last.pass_rate:.0%}"),
            tag("td", f"{last.scored}"),
            tag("td", f"{first.invalid} / {last.invalid}"),
        )
        for name, (first, last) in changes.items()
    ]
    return table_of("Held-out panel", names, cells)


def _pairs(before: Panel, after: Panel) -> Markup:
    chosen = pairs(before, after, SAMPLES)
    if not chosen:
        return Markup()
    cards = [
        tag(
            "div",
            tag("div", first["verifier"], " · ", first["prompt_id"], class_="head"),
            block(first["prompt"]),
            tag("div", _panel_response("before", first), _panel_response("after", last), class_="pair"),
            class_="card",
        )
        for first, last in chosen
    ]
    return joined([tag("h3", "Held-out prompts before and after (first of each verifier, not chosen by score)"), *cards])


def _panel_response(when: str, entry: PanelEntry) -> Markup:
    response = entry["responses"][0]
    head = tag("div", tag("b", f"{when}: {_score(response['score'])}"), f" {response['reason']}", class_="head")
    return tag("div", head, block(response["text"], "response"))


def _last_rollouts(stage: StageFolder) -> Markup:
    files = sorted((stage.path / "rollouts").glob("step-*.parquet"), key=lambda file: int(file.stem.removeprefix("step-")))
    if not files:
        return Markup()
    rows = read_rollouts(files[-1])
    scored = sorted((row for row in rows if row["score"] is not None), key=lambda row: row["score"], reverse=True)
    best = scored[:SAMPLES]
    worst = scored[len(best) :][-SAMPLES:]
    unjudged = [row for row in rows if row["score"] is None][:SAMPLES]
    sections = {"best": best, "worst": worst, "invalid": unjudged}
    parts = [
        joined([tag("h3", f"Rollouts of step {shown[0]['step'] + 1}: {name}"), *map(_rollout, shown)])
        for name, shown in sections.items()
        if shown
    ]
    where = f"All of them are in rollouts/{files[-1].name}, whose number counts steps from 0."
    return joined([*parts, tag("p", where, class_="soft")] if parts else [])


def _rollout(row: Mapping[str, Any]) -> Markup:
    facts = [
        row["verifier"],
        row["prompt_id"],
        f"{len(row['token_ids'])} tokens",
        f"stopped by {row['stop_reason']}",
        *row["flags"],
    ]
    if row["advantage"] is not None:
        facts.append(f"advantage {row['advantage']:+.2f}")
    return tag(
        "div",
        tag("div", tag("b", f"score {_score(row['score'])}"), " · ", " · ".join(facts), class_="head"),
        block(row["prompt"]),
        block(row["response"], "response"),
        tag("div", row["reason"], class_="head"),
        class_="card",
    )


def _score(score: float | None) -> str:
    return "--" if score is None else f"{score:.2f}"
