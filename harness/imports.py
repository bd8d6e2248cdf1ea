"""Importing what is large without what an import of it would do on the side."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quickly() -> Iterator[None]:
    """Import aiohttp and the like in the body of the `with`.

    Its client reads all root certificates of the world, twice, as it is imported, which takes a
    fifth of a lab's start; here it speaks plain HTTP on loopback. The folder of certificates, which
    OpenSSL reads as it needs them, stays. Nor is garbage looked for among modules, which stay too.
    """
    before, collects = os.environ.get("SSL_CERT_FILE"), gc.isenabled()
    os.environ["SSL_CERT_FILE"] = os.devnull
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before
