"""Free loopback ports. SeaweedFS binds gRPC at each HTTP port + 10000, so both must be free."""

import random
import socket

_given: set[int] = set()


def _free(port: int) -> bool:
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port P below the ephemeral range such that P and P + 10000 are free and were not given before."""
    for _ in range(1000):
        port = random.randrange(12000, 22000)
        if port not in _given and port + 10000 not in _given and _free(port) and _free(port + 10000):
            _given.update((port, port + 10000))
            return port
    raise RuntimeError("no free loopback port between 12000 and 22000")
