"""Text in, `Verdict` out: reward verifiers that know nothing of models, Ray or training.

    verifier = verifiers.load("math", language="de")
    verdict, = verifiers.verify(verifier, [verifiers.Task("Was ist 3/2?", r"\\boxed{1,5}", reference="1.5")])

Judge text of a model that is being trained in `verifiers.pool` only: CPU-bound Python can be stopped as a process, not otherwise.
"""

from verifiers.calls import verify
from verifiers.registry import load
from verifiers.types import Status, Task, Verdict, Verifier, invalid, scored

__all__ = ["Status", "Task", "Verdict", "Verifier", "invalid", "load", "scored", "verify"]
