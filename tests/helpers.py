"""Made-up rollouts, and the plain computations that the packed, sharded ones are held against."""

import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM

from tower_rl.data.packs import Pack
from tower_rl.models.attention import BLOCK
from tower_rl.types import Group, Prompt, Rollout, StopReason

VOCABULARY = 512

# Weights so large that attention is far from uniform, and caps so small that they bend.
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "num_hidden_layers": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SLIDING = {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16}
FAMILIES = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "gemma2, window in a block": ("gemma2", SLIDING | CAPS | {"sliding_window": 30}),
    "gemma2, window over blocks": ("gemma2", SLIDING | CAPS | {"sliding_window": BLOCK + 50}),
    "gemma3": ("gemma3_text", SLIDING | {"sliding_window": 50, "query_pre_attn_scalar": 16}),
    "gemma3, window of a block": ("gemma3_text", SLIDING | {"sliding_window": BLOCK, "query_pre_attn_scalar": 16}),
}


def family_models(name):
    """A small random model of one of FAMILIES twice: with sdpa and with eager attention."""
    family, changes = FAMILIES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain, copy = (
            AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES | changes), attn_implementation=kind)
            for kind in ("eager", "sdpa")
        )
    copy.load_state_dict(plain.state_dict())
    return copy, plain


def prompt(tokens, cursor=0, verifier="v", **rest):
    """A Prompt of the given tokens."""
    message = {"role": "user", "content": f"prompt {cursor}"}
    values = {"reference": None, "meta": {}, "source": "s", **rest}
    return Prompt(
        id=f"s/{cursor}", messages=(message,), token_ids=tuple(int(t) for t in tokens), verifier=verifier, cursor=cursor, **values
    )


def rollout(tokens, logprobs, version=0):
    """A Rollout of the given tokens."""
    ids = np.asarray(tokens, np.int64)
    return Rollout(ids, np.asarray(logprobs, np.float32), "", StopReason.STOP, np.full(len(ids), version, np.int64))


def random_groups(seed, sizes, longest=12):
    """Groups of the given sizes, with prompts and responses of random length, and [G] random advantages for each."""
    rng = np.random.default_rng(seed)
    groups, advantages = [], []
    for cursor, size in enumerate(sizes):
        lengths = rng.integers(1, longest, size)
        rollouts = tuple(rollout(rng.integers(3, VOCABULARY, n), -3 - 3 * rng.random(n)) for n in lengths)
        groups.append(Group(prompt(rng.integers(3, VOCABULARY, rng.integers(2, 9)), cursor), rollouts))
        advantages.append(rng.standard_normal(size).astype(np.float32))
    return groups, advantages


def sampled_groups(model, seed, sizes, temperature=1.0, noise=0.5):
    """As random_groups, but with log-probabilities that are the model's up to some noise."""
    rng = np.random.default_rng(seed)
    groups, advantages = random_groups(seed, sizes)
    sampled = []
    for group in groups:
        own = [plain_logprobs(model, group, r, temperature).detach().numpy() for r in group.rollouts]
        logprobs = [values + noise * rng.standard_normal(len(values)) for values in own]
        rollouts = tuple(rollout(r.token_ids, p) for r, p in zip(group.rollouts, logprobs, strict=True))
        sampled.append(Group(group.prompt, rollouts))
    return sampled, advantages


def plain_model(folder):
    """The model by transformers alone, in float32 with eager attention."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def plain_logprobs(model, group, rollout_, temperature=1.0):
    """[T] log-probabilities of one rollout, from one whole unpacked forward pass."""
    ids = torch.tensor([[*group.prompt.token_ids, *rollout_.token_ids.tolist()]])
    logits = model(input_ids=ids).logits[0, len(group.prompt.token_ids) - 1 : -1] / temperature
    return torch.log_softmax(logits.float(), -1).gather(1, torch.from_numpy(rollout_.token_ids)[:, None])[:, 0]


def plain_loss(model, groups, advantages, *, temperature=1.0, clip=0.2, kl=0.0, reference=None):
    """The GRPO loss of a batch by a loop over tokens' formulas: token mean of the clipped surrogate, dual clip at 3, and k3."""
    total, count = torch.zeros(()), 0
    for group, values in zip(groups, advantages, strict=True):
        for r, a in zip(group.rollouts, values, strict=True):
            new, old = plain_logprobs(model, group, r, temperature), torch.from_numpy(r.logprobs)
            ratio = (new - old).exp()
            loss = torch.maximum(-a * ratio, -a * ratio.clamp(1 - clip, 1 + clip))
            loss = torch.minimum(loss, torch.tensor(-a * 3.0)) if a < 0 else loss
            if reference is not None:
                gap = plain_logprobs(reference, group, r, temperature).detach() - new
                loss = loss + kl * (gap.exp() - gap - 1)
            total, count = total + loss.sum(), count + len(new)
    return total / count


def random_pack(seed, lengths, stream="a/de", learned=1.0):
    """A Pack of documents of these lengths; each token but a document's first is learned with probability `learned`."""
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths, np.int64)
    trained = rng.random(lengths.sum()) < learned
    trained[np.cumsum(lengths) - lengths] = False
    return Pack(rng.integers(3, VOCABULARY, lengths.sum()), trained, lengths, stream)


def plain_document_losses(model, pack):
    """[M] losses of a pack's learned tokens, from one whole forward pass a document."""
    losses, start = [torch.zeros(0)], 0
    for length in pack.lengths:
        ids, trained = torch.tensor(pack.token_ids[start : start + length]), torch.tensor(pack.trained[start : start + length])
        logprobs = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1].float(), -1)
        losses.append(-logprobs.gather(1, ids[1:, None])[trained[1:], 0])
        start += length
    return torch.cat(losses)


class Largest(TorchDispatchMode):
    """Remembers how many elements the largest tensor had that an operation gave."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


class Standing(TorchDispatchMode):
    """Adds up storages that operations make, less those that are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and not value.is_meta and value.untyped_storage()._cdata not in given:
                storage = value.untyped_storage()
                if storage._cdata not in self.known and storage.nbytes():
                    self.known[storage._cdata] = storage.nbytes()
                    self.bytes += storage.nbytes()
                    weakref.finalize(storage, self.gone, storage._cdata)
        self.peak = max(self.peak, self.bytes)
        return result

    def gone(self, key):
        self.bytes -= self.known.pop(key, 0)


def supervised_packs():
    """Packs of three streams, some of whose tokens are not learned; one pack learns nothing."""
    lengths = ([5, 30, 2], [18, 1], [40], [7, 7, 7, 7], [3], [25, 16])
    streams = ("a/de", "a/fr", "b/", "a/de", "b/", "a/fr")
    learned = (1.0, 0.5, 1.0, 0.7, 0.0, 1.0)
    return [random_pack(i, *each) for i, each in enumerate(zip(lengths, streams, learned, strict=True))]


def run_ranks(script, world, folder, output, *arguments):
    """Run SCRIPT, below tests/tower_rl/models or absolute, as the processes of `world` ranks; all must end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "LOCAL_RANK": "0"}
    tests = Path(__file__).parent
    env |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    path = tests / "tower_rl" / "models" / script
    command = [sys.executable, str(path), str(folder), str(output), *arguments]
    ranks = [
        subprocess.Popen(command, env=env | {"RANK": str(r)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for r in range(world)
    ]
    try:
        for rank in ranks:
            text, _ = rank.communicate(timeout=400)
            assert rank.returncode == 0, text[-3000:]
    finally:
        for rank in ranks:
            rank.kill()
