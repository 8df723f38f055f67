"""What `--compile` compiles: the parts of an encoder that run, whichever way in a method takes.

Methods enter an encoder by `encoder(x)`, `forward_at`, `trunk` or `hidden`. Of a transformer each
block is compiled, since every way in leads through the blocks; other encoders are compiled whole.
"""

import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from shutil import which
from typing import Any

from torch import nn
from torch.fx import GraphModule

from selfwise.nn.patch_transformer import PatchBlock
from selfwise.nn.transformer import Block

BACKEND = "inductor"  # of torch.compile
MAX_VARIANTS = 128  # of one block; torch stops to compile after 8, and blocks may differ in a rate


class RunCounter:
    """How often compiled graphs have run in this process."""

    def __init__(self) -> None:
        self.count = 0


COMPILED_RUNS = RunCounter()


def compile_encoder(encoder: nn.Module) -> None:
    """Compile what runs of the encoder, in place; names of weights stay as they are."""
    import torch._dynamo

    check_compiler()
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, MAX_VARIANTS)
    for module, name in list_entry_points(encoder):
        function = torch.compile(
            getattr(type(module), name), backend=make_counting_backend(BACKEND)
        )
        # a partial, so that a deep copy of the module calls its own weights
        setattr(module, name, partial(function, module))


def list_entry_points(encoder: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The modules to compile, each with the name of a method of it."""
    blocks: list[nn.Module]
    blocks = [part for part in encoder.modules() if isinstance(part, Block | PatchBlock)]
    for module in blocks or [encoder]:
        for name in ("forward", "forward_at") if blocks else ("forward", "hidden"):
            if hasattr(module, name):
                yield module, name


@cache
def make_counting_backend(backend: str) -> Callable[..., Callable[..., object]]:
    """A backend of torch.compile that counts in `COMPILED_RUNS` how often its graphs run."""
    from torch._dynamo import lookup_backend

    make = lookup_backend(backend)

    def compiled(
        graph: GraphModule, examples: list[Any], **options: object
    ) -> Callable[..., object]:
        run = make(graph, examples, **options)

        def run_counted(*inputs: Any) -> object:
            COMPILED_RUNS.count += 1
            return run(*inputs)

        return run_counted

    return compiled


def check_compiled(before: int, encoder: nn.Module) -> None:
    """Raises ValueError if no compiled graph has run since `COMPILED_RUNS.count` was `before`.

    An encoder that leaves out layers at random may leave out all of them in a step.
    """
    skips = any(getattr(part, "layerdrop", 0) for part in encoder.modules())
    if COMPILED_RUNS.count == before and not skips:
        name = getattr(encoder, "name", type(encoder).__name__)
        raise ValueError(
            f"--compile compiled nothing that this method runs of encoder {name}: "
            "leave --compile out, or take another encoder"
        )


def check_compiler() -> None:
    """Raises ValueError if this machine has no compiler for what torch.compile writes."""
    names = [os.environ.get("CXX") or "g++", os.environ.get("CC") or "gcc"]
    if not any(map(which, names)):
        raise ValueError(
            f"--compile needs a C++ compiler, and there is no {' or '.join(names)} on the PATH: "
            "install one, or leave --compile out"
        )
