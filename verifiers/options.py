"""What the options of verifiers have in common."""

from pydantic import BaseModel, ConfigDict


class VerifierOptions(BaseModel):
    """Strict, frozen, and no key that is not known: base of a verifier's options, and by itself those of one that has none."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
