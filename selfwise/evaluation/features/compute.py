"""Where an encoder runs while it computes features."""

from dataclasses import dataclass

import torch

from selfwise.core.errors import did_you_mean
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class ComputeOptions:
    """The device, the precision, and the processes that share the work."""

    device: torch.device | str = "cpu"
    precision: str = "float32"
    env: DistributedEnv = SINGLE_PROCESS

    def autocast(self) -> torch.autocast:
        """Makes the encoder compute in the precision. Raises ValueError for an unknown one."""
        if self.precision not in PRECISIONS:
            nearest = did_you_mean(self.precision, PRECISIONS)
            raise ValueError(f"unknown precision {self.precision!r}{nearest}")
        device_type = torch.device(self.device).type
        return torch.autocast(device_type, torch.bfloat16, enabled=self.precision == "bf16")


ON_CPU = ComputeOptions()
