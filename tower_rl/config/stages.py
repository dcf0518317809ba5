"""The stages of a run, and the sections that they alone have."""

from typing import Annotated, Literal

from pydantic import Field

from tower_rl.config.sampling import Difficulty, DynamicSampling, Overlong
from tower_rl.config.section import Name, Positive, Section, Share, Weight


class MismatchBound(Section):
    """How far the engine's and the trainer's log-probabilities may be apart."""

    mean: Annotated[float, Field(gt=0)] = 0.1
    """Mean absolute difference over the step's tokens, in nats."""
    outside: Share = 0.3
    """Share of tokens whose probability ratio is outside [0.8, 1.25]."""
    probe: Annotated[float, Field(gt=0)] = 0.5
    """Mean absolute difference on the probe prompt after a weight sync, in nats: its tokens are not the model's own choice and
    thus unlikely, where bfloat16 alone makes about 0.1; foreign weights make several."""


class LossOptions(Section):
    """Constants of single policy losses, by verl's names and with verl's defaults; one that the loss does not heed is refused."""

    clip_ratio_c: Annotated[float, Field(gt=1)] = 3.0
    """vanilla: bound of the ratio where the advantage is negative (dual clip, arXiv:1912.09729); a large one switches it off.
    dppo_tv, dppo_kl: bound of the importance weight, for which the authors recommend a large one, e.g. 20."""
    tau_pos: Weight = 1.0
    """sapo: steepness of the gate where the advantage is positive (arXiv:2511.20347)."""
    tau_neg: Weight = 1.05
    """sapo: steepness of the gate elsewhere."""
    clip_cov_ratio: Annotated[float, Field(gt=0, le=1)] = 0.0002
    """clip_cov: share of tokens, at least one a micro-batch, that leave the loss (arXiv:2505.22617)."""
    clip_cov_lb: float = 1.0
    """clip_cov: least covariance of log-probability and advantage of tokens that may leave."""
    clip_cov_ub: float = 5.0
    """clip_cov: largest covariance of tokens that may leave."""
    kl_cov_ratio: Annotated[float, Field(gt=0, le=1)] = 0.0002
    """kl_cov: share of tokens, at least one a micro-batch, of the largest covariance, that are penalised (arXiv:2505.22617)."""
    ppo_kl_coef: Annotated[float, Field(ge=0)] = 0.1
    """kl_cov: weight of the penalty, the absolute log-ratio to the policy that sampled."""
    dro_beta: Weight | None = None
    """dro: weight of half the squared log-ratio; dro needs it (arXiv:2405.19107)."""


class Rejection(Section):
    """Responses or tokens that count nothing, since the policy at the beginning of the step would have sampled them far more or
    far less often."""

    ratio: Literal["token", "sequence", "geometric"] = "sequence"
    """The probability ratio of that policy to the one that sampled, which must be within the bounds: of each token for itself
    (IcePop, arXiv:2510.18855), of the whole response, or the geometric mean of its tokens' ratios, which does not depend on its
    length. The latter two reject responses as a whole; in verl they are token_k1, seq_sum_k1 and seq_mean_k1."""
    low: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Least ratio."""
    high: Annotated[float, Field(ge=1)] = 2.0
    """Greatest ratio."""


class Correction(Section):
    """What rollouts count that were not sampled by the policy at the beginning of the step: by an older one, or by the engine's
    other arithmetic (verl's rollout correction)."""

    weights: Literal["token", "sequence", "none"] = "token"
    """Importance weights of the loss, the ratio of that policy to the one that sampled: by token (TIS,
    fengyao.notion.site/off-policy-rl), by whole response (without bias, but the variance grows with the length), or none, so that
    ratios are only measured and, if asked for, rejected."""
    truncate: Annotated[float, Field(ge=1)] = 2.0
    """Upper bound of a weight."""
    reject: Rejection | None = None
    """Bounds outside which tokens or responses are left out."""


class Asynchronous(Section):
    """Sampling goes on while the policy trains (the asynchronous loop)."""

    staleness: Annotated[int, Field(ge=0)]
    """Most updates between the weights that sampled a token and those that train on it (eta in arXiv:2505.24298); so many steps
    are sampled ahead. At 0 a step is sampled with the weights that it trains."""


class RlvrStage(Section):
    """Reinforcement learning with verifiable rewards."""

    name: Name
    """Name of the stage, unique in the run."""
    kind: Literal["rlvr"]
    """Kind of the stage."""
    steps: Positive
    """Batches of rollouts; each makes `mini_batches` times `epochs` optimizer steps, all at the learning rate of this step."""
    advantage: str = "grpo"
    """Advantage estimator, by verl's name (docs/algorithms.md)."""
    normalize_by_std: bool = True
    """Divide a group's centred rewards by their standard deviation (grpo, grpo_passk, gdpo); false is Dr. GRPO's choice."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount a token of later rewards, for reinforce_plus_plus."""
    reward_parts: dict[str, Weight] = {}
    """For gdpo: the parts of verdicts that are normalised each for itself, and their weights in the sum (arXiv:2601.05242)."""
    loss: str = "vanilla"
    """Policy loss, by verl's name (docs/algorithms.md)."""
    loss_options: LossOptions = LossOptions()
    """Constants of single losses."""
    aggregation: Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"] = "token-mean"
    """How token losses become one number, by verl's name."""
    length_divisor: Positive | None = None
    """Tokens by which seq-mean-token-sum-norm divides every response's sum: a constant, such as `rollout.max_new_tokens`."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Lower clip of the importance ratio; the lower bound of the divergence for dppo_tv and dppo_kl."""
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    """Upper clip of the importance ratio; the upper bound of the divergence for dppo_tv and dppo_kl."""
    mini_batches: Positive = 1
    """Parts into which the groups of a step are dealt out, as evenly as possible; each makes an optimizer step."""
    epochs: Positive = 1
    """How often each mini-batch is trained on. With more than one optimizer step, the importance ratio is over the trainer's own
    log-probabilities at the beginning of the step, which takes a forward pass."""
    correction: Correction | None = None
    """Correction of the difference between the policy at the beginning of the step and the one that sampled, which takes a
    forward pass. null: the defaults of this section where `asynchronous.staleness` is above 0; elsewhere none, which leaves it to
    the clipping where there is one optimizer step, and uncorrected where there are more."""
    kl_coefficient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL term towards the reference; 0 starts no reference."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the KL term stands: in the loss, or taken from the reward of each token before the advantages are estimated."""
    kl_estimator: Literal["k1", "k1+", "k2", "k3", "k3+"] = "k3"
    """Estimator of the KL divergence (Schulman, 2020). With + its value has the gradient of k2, which is that of the divergence.
    As a loss, k1 alone has an expected gradient of zero."""
    save_every: Positive = 10
    """Steps between checkpoints; the last step always makes one."""
    keep_last: Positive = 2
    """Checkpoints to keep."""
    mismatch: MismatchBound = MismatchBound()
    """Bounds on the difference between engine and trainer; beyond them the run stops."""
    dynamic_sampling: DynamicSampling | None = None
    """Replace groups that teach nothing by groups of further prompts. Without it all groups are trained on."""
    overlong: Overlong | None = None
    """Penalty for long responses, and what becomes of those that the token limit cut."""
    difficulty: Difficulty | None = None
    """Pass over prompts that were solved or hopeless when they were last sampled."""
    asynchronous: Asynchronous | None = None
    """Overlap sampling and training; without this section a step is sampled with the newest weights, then trained on."""

    @property
    def overlaps(self) -> bool:
        """Whether steps are sampled while others train."""
        return self.asynchronous is not None and self.asynchronous.staleness > 0

    @property
    def rollout_correction(self) -> Correction | None:
        """The correction that holds: rollouts that were sampled ahead are corrected unless the stage says how."""
        return self.correction or (Correction() if self.overlaps else None)

    @property
    def recomputes(self) -> bool:
        """Whether old log-probabilities are the trainer's own, at the beginning of the step."""
        return self.mini_batches * self.epochs > 1 or self.rollout_correction is not None


class Weighting(Section):
    """WPO (arXiv:2406.11827): a pair counts as much as the policy would have answered so itself."""

    alignment: Literal["sampled", "greedy", "none"] = "sampled"
    """What the log-probability of each token is held against: that of another sample, of the greedy token, or nothing."""
    clamp: bool = True
    """Whether the product of a pair's two weights is at most 1, as in the authors' own training."""


class PairSelection(Section):
    """Which two answers to a prompt become its pair."""

    rule: Literal["best_worst", "best_random", "ranked"] = "best_worst"
    """The best against the worst by score (arXiv:2406.11827: of equally good answers the shortest, of equally bad ones that
    nearest to it in length), the best against any worse one, or the best against the worst by `order`."""
    order: list[str] = []
    """Origins of answers, the preferred first, for the rule ranked."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Least difference of scores; by the rule ranked, of places."""
    similarity: Share = 0.95
    """Answers that share more of their runs of three characters make no pair."""
    chosen_from: list[str] = []
    """Origins that may be chosen: `policy` (its own samples), `off_policy` (all others), or names that the data give; empty for
    all."""
    rejected_from: list[str] = []
    """Origins that may be rejected."""
    max_tokens: Positive = 512
    """Most tokens of a prompt and an answer together; longer ones are left out, never cut."""
    per_language_pair: Positive | None = None
    """Most pairs of each language pair in a round."""
    held_out: Share = 0.05
    """Share of the prompts whose pairs are kept for validation, by their ids."""


class PreferenceStage(Section):
    """Preference optimization on pairs of answers: sampled from the policy, given by the data, or both."""

    name: Name
    """Name of the stage, unique in the run."""
    kind: Literal["preference"]
    """Kind of the stage."""
    steps: Positive
    """Optimizer steps, over all rounds."""
    steps_per_round: Positive | None = None
    """Steps after which answers are sampled anew, with the weights trained so far; without, all steps are one round."""
    prompts_per_round: Positive
    """Prompts from which a round's pairs are made."""
    pairs_per_step: Positive = 128
    """Pairs of a step, over all ranks."""
    answers: Literal["sampled", "given", "both"] = "sampled"
    """Which answers compete: `rollout.group_size` samples of the policy, those that the data give, or all of them together."""
    selection: PairSelection = PairSelection()
    """Which two answers to a prompt become its pair."""
    loss: Literal["dpo", "dpo_norm", "ipo", "simpo", "orpo", "kto"] = "dpo"
    """What is minimised; dpo_norm is dpo with log-ratios a token. simpo and orpo need no reference."""
    beta: Annotated[float, Field(gt=0)] = 0.01
    """Scale of rewards; of the odds ratio's term for orpo; 1 / (2 beta) is the margin that ipo aims at."""
    weighting: Weighting | None = None
    """WPO's weights, on dpo, ipo or simpo."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs whose label is taken to be wrong, for dpo, dpo_norm and simpo."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """By how much scaled rewards shall differ, for dpo, dpo_norm and simpo: the gamma of simpo."""
    nll_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the chosen answers' mean negative log-probability a token."""
    save_every: Positive = 50
    """Steps between checkpoints; the last step of a round always makes one."""
    keep_last: Positive = 2
    """Checkpoints to keep."""
    probe: Annotated[float, Field(gt=0)] = 0.5
    """Mean absolute difference between engine and trainer on the probe prompt after a weight sync, in nats, above which the run
    stops."""

    @property
    def round_steps(self) -> int:
        """Steps of a round; the last may have fewer."""
        return self.steps_per_round or self.steps

    @property
    def rounds(self) -> int:
        """How often answers are sampled."""
        return -(-self.steps // self.round_steps)

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares with the starting policy."""
        return self.loss not in ("simpo", "orpo")

    @property
    def samples(self) -> bool:
        """Whether engines sample answers."""
        return self.answers != "given"


class SupervisedStage(Section):
    """What cpt and sft have in common."""

    name: Name
    """Name of the stage, unique in the run."""
    steps: Positive
    """Optimizer steps."""
    tokens_per_step: Positive = 8192
    """Tokens of a step, padding not counted, over all ranks; rounded to whole packs."""
    sequence_length: Annotated[int, Field(ge=2)] = 1024
    """Tokens of a pack; longer documents are cut (cpt) or left out (sft)."""
    weights: dict[Name, Weight] = {}
    """Share of each corpus in the tokens (any scale), for all of them or for none; without, each has its own number of tokens."""
    language_temperature: Share = 1.0
    """Inside a corpus, a language counts by its number of tokens to this power: 1 as they are, 0 all alike."""
    held_out: Share = 0.01
    """Share of each corpus's documents that is kept for validation, by their text."""
    evaluate_every: Positive = 100
    """Steps between validations; there is always one before the first step and one after the last."""
    feed: Literal["materialised", "streaming"] = "materialised"
    """Prepared files, read by (seed, epoch, step, rank), exact on resume; or prepared while training, without that claim."""
    save_every: Positive = 100
    """Steps between checkpoints; the last step always makes one."""
    keep_last: Positive = 2
    """Checkpoints to keep."""
    restarts: Annotated[int, Field(ge=0)] = 1
    """How often a lost worker may bring the group back to the newest checkpoint."""


class CptStage(SupervisedStage):
    """Continued pretraining: every token of every document is learned."""

    kind: Literal["cpt"]
    """Kind of the stage."""


class SftStage(SupervisedStage):
    """Supervised fine-tuning: the assistant's turns are learned, with the token that ends them."""

    kind: Literal["sft"]
    """Kind of the stage."""
