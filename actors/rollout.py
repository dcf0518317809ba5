"""vLLM engines as Ray actors, and the Generator over them."""

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import ray

from actors.group import Actor, call, call_all, end
from actors.process import log_to
from actors.stalled import Limit
from tower_rl.status import finish, report, transferring
from tower_rl.types import Floats, Group, Ints, Prompt, Rollout, StopReason

Bytes = npt.NDArray[np.uint8]

CALLS = 100_000
"""Calls that an engine serves at once (`max_concurrency`). With Ray's default, 1,000, that many open requests would keep a weight
update out of the engine that they wait for while it is paused."""


REPORT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """All that an engine must know; plain values, since it crosses processes."""

    folder: str
    dtype: str
    on_gpu: bool
    tensor_parallel: int
    gpu_memory_utilization: float
    colocated: bool
    """Whether it sleeps while a trainer works on its GPUs."""
    max_model_len: int
    max_new_tokens: int
    temperature: float
    stop_token_ids: tuple[int, ...]
    seed: int
    """Of the engine; another one after a resume, so that the run does not sample the same again."""
    log: str


@dataclass(slots=True)
class _Request:
    """A group that is being sampled."""

    version: int
    """Of the weights in the engine when it came."""
    changes: list[tuple[int, Mapping[int, int]]] = field(default_factory=list)
    """The versions that came while it ran, and how many tokens each sample that had not ended had then."""

    def versions(self, sample: int, tokens: int) -> Ints:
        """[tokens] of a sample that has so many in the end."""
        versions = np.full(tokens, self.version, np.int32)
        for version, made in self.changes:
            if sample in made:
                versions[made[sample] :] = version
        return versions


class RolloutEngine:
    """One vLLM engine: samples groups, receives weights, answers the probe."""

    def __init__(self, settings: EngineSettings) -> None:
        log_to(settings.log)
        from vllm.config.weight_transfer import WeightTransferConfig
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.executor.uniproc_executor import UniProcExecutor

        from actors import shared_memory

        self.settings = settings
        self.version = 0
        self.asleep = False
        self.numbers = itertools.count()
        self.requests: dict[str, _Request] = {}
        self.admission = asyncio.Lock()
        self.sampled: dict[str, int] = {}
        """Tokens of each sample since the engine was last idle, by vLLM's name of the sample."""
        self.reporting: asyncio.Task[None] | None = None
        with transferring("starting the engine"):
            self.engine = AsyncLLM.from_engine_args(
                AsyncEngineArgs(
                    model=settings.folder,
                    dtype=cast("Any", settings.dtype),
                    max_model_len=settings.max_model_len,
                    tensor_parallel_size=settings.tensor_parallel,
                    # A worker in a process of its own is waited for in a busy loop, on the cores that it computes on.
                    distributed_executor_backend=UniProcExecutor if settings.tensor_parallel == 1 else "mp",
                    gpu_memory_utilization=settings.gpu_memory_utilization if settings.on_gpu else 0.9,
                    enable_sleep_mode=settings.colocated and settings.on_gpu,
                    # Samples share whole blocks of their prompt, and vLLM's for CPUs (128 tokens) are longer than most prompts.
                    block_size=None if settings.on_gpu else 32,
                    enforce_eager=not settings.on_gpu,  # compiling for the CPU takes minutes
                    logprobs_mode="processed_logprobs",  # the default is before temperature
                    seed=settings.seed,
                    generation_config="vllm",  # the folder's own sampling defaults would change the distribution
                    worker_extension_cls="actors.shared_memory.WorkerExtension",
                    weight_transfer_config=WeightTransferConfig(backend=shared_memory.BACKEND),
                    disable_log_stats=True,
                )
            )

    def node(self) -> str:
        """Ray's name of the node that this engine is on."""
        return str(ray.get_runtime_context().get_node_id())

    async def ready(self) -> None:
        """Answers once the engine can sample."""
        await self.engine.check_health()

    async def generate(self, prompt: Prompt, samples: int) -> Group:
        """Sample one group.

        Without a seed of its own: a seeded request crashes vLLM's CPU engine as soon as its prefill is chunked, and does not
        make sampling repeatable there.
        """
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            n=samples,
            temperature=self.settings.temperature,
            max_tokens=self.settings.max_new_tokens,
            stop_token_ids=list(self.settings.stop_token_ids),
            logprobs=0,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=False,  # token by token would take the cores that the engine computes on
        )
        name = f"{prompt.cursor}-{next(self.numbers)}"
        async with self.admission:  # no weight update ends while vLLM knows a request only in part
            queue = await self.engine.add_request(name, TokensPrompt(prompt_token_ids=list(prompt.token_ids)), params)
            request = self.requests[name] = _Request(self.version)
        if self.reporting is None:
            self.reporting = asyncio.create_task(self._report())
        try:
            final = cast("Any", await queue.get())
        finally:
            del self.requests[name]
        return Group(prompt, tuple(self._rollout(o, request.versions(o.index, len(o.token_ids))) for o in final.outputs))

    async def probe(self, token_ids: Sequence[int]) -> Floats:
        """[len - 1] log-probabilities of the tokens after the first, at temperature 1."""
        from vllm import SamplingParams, TokensPrompt

        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        request = self.engine.generate(TokensPrompt(prompt_token_ids=list(token_ids)), params, f"probe-{next(self.numbers)}")
        final = [output async for output in request][-1]
        per_token = zip(token_ids[1:], cast("Any", final.prompt_logprobs)[1:], strict=True)
        return np.array([entry[token].logprob for token, entry in per_token], np.float32)

    async def sleep(self) -> None:
        """Leave the GPU's memory to the trainer until the next weight update, which brings the weights that are given up here."""
        await self.engine.sleep(level=2)
        self.asleep = True

    async def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """First part of vLLM's weight-transfer protocol."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        await self.engine.init_weight_transfer_engine(WeightTransferInitRequest(init_info=init_info))

    async def init_far_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """The same on another node than the trainer's: with a buffer of this actor's own, whose name goes once it is mapped."""
        self.buffer = np.memmap(init_info["path"], np.uint8, "w+", shape=(init_info["size"],))
        try:
            await self.init_weight_transfer_engine(init_info)
        finally:
            os.unlink(init_info["path"])

    async def start_weight_update(self) -> None:
        """Second part. Requests stop where they are, since they would meet half a model.

        vLLM forgets their keys and values, which are of the old weights, and computes them again when it goes on.
        """
        await self.engine.pause_generation(mode="keep", clear_cache=True)
        if self.asleep:
            await self.engine.wake_up(["weights"])
        await self.engine.start_weight_update()

    async def update_weights(self, update_info: dict[str, Any], sent: Bytes | None = None) -> None:
        """Third part, once a group of layers; `sent` is what the trainer's buffer holds, where this node cannot see it."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        if sent is not None:
            self.buffer[: len(sent)] = sent
        await self.engine.update_weights(WeightTransferUpdateRequest(update_info=update_info))

    async def finish_weight_update(self, version: int) -> None:
        """Last part: requests go on, and what they sample from here on carries the new version."""
        await self.engine.finish_weight_update(str(version))
        async with self.admission:
            self.version = int(await self.engine.get_weight_version())
            if self.requests:
                await self._deliver()
                self._note_change()
        if self.asleep:
            await self.engine.wake_up(["kv_cache"])
            self.asleep = False
        await self.engine.resume_generation()

    async def _deliver(self) -> None:
        """Returns when all that the paused engine has sampled was given to its requests.

        It stood in this queue, in order, when the pause had returned: vLLM's answers come through one socket. What is put behind
        it is taken out only when everything before it has been handled.
        """
        from vllm.v1.engine import EngineCoreOutputs

        outputs = cast("Any", self.engine.engine_core).outputs_queue
        outputs.put_nowait(EngineCoreOutputs())
        while not outputs.empty():
            await asyncio.sleep(0.001)

    def _note_change(self) -> None:
        """Remember in every open request how far its samples have come; those that have ended stay as they are."""
        made: dict[str, dict[int, int]] = {name: {} for name in self.requests}
        for state in self.engine.output_processor.request_states.values():
            if state.external_req_id in made:
                made[state.external_req_id][state.request_index] = cast("Any", state.detokenizer).num_output_tokens()
        for name, request in self.requests.items():
            request.changes.append((self.version, made[name]))

    async def _report(self) -> None:
        """Report the tokens that were sampled, whenever there are more, until no request is open."""
        shown = -1
        while self.requests:
            states = self.engine.output_processor.request_states.items()
            self.sampled |= {name: cast("Any", state.detokenizer).num_output_tokens() for name, state in states}
            if (tokens := sum(self.sampled.values())) > shown:
                report("sampling", "token", tokens)
                shown = tokens
            await asyncio.sleep(REPORT_EVERY_S)
        finish()
        self.sampled.clear()
        self.reporting = None

    def _rollout(self, output: Any, versions: Ints) -> Rollout:
        tokenizer = cast("Any", self.engine.get_tokenizer())
        text = tokenizer.decode(output.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Rollout(
            token_ids=np.asarray(output.token_ids, np.int32),
            logprobs=np.array(output.logprobs.logprobs, np.float32),
            text=text,
            stop_reason=StopReason(output.finish_reason),
            policy_versions=versions,
        )

    def shutdown(self) -> None:
        """End the engine's processes."""
        self.engine.shutdown()


class Engines:
    """A Generator over N engines; each prompt goes to the engine with the fewest open groups."""

    def __init__(self, actors: Sequence[Actor], *, request_timeout_s: float, start_timeout_s: float) -> None:
        self.actors = list(actors)
        self.limit = Limit(request_timeout_s, "rollout.request_timeout_s")
        self.start_limit = Limit(start_timeout_s, "rollout.start_timeout_s")
        self.open = [0] * len(self.actors)

    async def ready(self) -> None:
        """Wait until every engine can sample."""
        pending = [actor.handle.ready.remote() for actor in self.actors]
        await call_all("start of rollout engine", self.start_limit, pending, self.actors)

    async def generate(self, prompts: Sequence[Prompt], samples: int) -> AsyncGenerator[Group, None]:
        """See tower_rl.protocols.Generator."""
        tasks = [asyncio.create_task(self._group(prompt, samples)) for prompt in prompts]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _group(self, prompt: Prompt, samples: int) -> Group:
        engine = self.open.index(min(self.open))
        self.open[engine] += 1
        try:
            actor = self.actors[engine]
            name = f"rollout engine {engine}, prompt {prompt.id}"
            return await call(name, self.limit, actor.handle.generate.remote(prompt, samples), [actor])
        finally:
            self.open[engine] -= 1

    async def rest(self) -> None:
        """See tower_rl.protocols.Generator: engines with GPUs of their own have nothing to give."""

    async def probe(self, token_ids: Sequence[int]) -> list[Floats]:
        """Each engine's log-probabilities of a fixed text."""
        return await call_all("probe of rollout engine", self.limit, [a.handle.probe.remote(token_ids) for a in self.actors])

    async def shutdown(self) -> None:
        """End the engines' processes."""
        await end("end of rollout engine", self.actors)


class ColocatedEngines(Engines):
    """Engines that work on the GPUs of the trainer's ranks: one of both has the memory."""

    async def rest(self) -> None:
        """See tower_rl.protocols.Generator."""
        await call_all("sleep of rollout engine", self.limit, [actor.handle.sleep.remote() for actor in self.actors])
