"""Tells requests that never left this machine from requests that may have been received."""

from __future__ import annotations


def never_sent(error: Exception) -> bool:
    """Whether an exception of `requests` proves that the request did not leave this machine.

    Out: True when no connection came about (refused, timed out, unknown host, certificate or proxy not accepted) or no
    request could be made. False for everything else: `requests` raises the same ConnectionError for "could not
    connect" and for "sent, then dropped", and only the first is safe to repeat, so doubt counts as sent.
    """
    from ssl import SSLCertVerificationError

    import requests
    from urllib3.exceptions import NewConnectionError

    if isinstance(
        error,
        requests.ConnectTimeout
        | requests.exceptions.ProxyError  # raised only until the connection through the proxy stands
        | requests.exceptions.InvalidURL
        | requests.exceptions.InvalidSchema
        | requests.exceptions.MissingSchema
        | requests.exceptions.InvalidHeader,
    ):
        return True
    if not isinstance(error, requests.ConnectionError) or not error.args:
        return False
    reason = getattr(error.args[0], "reason", error.args[0])  # MaxRetryError wraps what happened
    if isinstance(reason, NewConnectionError):
        return True
    return any(isinstance(part, SSLCertVerificationError) for part in getattr(reason, "args", ()))
