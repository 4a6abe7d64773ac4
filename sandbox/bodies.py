"""The bodies of HTTP requests, as a server without a framework reads them."""

from __future__ import annotations

from email.message import Message
from io import BufferedIOBase


def body_of(headers: Message[str, str], stream: BufferedIOBase) -> bytes:
    """A request's body, whole or in chunks (RFC 9112, 7.1): Lambda's runtime client sends both."""
    if headers.get("Transfer-Encoding", "").lower() != "chunked":
        return stream.read(int(headers.get("Content-Length", 0)))
    parts = []
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(parts)
