"""A lack of memory as one sentence, and a warning of a limit that is too low to start with."""

from importlib.util import find_spec
from pathlib import Path

# how torch, CUDA and the loader of libraries say that memory is missing
NO_MEMORY = (
    "t allocate memory",
    "out of memory",
    "failed to map segment",
    "Cannot allocate memory",
)
# address space that imports take: this many times torch's libraries, and that of all else
TIMES_LIBRARIES, OTHER_IMPORTS = 2.2, 2 * 2**30


def describe_memory_error(error: Exception) -> str:
    """Return a lack of memory as one sentence; empty for any other error.

    torch raises it as RuntimeError, and a library that does not fit into memory as ImportError.
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not any(part in text for part in NO_MEMORY):
        return ""
    limit = find_memory_limit()
    allowed = f" (ulimit -v allows {limit / 2**30:.3g} GiB)" if limit else ""
    detail = f": {text.splitlines()[0]}" if text else ""
    advice = "raise the limit, or use" if limit else "use"
    return f"not enough memory{allowed}{detail}; {advice} a smaller batch, encoder or input"


def warn_of_limit() -> str:
    """Return a warning if the imports may not fit into the limit of memory; else nothing."""
    limit, torch = find_memory_limit(), find_spec("torch")
    if not limit or torch is None or torch.origin is None:
        return ""
    libraries = Path(torch.origin).parent / "lib"
    size = sum(path.stat().st_size for path in libraries.glob("*.so*"))
    needed = TIMES_LIBRARIES * size + OTHER_IMPORTS
    if limit >= needed:
        return ""
    return (
        f"warning: ulimit -v allows {limit / 2**30:.3g} GiB, and torch with its libraries takes "
        f"about {needed / 2**30:.3g} GiB of addresses: a library that finds no memory may end the "
        "program without a sentence"
    )


def find_memory_limit() -> int:
    """Return the largest address space of this process in bytes; 0 without a limit."""
    try:
        import resource
    except ImportError:  # Windows has none
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return 0 if soft == resource.RLIM_INFINITY else soft
