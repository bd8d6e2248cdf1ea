"""Sparing what speaks plain HTTP on loopback the root certificates of the world."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_certificates() -> Iterator[None]:
    """Import aiohttp in the body of the `with`, which then reads no root certificates.

    Its client reads all of them, twice, as it is imported, which takes a fifth of a lab's start;
    here it only serves. The folder of certificates, which OpenSSL reads as it needs them, stays.
    """
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before
