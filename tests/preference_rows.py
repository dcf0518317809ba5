"""Made-up candidates and pairs."""

from tower_rl.data.preference.types import Candidate, Candidates, Pair
from tower_rl.types import Prompt


def prompt(name="s/1", tokens=2, **rest):
    """A prompt of so many tokens."""
    facts = {"verifier": "v", "reference": None, "meta": {}, "source": "s", "cursor": 0, "language_pair": "en-de"} | rest
    return Prompt(name, ({"role": "user", "content": "Say it."},), tuple(range(tokens)), **facts)


def candidate(text, score=None, length=3, origin="policy@0", **rest):
    """An answer of so many tokens."""
    facts = {"scores": {} if score is None else {"v": score}} | rest
    return Candidate(text=text, token_ids=tuple(range(length)), origin=origin, score=score, **facts)


def candidates(*listed, **facts):
    """All of one prompt."""
    return Candidates(prompt(**facts), listed)


def pair(name="s/1", *, chosen=3, rejected=3, score=1.0, worse=0.0, origins=("policy@0", "policy@0"), **facts):
    """A pair of answers with so many tokens and these scores."""
    better = candidate("yes", score, chosen, origins[0])
    return Pair(prompt(name, **facts), better, candidate("no", worse, rejected, origins[1]))
