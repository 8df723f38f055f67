"""Parts of an encoder that `--compile` compiles, for every way in which a method may call it.

Methods call an encoder by `encoder(x)`, `forward_at`, `trunk` or `hidden`. In a transformer each
block is compiled, since every call goes through the blocks; other encoders are compiled whole.
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
MAX_VARIANTS = 128  # of one block; torch stops compiling after 8, and blocks may differ in a rate


class RunCounter:
    """Number of times that compiled graphs ran in this process."""

    def __init__(self) -> None:
        self.count = 0


COMPILED_RUNS = RunCounter()


def compile_encoder(encoder: nn.Module) -> None:
    """Compile the encoder's modules that run, in place; names of weights stay unchanged."""
    import torch._dynamo

    check_compiler()
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, MAX_VARIANTS)
    for module, name in list_entry_points(encoder):
        function = torch.compile(
            getattr(type(module), name), backend=make_counting_backend(BACKEND)
        )
        # a partial, so that a deep copy of the module calls the copy's weights
        setattr(module, name, partial(function, module))


def list_entry_points(encoder: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield the modules to compile, each with the name of its method."""
    blocks: list[nn.Module]
    blocks = [part for part in encoder.modules() if isinstance(part, Block | PatchBlock)]
    for module in blocks or [encoder]:
        for name in ("forward", "forward_at") if blocks else ("forward", "hidden"):
            if hasattr(module, name):
                yield module, name


@cache
def make_counting_backend(backend: str) -> Callable[..., Callable[..., object]]:
    """Return a backend of torch.compile that counts in `COMPILED_RUNS` how often its graphs run."""
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
    """Raise ValueError if no compiled graph has run since `COMPILED_RUNS.count` was `before`.

    An encoder that skips layers at random may skip all of them in a step.
    """
    skips = any(getattr(part, "layerdrop", 0) for part in encoder.modules())
    if COMPILED_RUNS.count == before and not skips:
        name = getattr(encoder, "name", type(encoder).__name__)
        raise ValueError(
            f"--compile compiled nothing that this method runs of encoder {name}: "
            "leave out --compile, or choose another encoder"
        )


def check_compiler() -> None:
    """Raise ValueError if this machine has no compiler for the code that torch.compile writes."""
    names = [os.environ.get("CXX") or "g++", os.environ.get("CC") or "gcc"]
    if not any(map(which, names)):
        raise ValueError(
            f"--compile needs a C++ compiler, and {' or '.join(names)} was not found on the PATH: "
            "install one, or leave out --compile"
        )
