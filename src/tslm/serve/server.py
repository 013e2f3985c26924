"""A server for one web application on this machine, until Ctrl-C."""

import ipaddress
import socket
from collections.abc import Callable

from tslm.serve.guard import Guard

LOOPBACK = "127.0.0.1"
_GRACE_S = 2  # for requests under way when the server is to end
_HOW_TO_INSTALL = "serving needs fastapi and uvicorn: pip install 'tslm-sleep[serve]'"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def serve_until_interrupted(app: Guard, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Listen, announce the address once it answers, and give back after Ctrl-C.

    Args:
        app: what to serve.
        host: address to listen on.
        port: 0 for any that is free.
        announce: called with the address, such as http://127.0.0.1:8000.

    Raises:
        OSError: the address cannot be had.
        ImportError: uvicorn is missing.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError(_HOW_TO_INSTALL) from error

    with _listen(host, port) as listener:
        name = socket.gethostname() if _is_everywhere(host) else f"[{host}]" if ":" in host else host
        announce(f"http://{name}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has ended in order and passes the signal on
            return


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise OSError(f"cannot listen on {host}, port {port}: {error}; choose another --port, or 0 for any") from error
    return listener
