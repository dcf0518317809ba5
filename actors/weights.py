"""Weights from the trainer's ranks to the engines, through vLLM's weight-transfer protocol, checked twice."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from actors.group import get
from actors.policy import Ranks
from actors.rollout import Engines
from actors.stalled import Limit
from tower_rl.protocols import MismatchExceeded
from tower_rl.types import Floats, MicroBatch


class EngineClient:
    """The trainer's line to all engines: vLLM's four calls, each with a deadline.

    It works in the process that writes the weights. Engines on its node read what is written there. To those on other nodes
    each group of layers goes through Ray's object stores, and their actors write it down on their own node.
    """

    def __init__(self, engines: Sequence[Any], timeout_s: float) -> None:
        """`engines` are handles of actors; none of the calls may take longer than `timeout_s`."""
        self.engines = list(engines)
        self.limit = Limit(timeout_s, "")
        self.version = 0
        self.near: list[Any] = []
        self.far: list[Any] = []

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """See vLLM's VLLMWeightSyncClient, also below."""
        here = ray.get_runtime_context().get_node_id()
        nodes = get("nodes of the engines", self.limit, [e.node.remote() for e in self.engines])
        self.near = [e for e, node in zip(self.engines, nodes, strict=True) if node == here]
        self.far = [e for e, node in zip(self.engines, nodes, strict=True) if node != here]
        self.written = np.memmap(init_info["path"], np.uint8, "r", shape=(init_info["size"],))
        get(
            "weight-transfer start in the engines",
            self.limit,
            [e.init_weight_transfer_engine.remote(init_info) for e in self.near]
            + [
                e.init_far_weight_transfer_engine.remote(init_info | {"path": f"{init_info['path']}-{i}"})
                for i, e in enumerate(self.far)
            ],
        )

    def start_weight_update(self) -> None:
        """Second call."""
        get("start of a weight update in the engines", self.limit, [e.start_weight_update.remote() for e in self.engines])

    def update_weights(self, update_info: Any) -> None:
        """Third call, once a group."""
        pending = [e.update_weights.remote(update_info) for e in self.near]
        if self.far:
            sent = ray.put(np.asarray(self.written[: update_info["size"]]))
            pending += [e.update_weights.remote(update_info, sent) for e in self.far]
        get("weights to reach the engines", self.limit, pending)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Last call; the version is the one that the rank was told."""
        get(
            "end of a weight update in the engines",
            self.limit,
            [e.finish_weight_update.remote(self.version) for e in self.engines],
        )


class CheckedSync:
    """A WeightSync whose every push is verified: bits by checksum on the way, meaning by a probe prompt afterwards."""

    def __init__(self, ranks: Ranks, engines: Engines, probe: Sequence[int], bound: float) -> None:
        """`probe` is a fixed text of at least two tokens, on which they may differ by `bound` nats a token."""
        self.ranks, self.engines, self.probe, self.bound = ranks, engines, list(probe), bound

    async def connect(self, path: str, client: Any) -> None:
        """Handshake between trainer and engines over the shared file `path`."""
        same = [client] * self.ranks.workers
        await self.ranks.all("weight-transfer start of policy rank", lambda h, client: h.connect.remote(path, client), same)

    async def push(self, version: int) -> Mapping[str, float]:
        """See tower_rl.protocols.WeightSync."""
        try:
            same = [version] * self.ranks.workers
            await self.ranks.all("weight sync of policy rank", lambda h, version: h.send_weights.remote(version), same)
        except Exception as error:
            if "weight sync:" in str(error):
                raise MismatchExceeded(_sync_message(error, version)) from error
            raise
        return {"mismatch/probe": await self.compare(version)}

    async def compare(self, version: int) -> float:
        """Mean difference of the probe prompt's log-probabilities, trainer against the worst engine, in nats a token.

        Raises MismatchExceeded when it is beyond the bound.
        """
        trainer = (await self.ranks.probe(probe_batch(self.probe)))[0]
        answers = await self.engines.probe(self.probe)
        difference = max(float(np.abs(answer - trainer).mean()) for answer in answers)
        if not difference <= self.bound:
            raise MismatchExceeded(
                f"after the sync of version {version} an engine's log-probabilities of the probe prompt differ from the "
                f"trainer's by {difference:.3f} nats a token (bound {self.bound}): "
                "the engine does not run the trainer's weights"
            )
        return difference


def probe_batch(tokens: Sequence[int]) -> MicroBatch:
    """One document in which every token after the first is scored."""
    ids = np.asarray(tokens, np.int64)
    count = len(ids) - 1
    nothing: Floats = np.zeros((1, count), np.float32)
    return MicroBatch(
        token_ids=ids,
        position_ids=np.arange(len(ids)),
        offsets=np.array([0, len(ids)]),
        prefixes=np.full(1, -1),
        predictors=np.arange(count),
        targets=ids[1:],
        rows=np.zeros(count, np.int64),
        columns=np.arange(count),
        mask=np.ones((1, count), np.bool_),
        old_logprobs=nothing,
        advantages=nothing,
        rollout_ids=np.zeros(1, np.int64),
    )


def _sync_message(error: Exception, version: int) -> str:
    text = str(error)
    line = text[text.rindex("weight sync:") :].splitlines()[0].partition("', please check")[0]  # vLLM wraps what workers say
    return f"version {version} did not reach the engines intact: {line.removeprefix('weight sync: ')}"
