"""What ranks are measured with: ZeRO stages, with and without checkpointing, and so few tokens that weights are all."""

from tower_rl.config.schema import Policy

TOKENS, CHUNK, PROMPT = 384, 64, 16
CASES = {f"ZeRO {stage}{', checkpointing' * again}": (stage, again) for stage in range(4) for again in (False, True)}
FEW = "few tokens"
"""The optimizer's step is the worst moment."""
CASES |= {f"ZeRO {stage}, {FEW}": (stage, False) for stage in (0, 1, 3)}
CASES |= {f"ZeRO {stage}, {each}float32": (stage, False) for stage in range(4) for each in ("", f"{FEW}, ")}


def dtype(name: str) -> str:
    return "float32" if "float32" in name else "bfloat16"


def policy(name: str, world: int) -> Policy:
    stage, again = CASES[name]
    tokens = PROMPT + 8 if FEW in name else TOKENS
    return Policy(
        workers=world,
        zero_stage=stage,
        gradient_checkpointing=again,
        tokens_per_micro_batch=tokens,
        logprob_chunk=8 if FEW in name else CHUNK,
    )
