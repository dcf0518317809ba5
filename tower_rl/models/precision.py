"""The dtype of a run: the one in which its machines multiply matrices fast, the same for all actors."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tower_rl.config.schema import Config, RewardModel

SIZE = 256
"""Rows of the matrices whose products are timed: 0.1 s where bfloat16 is emulated at 0.3 GFLOP/s."""
REPEATS = 5
LARGE = 1024
"""Rows of the matrices that show the rate of long products."""


@dataclass(frozen=True, slots=True)
class Products:
    """Matrix products of one machine."""

    machine: str
    device: str
    """`CPU`, or the name of the GPU."""
    reported: bool | None
    """Whether torch reports products of bfloat16; None where only their speed tells."""
    rates: tuple[float, float] | None
    """GFLOP/s of small products in bfloat16 and float32; None on GPUs, which are not timed."""

    @property
    def has_bfloat16(self) -> bool:
        """Whether bfloat16 is worth computing in."""
        if self.reported is not None or self.rates is None:
            return bool(self.reported)
        bfloat16, float32 = self.rates
        return bfloat16 > float32

    @property
    def figures(self) -> str:
        """The measured rates in words, empty on GPUs."""
        return "" if self.rates is None else f", {self.rates[1]:.3g} against {self.rates[0]:.2g} GFLOP/s"


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtype of a run, and why."""

    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"{self.dtype}: {self.reason}"


def measure(machine: str = "this machine") -> Products:
    """Measure the matrix products of this machine, of its first GPU where torch sees one."""
    if torch.cuda.is_available():
        return Products(machine, torch.cuda.get_device_name(), torch.cuda.get_device_capability() >= (8, 0), None)
    return Products(machine, "CPU", _reported(), (rate(torch.bfloat16, SIZE), rate(torch.float32, SIZE)))


def rate(dtype: torch.dtype, size: int) -> float:
    """Return the GFLOP/s of square matrix products on the CPU: the best of some, since others may compute, too."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):  # the first one picks and builds the kernel
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:]) / 1e9


def _reported() -> bool | None:
    """Whether torch says that this CPU multiplies bfloat16.

    oneDNN counts a CPU with AVX-512 alone, too, where it emulates them; it heeds ONEDNN_MAX_CPU_ISA, the CPU's own flags do not.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return True if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else None


def choose(machines: Sequence[Products]) -> Precision:
    """Choose the dtype of a run on these machines: that of the slowest kind."""
    without = [each for each in machines if not each.has_bfloat16]
    if not machines:
        return Precision("bfloat16", "no GPU has joined yet, and those that will are taken to have its products")
    if not without:
        devices = ", ".join(dict.fromkeys(_indefinite(each) for each in machines))
        return Precision("bfloat16", f"{devices} has products of it")
    return Precision("float32", f"{_lacking(machines, without)} no bfloat16 products{without[0].figures}")


def warning(dtype: str, machines: Sequence[Products]) -> str:
    """Return what to tell who computes in bfloat16 on machines without its products; nothing where there is nothing to tell."""
    without = [each for each in machines if not each.has_bfloat16]
    if dtype != "bfloat16" or not without:
        return ""
    rates = without[0].rates
    slower = (
        "" if rates is None else f": {rates[0]:.2g} GFLOP/s where float32 reaches {rates[1]:.3g}, {rates[1] / rates[0]:.0f} times"
    )
    return f"the run computes in bfloat16, but {_lacking(machines, without)} no bfloat16 products{slower}"


def with_dtype(config: Config, dtype: str) -> Config:
    """Return the configuration with this dtype for the model, and for reward models that leave it open."""
    verifiers = {
        name: entry.model_copy(update={"dtype": dtype}) if isinstance(entry, RewardModel) and entry.dtype == "auto" else entry
        for name, entry in config.verifiers.items()
    }
    return config.model_copy(update={"model": config.model.model_copy(update={"dtype": dtype}), "verifiers": verifiers})


def _indefinite(each: Products) -> str:
    return "this CPU" if each.device == "CPU" else each.device


def _lacking(machines: Sequence[Products], without: Sequence[Products]) -> str:
    """Who has no products of bfloat16, up to the verb."""
    if len(machines) == 1:
        return f"{_indefinite(without[0])} has"
    names = ", ".join(each.machine for each in without)
    return f"{names} of {len(machines)} nodes {'has' if len(without) == 1 else 'have'}"
