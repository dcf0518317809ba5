"""A weight-transfer engine of vLLM's kind whose data plane is shared memory, on any device.

The trainer writes one group of layers at a time into a file below /dev/shm, the engine's worker maps it, or on another node a
file into which the engine's actor copies what was sent (actors.weights). Each tensor travels
with a checksum of its name, dtype, shape and bits, taken before it is written and checked after it is mapped, before
vLLM fuses and repacks it. vLLM's worker imports this module by `worker_extension_cls`, so it must not import Ray.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    VLLMWeightSyncClient,
    WeightSource,
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory

BACKEND = "shared_memory"
_ALIGN = 64
_ROW = 4096


class WorkerExtension:
    """Named as vLLM's `worker_extension_cls`, so that the worker process imports this module and knows the backend."""


def checksum(name: str, tensor: Tensor) -> int:
    """A 63-bit integer of a tensor's name, dtype, shape and bits; position-sensitive, the same on every device.

    Words are weighted by odd numbers that depend on their place, so no swap of unequal words goes unseen.
    """
    header = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    raw = tensor.detach().contiguous().view(-1).view(torch.uint8)
    whole = len(raw) // 8 * 8
    words = raw[:whole].view(torch.int64)
    tail = raw[whole:].to(torch.int64)
    rows = len(words) // _ROW
    place = torch.arange(_ROW, device=raw.device, dtype=torch.int64) * 2 + 1
    total = (words[: rows * _ROW].view(rows, _ROW) * place).sum(1)
    total = (total * (torch.arange(rows, device=raw.device, dtype=torch.int64) * 2 + 1)).sum()
    for rest, salt in ((words[rows * _ROW :], 3), (tail, 5)):
        total = total * 31 + (rest * (place[: len(rest)] + salt * 2)).sum()
    return (int(total) ^ (header << 29)) & (2**63 - 1)


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Told to each worker once: where the weights will be, and how many tensors make a whole update."""

    path: str
    size: int
    tensors: int


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """One group of tensors: place, description and checksum of each, and the bytes of the buffer that all of them take."""

    names: list[str]
    dtypes: list[str]
    shapes: list[list[int]]
    offsets: list[int]
    checksums: list[int]
    size: int


class SharedMemoryEngine(WeightTransferEngine[InitInfo, UpdateInfo]):
    """The worker's side."""

    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        """Map the trainer's buffer."""
        self.buffer = _map(init_info.path, init_info.size)
        self.expected = init_info.tensors

    def start_weight_update(self) -> None:
        """Prepare the model for weights in checkpoint format."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        self.received: set[str] = set()
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Check a group and load it.

        Raises:
            ValueError: if a tensor's checksum differs from the sender's; the engine then must not be used.
        """
        weights = list(self._tensors(update_info))
        for (name, tensor), expected in zip(weights, update_info.checksums, strict=True):
            if checksum(name, tensor) != expected:
                raise ValueError(f"weight sync: {name} arrived with other bits than were sent")
        # vLLM may keep a tensor until its layer is complete, past the next group's arrival in the same buffer
        model: Any = self.model
        model.load_weights((name, tensor.clone()) for name, tensor in weights)
        self.received.update(update_info.names)

    def finish_weight_update(self) -> None:
        """Let vLLM fuse and repack the new weights.

        Raises:
            ValueError: if tensors are missing.
        """
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        if len(self.received) != self.expected:
            raise ValueError(f"weight sync: {len(self.received)} of {self.expected} tensors arrived")
        finalize_layerwise_reload(self.model, self.model_config)
        _repack_tied_head(self.model)

    def shutdown(self) -> None:
        """Nothing to release: the trainer owns the buffer."""

    def _tensors(self, info: UpdateInfo) -> Iterator[tuple[str, Tensor]]:
        for name, dtype_name, shape, offset in zip(info.names, info.dtypes, info.shapes, info.offsets, strict=True):
            dtype = getattr(torch, dtype_name)
            size = torch.Size(shape).numel() * dtype.itemsize
            yield name, self.buffer[offset : offset + size].view(dtype).view(shape)


def _repack_tied_head(model: Any) -> None:
    """Bring a head that shares the embedding's weight up to date.

    vLLM's CPU kernels multiply with a packed copy, and the layerwise reload packs only layers that received weights of their
    own: without this the engine would sample with the head that it started with. A model without a head (Gemma 2 in vLLM)
    multiplies with the embedding itself, which has received weights.
    """
    if model.config.tie_word_embeddings and hasattr(model, "lm_head"):
        head = model.lm_head.tie_weights(model.model.embed_tokens)
        head.quant_method.process_weights_after_loading(head)


@dataclass
class TrainerInit(TrainerInitInfo):
    """The trainer's side of the handshake."""

    backend: ClassVar[str] = BACKEND
    path: str


class SharedMemoryTrainer(TrainerWeightTransferEngine[TrainerInit]):
    """The trainer's side; every rank iterates the source, rank 0 writes and talks to the engines."""

    init_info_cls = TrainerInit

    @classmethod
    def trainer_init(cls, init_info: TrainerInit, *, client: VLLMWeightSyncClient, source: WeightSource | None = None) -> Self:
        """Create the buffer, as large as the largest group, and tell the engines.

        Once all have mapped it, its name goes, so that nothing is left of it after the processes, however they end from then on.
        """
        if source is None:
            raise ValueError("the shared-memory engine needs a WeightSource")
        engine = cls(client=client, source=source, is_sender=init_info.is_sender)
        if engine.is_sender:
            sizes = {m.name: _aligned(torch.Size(m.shape).numel() * m.dtype.itemsize) for m in source.metadata()}
            size = max(sum(sizes[name] for name in group) for group in source.groups())
            engine.buffer = _map(init_info.path, size, create=True)
            try:
                client.init_weight_transfer_engine({"path": init_info.path, "size": size, "tensors": len(sizes)})
            finally:
                os.unlink(init_info.path)
        return engine

    buffer: Tensor

    def send_weights(self) -> None:
        """One whole update; the client's `finish_weight_update` makes it current."""
        assert self.source is not None
        if self.is_sender:
            self.client.start_weight_update()
        for names, tensors in self.source.iter_groups():  # every rank takes part: ZeRO gathers
            if self.is_sender:
                self.client.update_weights(self._write(names, tensors))
        if self.is_sender:
            self.client.finish_weight_update()

    def shutdown(self) -> None:
        """Nothing to release: the buffer ends with the processes that have mapped it."""

    def _write(self, names: list[str], tensors: list[Tensor]) -> dict[str, Any]:
        info: dict[str, list[Any]] = {"names": names, "dtypes": [], "shapes": [], "offsets": [], "checksums": []}
        offset = 0
        for name, tensor in zip(names, tensors, strict=True):
            info["dtypes"].append(str(tensor.dtype).removeprefix("torch."))
            info["shapes"].append(list(tensor.shape))
            info["offsets"].append(offset)
            info["checksums"].append(checksum(name, tensor))
            raw = tensor.detach().contiguous().view(-1).view(torch.uint8)
            self.buffer[offset : offset + len(raw)].copy_(raw)
            offset += _aligned(len(raw))
        return info | {"size": offset}


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _map(path: str, size: int, create: bool = False) -> Tensor:
    with open(path, "wb" if create else "r+b") as file:  # torch would make a file that is not there
        if create:
            file.truncate(size)
        return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)


def register() -> None:
    """Make the backend known to vLLM's two factories, once a process."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, SharedMemoryEngine)
        WeightTransferTrainerFactory.register_engine(BACKEND, SharedMemoryTrainer)


register()
