"""Too short, too long, or of a length that no translation has; and translations that are none."""

from dataclasses import dataclass

import pyarrow as pa

from tower_rl.data.corpus.cleaning.table import Loss, Record, drop_by
from tower_rl.data.width import width
from verifiers.text import letters
from verifiers.translation.languages import base


@dataclass(frozen=True)
class Length:
    """Bounds on the characters of a text, of both sides of a pair, and of a chat's messages together; on a pair's ratio."""

    min_characters: int
    max_characters: int
    max_ratio: float
    """Of the sides' lengths in columns, see tower_rl.data.width."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Drops `length: too short`, `length: too long` and `length: ratio`."""
        return drop_by(table, self._judge)

    def _judge(self, record: Record) -> Loss | None:
        lengths = [len(text.strip()) for text in record.texts]
        if record.kind == "chat":
            lengths = [sum(lengths)]
        if min(lengths) < self.min_characters:
            return "length: too short", f"{min(lengths)} characters"
        if max(lengths) > self.max_characters:
            return "length: too long", f"{max(lengths)} characters"
        if record.kind != "pair":
            return None
        original, translation = (width(text.strip()) for text in record.texts)
        if max(original, translation) > self.max_ratio * min(original, translation):
            return "length: ratio", f"{translation} columns for {original}"
        return None


def untranslated(table: pa.Table) -> pa.Table:
    """Drops `untranslated: copy`: a translation that is the original, has letters, and is in another language."""
    return drop_by(table, _judge_copy)


def _judge_copy(record: Record) -> Loss | None:
    if record.kind != "pair" or record.texts[0].strip() != record.texts[1].strip() or not letters(record.texts[0]):
        return None
    original, translation = record.languages
    if original and base(original) == base(translation):
        return None
    return "untranslated: copy", "the translation is the original"
