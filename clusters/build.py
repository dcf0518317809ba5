"""Makes the actors of a stage and brings them up together."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import ray
from transformers import PreTrainedTokenizerBase

from actors.datasets import RayMapper
from actors.group import Actor, call_all, spawn
from actors.policy import AdapterlessRanks, PolicyRank, Ranks, RankSettings, RlvrRanks
from actors.preference import PreferenceRank, PreferenceRanks
from actors.process import idle_env, rank_env
from actors.reference import ReferenceActor, ReferenceGroup, ReferenceRank, References
from actors.reward import RewardActor, RewardVerifier
from actors.rollout import CALLS, ColocatedEngines, Engines, EngineSettings, RolloutEngine
from actors.stalled import Limit
from actors.verification import PoolSize, Verification, VerificationActor, pools
from actors.weights import CheckedSync, EngineClient
from clusters.environment import engine_env, engine_gpus, threads_each
from clusters.placement import Slot, layout, needs_reference, options, reserve
from tower_rl.config.schema import Config, Model, RewardModel
from tower_rl.config.stages import PreferenceStage, RlvrStage
from tower_rl.data.preference.competing import Competing
from tower_rl.data.preference.reference import ReferenceCache
from tower_rl.data.rows import Answer
from tower_rl.models.load import local_folder, stop_token_ids
from tower_rl.models.reward import REWARD_FAMILIES
from tower_rl.protocols import Reference
from tower_rl.stages import preference, rlvr

R = TypeVar("R", bound=Ranks)

CONNECT_TIMEOUT_S = 120.0
"""Of calls that need no computing."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a run knows about itself when its actors are made."""

    model: Path
    """The folder that engines and trainers load."""
    logs: Path
    verdicts: Path
    """The file for verdicts that verifiers with `cache` keep."""
    attempt: int
    probe: Sequence[int]
    """Token ids of the text that weight syncs are checked with."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the answers of a preference stage are made of."""

    tokenizer: PreTrainedTokenizerBase
    answers: Mapping[str, Sequence[Answer]]
    """Those that the data give, by the ids of prompts."""


@dataclass(frozen=True, slots=True)
class _Actors:
    """Those of a stage, all ready and connected."""

    engines: Engines | None
    verification: Verification
    reference: Reference | None
    sync: CheckedSync | None


@asynccontextmanager
async def rlvr_parts(config: Config, stage: RlvrStage, slots: Sequence[Slot], place: Place) -> AsyncIterator[rlvr.Parts]:
    """The actors of an RL stage, all ready and connected; they end with the context.

    Raises:
        RunError: if one does not start in time.
    """

    def learner(actors: Sequence[Actor]) -> RlvrRanks:
        return RlvrRanks(actors, config.policy, stage)

    async with _actors(config, PolicyRank, learner, slots, place, stage.mismatch.probe) as (made, ranks):
        assert made.engines is not None and made.sync is not None
        yield rlvr.Parts(made.engines, made.verification, made.reference, ranks, made.sync)


@asynccontextmanager
async def preference_parts(
    config: Config, stage: PreferenceStage, slots: Sequence[Slot], place: Place, asked: Asked
) -> AsyncIterator[preference.Parts]:
    """The actors of a preference stage, as above; `asked` is what their answers are made of."""

    def learner(actors: Sequence[Actor]) -> PreferenceRanks:
        return PreferenceRanks(actors, config.policy, stage)

    async with _actors(config, PreferenceRank, learner, slots, place, stage.probe) as (made, ranks):
        answers = Competing(made.engines, made.verification, asked.tokenizer, asked.answers)
        cache = ReferenceCache(config.data.cache, place.model, config.model.dtype)
        yield preference.Parts(answers, RayMapper(config.data.stall_timeout_s), made.reference, cache, ranks, made.sync)


@asynccontextmanager
async def _actors(
    config: Config,
    rank: type[PolicyRank],
    learner: Callable[[Sequence[Actor]], R],
    slots: Sequence[Slot],
    place: Place,
    probe_bound: float,
) -> AsyncIterator[tuple[_Actors, R]]:
    """One actor a slot; which slots there are decides who takes part."""
    planned = layout(slots, config.cluster.gpus_per_node)
    group = reserve(planned, config.cluster.placement_timeout_s)
    async with AsyncExitStack() as ends:
        ends.callback(ray.util.remove_placement_group, group)

        def placed(role: str) -> list[dict[str, object]]:
            return options(group, planned, role)

        ranks = learner(_ranks(config, rank, place, placed("policy")))
        ends.push_async_callback(ranks.shutdown)
        engines = await _engines(config, place, placed("rollout"), ranks) if placed("rollout") else None
        if engines:
            ends.push_async_callback(engines.shutdown)
            if config.rollout.colocated or any(0 < slot.gpus < 1 for slot in slots):
                await engines.ready()  # while they start they measure what is free on their GPUs, which others must not change
        rewards = _rewards(config, place, placed("reward"))
        verification = _verification(config, place, placed("verification")[0], rewards)
        ends.push_async_callback(verification.shutdown)
        references = _references(config, place, placed("reference")) if placed("reference") else None
        if references:
            ends.push_async_callback(references.shutdown)
        await asyncio.gather(*(each.ready() for each in (engines, ranks, verification, references) if each))
        sync = await _connected(config, ranks, engines, place, probe_bound) if engines else None
        adapterless = config.policy.lora is not None and any(needs_reference(stage) for stage in config.stages)
        yield _Actors(engines, verification, AdapterlessRanks(ranks) if adapterless else references, sync), ranks


async def _connected(config: Config, ranks: Ranks, engines: Engines, place: Place, bound: float) -> CheckedSync:
    sync = CheckedSync(ranks, engines, place.probe, bound)
    client = EngineClient([actor.handle for actor in engines.actors], CONNECT_TIMEOUT_S)
    await sync.connect(f"/dev/shm/tower-rl-{uuid.uuid4().hex[:12]}", client)
    return sync


async def _engines(config: Config, place: Place, placed: Sequence[dict[str, object]], ranks: Ranks) -> Engines:
    rollout = config.rollout
    gpus: list[list[str]] = [[]] * len(placed)
    if rollout.colocated:
        pending = [actor.handle.gpus.remote() for actor in ranks.actors]
        owned = await call_all("GPUs of policy rank", Limit(CONNECT_TIMEOUT_S, ""), pending)
        gpus = engine_gpus(config, owned)
    actors = []
    for i, (options_, shared) in enumerate(zip(placed, gpus, strict=True)):
        log = place.logs / f"rollout-{i}.log"
        settings = EngineSettings(
            folder=str(place.model),
            dtype=config.model.dtype,
            on_gpu=bool(options_["num_gpus"] or shared),
            tensor_parallel=rollout.tensor_parallel,
            gpu_memory_utilization=rollout.gpu_memory_utilization,
            colocated=rollout.colocated,
            max_model_len=config.data.max_prompt_tokens + rollout.max_new_tokens,
            max_new_tokens=rollout.max_new_tokens,
            temperature=rollout.temperature,
            stop_token_ids=stop_token_ids(place.model),
            seed=config.run.seed + 1_000 * place.attempt + 100_000 * i,
            log=str(log),
        )
        options_ = {**options_, "max_concurrency": CALLS}
        actors.append(spawn(RolloutEngine, f"rollout-{i}", log, options_, engine_env(config, i, shared), settings))
    kind = ColocatedEngines if rollout.colocated else Engines
    return kind(actors, request_timeout_s=rollout.request_timeout_s, start_timeout_s=rollout.start_timeout_s)


def _ranks(config: Config, rank: type[PolicyRank], place: Place, placed: Sequence[dict[str, object]]) -> list[Actor]:
    threads = threads_each(config, len(placed))
    env = rank_env(threads, bool(placed[0]["num_gpus"]))
    actors = []
    for i, options_ in enumerate(placed):
        log = place.logs / f"policy-{i}.log"
        settings = RankSettings(str(place.model), config.model.dtype, config.policy, config.run.seed, threads, str(log))
        actors.append(spawn(rank, f"policy-{i}", log, options_, env, settings, i, len(placed)))
    return actors


def _references(config: Config, place: Place, placed: Sequence[dict[str, object]]) -> References:
    threads = threads_each(config, len(placed))
    env = rank_env(threads, bool(placed[0]["num_gpus"]))
    partitioned = config.reference.zero_stage == 3
    actor, kind = (ReferenceRank, ReferenceGroup) if partitioned else (ReferenceActor, References)
    actors = []
    for i, options_ in enumerate(placed):
        log = place.logs / f"reference-{i}.log"
        arguments = (str(place.model), config.model.dtype, config.policy.logprob_chunk, threads, str(log))
        rank = (i, len(placed)) if partitioned else ()
        actors.append(spawn(actor, f"reference-{i}", log, options_, env, *arguments, *rank))
    return kind(actors, config.reference.timeout_s)


def _rewards(config: Config, place: Place, placed: Sequence[dict[str, object]]) -> dict[str, RewardVerifier]:
    threads = threads_each(config, 1)
    entries = {name: entry for name, entry in config.verifiers.items() if isinstance(entry, RewardModel)}
    made = {}
    for (name, entry), options_ in zip(entries.items(), placed, strict=True):
        folder = local_folder(Model(path=entry.reward_model), REWARD_FAMILIES)
        log = place.logs / f"reward-{name}.log"
        arguments = (name, str(folder), entry, threads, str(log))
        actor = spawn(RewardActor, f"reward-{name}", log, options_, idle_env(threads), *arguments)
        made[name] = RewardVerifier(actor, name, entry)
    return made


def _verification(config: Config, place: Place, options_: dict[str, object], rewards: dict[str, RewardVerifier]) -> Verification:
    shared = PoolSize(config.verification.workers, config.verification.memory_mib)
    log = place.logs / "verification.log"
    arguments = (pools(config.verifiers, shared), str(place.verdicts), str(log))
    actor = spawn(VerificationActor, "verification", log, options_, {}, *arguments)
    return Verification(actor, config.verifiers, config.verification.timeout_s, rewards)
