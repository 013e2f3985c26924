"""Uploads as a client streams them."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def receive_body(body: bytes, content_type: str, folder: Path, max_bytes: int = 10**6, step: int = 10) -> str:
    """`receive_form` of a body that comes in pieces of `step` bytes.

    It runs in a thread: a browser that is open for other tests keeps an event loop running in this one.
    """
    from tslm.serve.jobs.uploads import receive_form  # needs the extra serve

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    async def receive() -> str:
        return await receive_form(stream(), content_type, folder, max_bytes)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, receive()).result()
