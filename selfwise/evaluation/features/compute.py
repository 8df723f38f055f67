"""Device, precision and processes of an encoder that computes features."""

from dataclasses import dataclass

import torch

from selfwise.core.device import autocast, check_evaluation_precision
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv


@dataclass(frozen=True)
class ComputeOptions:
    """The device, the precision, and the processes that share the work."""

    device: torch.device | str = "cpu"
    precision: str = "float32"
    env: DistributedEnv = SINGLE_PROCESS

    def autocast(self) -> torch.autocast:
        """Make the encoder compute in the precision. Raises ValueError for an unknown one."""
        check_evaluation_precision(self.precision)
        return autocast(self.device, self.precision)


ON_CPU = ComputeOptions()
