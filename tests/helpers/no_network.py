"""What a test asks of other machines is refused, and remembered."""

import socket

REACHED: list[str] = []  # what tests asked of the network, beyond this machine
OWN = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname(), None}


def watch_the_network(event: str, args: tuple) -> None:
    """Refuse names and addresses of other machines, and keep them: libraries swallow errors."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0].decode() if isinstance(args[0], bytes) else args[0]
    else:
        return
    if host not in OWN:
        REACHED.append(f"{event} {host}")
        raise OSError(f"a test reached for the network: {event} {host}")
