"""Clients of AWS's services, made where they are first used: the SDK takes longer to import than all else together.

They come from botocore, which boto3's clients are made of; boto3 itself would only add S3 transfers and resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

_lock = Lock()
_session: Any = None


def client(service: str, *, credentials: Mapping[str, str] | None = None, **config: Any) -> Any:
    """A new client, the same as `boto3.client` gives. Safe to call from several threads, which sessions are not.

    In: the service ("dynamodb"); credentials that are not the process's own (aws_access_key_id,
    aws_secret_access_key, aws_session_token); options of `botocore.config.Config`.
    """
    global _session
    with _lock:
        from botocore.config import Config
        from botocore.session import get_session

        _session = _session or get_session()  # one for all clients: it finds credentials and data once
        return _session.create_client(service, config=Config(**config), **(credentials or {}))
