"""What a model has learned: `python benchmarks/translation.py PARALLEL_FOLDER INSTRUCTIONS.jsonl.gz BEFORE AFTER`.

Translations of 200 segments of a package that was not trained on (40 of each language, greedy), as corpus chrF with 95% bootstrap
intervals, before and after, and the mean loss of the answers of 100 instructions (rows with `question` and `answer`) of
another kind.
"""

import gzip
import json
import random
import statistics
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from sacrebleu.metrics import CHRF
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tower_rl.data.languages import LANGUAGE_NAMES

LANGUAGES = {"es": "es", "fr": "fr", "de": "de", "pt-BR": "pt_BR", "it": "it"}
ORIGIN, EACH, MOST_WORDS = "wagtail", 40, 12
INSTRUCTIONS, BATCH, NEW_TOKENS, RESAMPLES = 100, 20, 64, 2000
PROMPT = "Translate the following text from English to {language}.\n\n{text}"

Segment = tuple[str, str, str]
"""Language, original, translation."""


def segments(folder: Path) -> list[Segment]:
    """The same ones for each model."""
    found = []
    for code, name in LANGUAGES.items():
        with gzip.open(folder / f"en-{code}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [row for row in map(json.loads, file) if ORIGIN in row["origin"]]
        fitting = [row for row in rows if len(row["source"].split()) <= MOST_WORDS]
        chosen = random.Random(0).sample(fitting, EACH)
        found += [(name, row["source"], row["target"]) for row in chosen]
    return found


@torch.no_grad()
def translate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: Sequence[Segment], wording: str = PROMPT
) -> list[str]:
    """Greedy translations."""
    prompts = [wording.format(language=LANGUAGE_NAMES[language], text=text) for language, text, _ in batch]
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    inputs = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True)
    ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    return list(tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Of the corpus."""
    return float(CHRF().corpus_score(list(hypotheses), [list(references)]).score)


def interval(values: Sequence[float]) -> str:
    """The middle 95%."""
    ordered = sorted(values)
    return f"[{ordered[int(0.025 * len(ordered))]:.1f}, {ordered[int(0.975 * len(ordered))]:.1f}]"


@torch.no_grad()
def instruction_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> float:
    """Mean negative log-probability of the answers' tokens, in nats."""
    total, count = 0.0, 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, islice(file, INSTRUCTIONS)):
            chat = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
            prompt = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False)
            ids = torch.tensor([tokenizer.apply_chat_template(chat, return_dict=False)])
            logprobs = model(ids).logits[0, :-1].float().log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            answer = logprobs[len(prompt) - 1 : -1]
            total, count = total - float(answer.sum()), count + len(answer)
    return total / count


def main(parallel: Path, instructions: Path, folders: Sequence[Path]) -> None:
    """Print the comparison."""
    asked = segments(parallel)
    references = [translation for _, _, translation in asked]
    answers: list[list[str]] = []
    for name, folder in zip(("before", "after"), folders, strict=True):
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        parts = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
        answers.append([text.strip() for part in parts for text in translate(model, tokenizer, part)])
        own = {code: [i for i, (language, _, _) in enumerate(asked) if language == code] for code in LANGUAGES.values()}
        each = {code: chrf([answers[-1][i] for i in at], [references[i] for i in at]) for code, at in own.items()}
        scores = ", ".join(f"{code} {score:.1f}" for code, score in each.items())
        loss = instruction_loss(model, tokenizer, instructions)
        print(f"{name}: chrF {chrf(answers[-1], references):.1f} ({scores}); instruction loss {loss:.3f}", flush=True)
    rng = random.Random(0)
    resampled = []
    for _ in range(RESAMPLES):
        places = [rng.randrange(len(asked)) for _ in asked]
        wanted = [references[place] for place in places]
        resampled.append([chrf([texts[place] for place in places], wanted) for texts in answers])
    before, after = zip(*resampled, strict=True)
    differences = [b - a for a, b in resampled]
    print(f"95% intervals: before {interval(before)}, after {interval(after)}, difference {interval(differences)}")
    print(f"mean difference {statistics.fmean(differences):+.1f}")
    for (language, text, reference), first, last in list(zip(asked, *answers, strict=True))[:: EACH // 2]:
        print(f"--- {language}: {text}\n  reference {reference}\n  before    {first[:150]}\n  after     {last[:150]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(sys.argv[3]), Path(sys.argv[4])])
