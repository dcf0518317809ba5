"""The trainer's parameters as vLLM's weight-transfer engines want them. Imported in trainer processes only: it loads vLLM."""

from collections.abc import Iterator

from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from tower_rl.models.engine import Rank
from tower_rl.status import tracked


class TrainerSource(WeightSource):
    """The weights of a trainer in Hugging Face's names, adapters merged into them, one group of layers at a time."""

    def __init__(self, trainer: Rank) -> None:
        self.trainer = trainer

    def metadata(self) -> list[ParamMeta]:
        """Name, dtype and whole shape of each parameter."""
        return [ParamMeta(*entry) for entry in self.trainer.described()]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for names, tensors in self.iter_groups():
            yield from zip(names, tensors, strict=True)

    def iter_groups(self) -> Iterator[tuple[list[str], list[Tensor]]]:
        """A collective: every rank gathers the same group at the same time."""
        for names in tracked("sending weights", "layer group", self.groups()):
            with self.trainer.whole(names) as tensors:
                yield names, tensors
