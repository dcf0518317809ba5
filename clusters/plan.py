"""What a run would place where, in words. Needs no cluster."""

from clusters.placement import slots
from tower_rl.config.schema import Config


def describe(config: Config) -> str:
    """The plan of a run: its actors, what each asks Ray for, and the size of a step."""
    rollout, policy = config.rollout, config.policy
    lines = [
        f"{config.run.name}: model {config.model.path}, run folder {config.run.dir}, Ray {config.cluster.address}",
        "",
        "actors",
    ]
    on_gpus = slots(config, 1e9)
    for role in dict.fromkeys(slot.role for slot in on_gpus):
        places = [slot for slot in on_gpus if slot.role == role]
        lines.append(f"  {len(places)} x {role}: {places[0].cpus:.0f} CPU, {places[0].gpus:.0f} GPU each (none without GPUs)")
    rollouts = rollout.prompts_per_step * rollout.group_size
    lines += ["", "a step"]
    lines += [
        f"  {rollout.prompts_per_step} prompts x {rollout.group_size} samples = {rollouts} rollouts",
        f"  at most {rollouts * rollout.max_new_tokens} new tokens, {policy.tokens_per_micro_batch} packed tokens a forward pass",
        f"  {policy.workers} data-parallel ranks, ZeRO stage {policy.zero_stage}",
        "",
        "stages",
    ]
    lines += [
        f"  {i}-{s.name}: {s.steps} steps, checkpoint every {s.save_every}, KL {s.kl_coefficient}"
        for i, s in enumerate(config.stages)
    ]
    return "\n".join(lines)
