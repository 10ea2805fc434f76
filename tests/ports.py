"""Ports for servers that are started later."""

import random
import socket


def free_ports(number):
    """Return ports that nothing listens on, below the range from which the system gives ports to
    connections: none of these takes one before its server is up."""
    found = []
    while len(found) < number:
        port = random.SystemRandom().randrange(10_000, 32_000)
        if port in found:
            continue
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
