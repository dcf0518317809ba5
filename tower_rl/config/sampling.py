"""Sections that say which rollouts of an rlvr stage are learned from."""

from typing import Annotated

from pydantic import Field

from tower_rl.config.section import Positive, Section, Share, Weight


class DynamicSampling(Section):
    """Groups that teach nothing are replaced by groups of the stream's next prompts (DAPO, arXiv 2503.14476, eq. 11). A group
    teaches when its verifier's scores differ and their mean is within the bounds."""

    max_refills: Positive = 9
    """Further rounds of sampling a step, each of as many prompts as groups are missing; the step then trains on what there is.
    Ten rounds in all."""
    min_mean: Share = 0.0
    """Smallest mean score of a group that is trained on."""
    max_mean: Share = 1.0
    """Largest mean score of a group that is trained on."""


class Overlong(Section):
    """What is done about responses that come near the token limit or reach it (DAPO, arXiv 2503.14476, section 3.4)."""

    mask: bool = False
    """Leave responses that the limit cut out of the loss; their scores stay in the statistics of their groups."""
    soft_buffer: Annotated[int, Field(ge=0)] = 0
    """The last so many of `rollout.max_new_tokens` cost: over them the reward falls linearly by `penalty` (eq. 13). 0: none."""
    penalty: Weight = 1.0
    """What a response of `max_new_tokens` loses; eq. 13 has 1, as large as the reward of a right answer."""


class Difficulty(Section):
    """Prompts that taught nothing when they were last sampled are passed over for some time."""

    hopeless: Share = 0.0
    """A group with this mean score or a smaller one taught nothing."""
    solved: Share = 1.0
    """A group with this mean score or a larger one taught nothing."""
    min_std: Annotated[float, Field(ge=0)] = 0.0
    """A group whose scores have this standard deviation (over G) or a smaller one taught nothing."""
    visits: Positive = 1
    """So many groups of a prompt in a row must have taught nothing before it is passed over."""
    rest: Positive = 1
    """How many times it is then passed over where the stream has it, i.e. for how many epochs of its source."""
