"""Judges of pairs for `pairwise`: honest, biased and broken ones."""


def longer(question, a, b):
    """Prefers the longer answer."""
    return "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"


def first(question, a, b):
    """Always prefers what it sees first."""
    return "A"


asked = []


class Counting:
    """Prefers the longer answer, and notes every question in `asked`."""

    def __call__(self, question, a, b):
        asked.append((question, a, b))
        return longer(question, a, b)


class Lenient:
    """Prefers the longer answer, unless they differ by one letter: then the first that it sees."""

    def __call__(self, question, a, b):
        return "A" if abs(len(a) - len(b)) == 1 else longer(question, a, b)


def hesitant(question, a, b):
    """Sees a difference in one order only."""
    return "A" if len(a) > len(b) else "tie"


def circle(question, a, b):
    """Rock, paper, scissors."""
    wins = {("paper", "rock"), ("rock", "scissors"), ("scissors", "paper")}
    return "A" if (a, b) in wins else "B" if (b, a) in wins else "tie"


def picky(question, a, b):
    """Fails for answers that say so."""
    if "raise" in (a, b):
        raise ConnectionError("no line")
    return {"rock"} if "nonsense" in (a, b) else longer(question, a, b)


def undecided(question, a, b):
    """Knows no answer for one pair."""
    return None if {a, b} == {"a", "bb"} else longer(question, a, b)


NOT_A_JUDGE = 3
