"""A local web server: plain functions as routes of a FastAPI application."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tslm.serve.guard import Guard, render_error

_HOW_TO_INSTALL = "serving needs fastapi and uvicorn: pip install 'tslm-sleep[serve]'"
_NO_ROUTE = "Not Found"  # Starlette's words
_STATUS_OF_ERROR: dict[type[Exception], int] = {ValueError: 400, OSError: 503}


@dataclass(frozen=True)
class Route:
    """One address, and the function that answers its requests.

    The function's arguments are those of the query, by name and type; a `dict` is the JSON object in the body. Errors
    become responses with one line: ValueError 400, OSError 503, others as `status_of_error` of `build_app` says. The
    fields after `media_type` are for OpenAPI.
    """

    method: str  # GET, PUT, POST, DELETE
    path: str
    answer: Callable[..., Any]
    media_type: str = "application/json"  # for other types the function returns the text
    status: int = 200  # where it succeeds
    summary: str = ""
    responses: Mapping[int | str, Mapping[str, Any]] = field(default_factory=dict)  # as FastAPI takes them
    body: Mapping[str, Any] = field(default_factory=dict)  # `requestBody` of a route that reads the body itself
    documented: bool = True  # False: it is left out of OpenAPI


@dataclass(frozen=True)
class Documentation:
    """What OpenAPI, at /openapi.json, says of the whole application."""

    title: str
    version: str
    description: str = ""
    security_schemes: Mapping[str, Any] = field(default_factory=dict)  # of which any one is needed


def query(**documented: Any) -> Any:
    """Annotation of an argument of a route: a value of the query with description, examples and limits."""
    from fastapi import Query

    return Query(**documented)


def build_app(
    routes: Sequence[Route],
    host_names: Sequence[str] = (),
    status_of_error: Mapping[type[Exception], int] | None = None,
    content_policy: str = "default-src 'none'",
    documentation: Documentation | None = None,
    **guarded: Any,
) -> Guard:
    """Build the application, behind its guard.

    Args:
        routes: all its addresses.
        host_names: allowed Host names beside `localhost` and IP addresses.
        status_of_error: HTTP status of further errors.
        content_policy: Content-Security-Policy of all answers.
        documentation: of OpenAPI; None: there is none. There are no documentation pages, which need a network.
        **guarded: further arguments of `Guard`.

    Raises:
        ImportError: FastAPI is missing.
    """
    try:
        from fastapi import FastAPI, Request, Response
        from fastapi.exceptions import RequestValidationError
        from fastapi.responses import JSONResponse
        from starlette.exceptions import HTTPException
        from starlette.routing import Match
    except ImportError as error:
        raise ImportError(_HOW_TO_INSTALL) from error

    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if documentation else None,
        generate_unique_id_function=lambda route: route.name,  # operations are called as the functions
    )
    if documentation:
        app.title, app.version, app.description = (
            documentation.title,
            documentation.version,
            documentation.description,
        )
        build_openapi = app.openapi

        def build_secured() -> dict[str, Any]:
            document = build_openapi()
            if documentation.security_schemes:
                document["components"]["securitySchemes"] = dict(documentation.security_schemes)
                document["security"] = [{name: []} for name in documentation.security_schemes]
            return document

        app.openapi = build_secured  # type: ignore[method-assign]
    for route in routes:
        response_class = (
            JSONResponse
            if route.media_type == "application/json"
            else type("TextResponse", (Response,), {"media_type": route.media_type})
        )
        app.add_api_route(
            route.path,
            route.answer,
            methods=[route.method],
            response_class=response_class,
            response_model=None,
            status_code=route.status,
            summary=route.summary or None,
            responses={status: dict(response) for status, response in route.responses.items()},
            openapi_extra={"requestBody": dict(route.body)} if route.body else None,
            include_in_schema=route.documented,
        )

    def build_handler(status: int) -> Callable[[Request, Exception], Response]:
        return lambda _, error: JSONResponse(render_error(str(error.args[0]) if error.args else str(error)), status)

    for error_type, status in {**_STATUS_OF_ERROR, **(status_of_error or {})}.items():
        app.add_exception_handler(error_type, build_handler(status))

    def render_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return JSONResponse(render_error(f"{'.'.join(map(str, first['loc']))}: {first['msg']}"), 422)

    def list_methods(scope: MutableMapping[str, Any]) -> set[str]:
        found = [route for route in app.routes if route.matches(scope)[0] is not Match.NONE]
        return {method for route in found for method in getattr(route, "methods", ())}

    def render_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:  # Starlette names the methods of one route alone
            headers["Allow"] = ", ".join(sorted(list_methods(request.scope)))
        message = "there is nothing at this address" if error.detail == _NO_ROUTE else str(error.detail)
        return JSONResponse(render_error(message), error.status_code, headers)

    app.add_exception_handler(RequestValidationError, render_invalid)
    app.add_exception_handler(HTTPException, render_http)
    names = frozenset(name.casefold() for name in host_names)
    return Guard(app, names, content_policy, is_served=lambda scope: scope["method"] in list_methods(scope), **guarded)


LOOPBACK = "127.0.0.1"
_SHUTDOWN_S = 2  # for requests in progress when the server stops


def is_loopback(host: str) -> bool:
    """Whether the address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def check_installed() -> None:
    """ImportError where a package of the extra is missing."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError(_HOW_TO_INSTALL) from error


def serve_until_interrupted(app: Guard, listener: socket.socket, host: str, announce: Callable[[str], None]) -> None:
    """Announce the address, answer requests, and return after Ctrl-C.

    Args:
        app: the application.
        listener: of `listen`.
        host: that it listens on.
        announce: called with the address, such as http://127.0.0.1:8000.
    """
    import uvicorn

    name = socket.gethostname() if _is_everywhere(host) else f"[{host}]" if ":" in host else host
    announce(f"http://{name}:{listener.getsockname()[1]}")
    config = uvicorn.Config(
        app,
        http=build_protocol(app.request_s),
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has shut down and raises the signal again
        return


def build_protocol(request_s: float) -> type[asyncio.Protocol]:
    """The protocol of uvicorn, which closes a connection when no whole header has come for `request_s`.

    Without it, a connection with half a header stays open for ever.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._active_s = self.loop.time()
            self._watch()

        def _watch(self) -> None:
            now_s = self.loop.time()
            if self.cycle is not None and not self.cycle.response_complete:
                self._active_s = now_s
            if now_s - self._active_s >= request_s:
                self.transport.close()
            if not self.transport.is_closing():
                self.loop.call_later(request_s / 4, self._watch)

    return Protocol


def listen(host: str, port: int) -> socket.socket:
    """Open a socket, to be closed by the caller.

    Args:
        host: address to listen on.
        port: 0: any free port.

    Raises:
        ValueError: no port.
        OSError: the address is not available.
    """
    if not 0 <= port < 2**16:  # getaddrinfo takes port 70000 for 4464
        raise ValueError(f"--port {port} cannot be; wanted 1 to 65535, or 0 for any free port")
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
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port}: {error}; choose another --port, or 0 for any") from error
    return listener


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
