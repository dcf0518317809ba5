"""Errors of tower_rl.models that a user can mend."""


class ModelError(Exception):
    """A model cannot be found, is damaged, or belongs to no supported family; the message says what to do."""
