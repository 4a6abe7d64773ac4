"""The errors of closed-won; their class names are the state machine's contract.

Lambda reports an error by its class's name, and ``statemachines/provision.asl.yaml`` retries by that name: renaming a
class here changes how a failure is treated. Three kinds matter:

- `Transient`: the same execution tries again, in the rhythm the class's docstring names.
- `Permanent`: trying again at once cannot help; the execution writes the failure back to Salesforce and fails.
- Everything else is a bug, and fails the execution in the same way as a permanent error.

No text in here can hold a secret or personal data: a message is written by closed-won, or is another service's own
error text after `safe_text`; requests, headers and whole answers are never quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

MESSAGE_LIMIT = 500
"""How many characters of another service's error text are kept."""

# Wider than what is a valid address, up to quotes and brackets: masking too much does little harm.
_EMAIL = re.compile(r"[^\s@<>\"'(),;:=\[\]{}]+@[^\s@<>\"'(),;:=\[\]{}]+")
_SPACE = re.compile(r"\s+")


def safe_text(text: object, limit: int = MESSAGE_LIMIT, hide: Iterable[str] = ()) -> str:
    """Make another service's text fit for a log line, an execution's history and a record in Salesforce.

    In: any value ("" comes of one that is not a string); the longest result in characters; strings that must not
    appear, such as the API key the request was sent with.
    Out: one line of at most `limit` characters that UTF-8 can hold, e-mail addresses as ``***@***``, hidden strings as
    ``***``.
    """
    if not isinstance(text, str):
        return ""
    text = text.encode(errors="replace").decode()  # half a character, which JSON can hold, can be written nowhere
    # Before anything is cut: half a secret at the cut would not be recognised.
    for secret in hide:
        if len(secret) >= 6:  # anything shorter is no secret, and would only garble words
            text = text.replace(secret, "***")
    if len(text) > 8 * limit:  # masking must stay cheap; half a word at the cut could be half an address
        text = re.sub(r"\S*$", "", text[: 8 * limit])
    text = _EMAIL.sub("***@***", text)
    # One line, because reasons and logs are read by lines: a foreign one must not pass for one of closed-won's.
    text = _SPACE.sub(" ", text).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


class ClosedWonError(Exception):
    """The base of every error that closed-won raises on purpose.

    message: what happened, in a sentence that is safe to show (see the module's docstring).
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Transient(ClosedWonError):
    """Passes by itself: trying again later can succeed. The state machine retries by the class's name."""


class Permanent(ClosedWonError):
    """Needs a person or another deal before trying again can succeed. The state machine does not retry."""


class ServiceError(ClosedWonError):
    """An error that another service answered; mixed into the classes below, so that one handler can describe them all.

    message: the service's own error text after `safe_text`, or closed-won's description.
    service: ``Stigg``, ``Salesforce`` or ``Your application``; operation: what was asked, in words without IDs
    ("provision subscription"). status: the HTTP status, None when there was no answer; request_id: the service's name
    for the request, for its support, "" when it gave none; code: the service's error code, "" when it gave none.

    `str()` gives them all in one line, because that line is all that an execution's history keeps.
    """

    service = ""

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        status: int | None = None,
        request_id: str = "",
        code: str = "",
        service: str = "",
    ) -> None:
        self.service = service or type(self).service  # `WriteUnanswered` is of either service, so its raiser says which
        self.operation = operation
        self.status = status
        self.request_id = request_id
        self.code = code
        where = " ".join(part for part in (self.service, operation) if part)
        details = ", ".join(
            part
            for part in (
                f"HTTP {status}" if status is not None else "",
                code,
                f"request {request_id}" if request_id else "",
            )
            if part
        )
        # The whole line is for the execution's history; `message` becomes the words alone, which people are shown.
        super().__init__((f"{where}: " if where else "") + message + (f" ({details})" if details else ""))
        self.message = message


class WriteUnanswered(ServiceError, Transient):
    """A write to Stigg or Salesforce was sent and its answer was lost: it may have landed, may not, or may land yet.

    Raised for a read time-out, a dropped connection, a 5xx or an unreadable answer to a write; also by the ledger until
    such a write's lifetime is over. The state machine waits about a write's lifetime
    (WRITE_LIFETIME_SECONDS) and tries again; the next attempt reads what is there before it writes.
    """


class StiggThrottled(ServiceError, Transient):
    """Stigg answered 429: nothing was applied. Retried patiently, with growing, jittered waits."""

    service = "Stigg"


class GovernorBusy(Transient):
    """closed-won's own share of Stigg's limits is used up for longer than a function waits. Nothing was sent. Retried
    patiently, with growing, jittered waits, like the 429 that it avoids.
    """


class StiggUnavailable(ServiceError, Transient):
    """Stigg could not be reached, or a read was not answered: nothing was applied. Retried a few times, soon."""

    service = "Stigg"


class StiggRefused(ServiceError, Permanent):
    """Stigg refused a request (400, 404, 409, 422 ...). Not retried: written back to the deal as its reason.

    In, by position: the HTTP status, Stigg's message (see `safe_text`), Stigg's request ID.
    """

    service = "Stigg"
    status: int  # never None: a refusal is an answer

    def __init__(self, status: int, message: str, request_id: str = "", *, operation: str = "", code: str = "") -> None:
        super().__init__(message, operation=operation, status=status, request_id=request_id, code=code)


class StiggUnauthorized(ServiceError, Permanent):
    """Stigg did not accept the API key, also after it was read again from Secrets Manager (401), or the key lacks a
    scope (403). Not retried: somebody must correct the Stigg secret; the sweep then picks the work up.
    """

    service = "Stigg"


class SalesforceThrottled(ServiceError, Transient):
    """Salesforce asked to slow down (429, too many concurrent requests): nothing was applied. Retried patiently, with
    growing, jittered waits.
    """

    service = "Salesforce"


class SalesforceUnavailable(ServiceError, Transient):
    """Salesforce could not be reached, said 503 SERVER_UNAVAILABLE, or a read was not answered: nothing was applied.
    Retried a few times, soon.
    """

    service = "Salesforce"


class SalesforceRowLocked(ServiceError, Transient):
    """Somebody else was writing the same record (UNABLE_TO_LOCK_ROW): this record was not written. Retried a few
    times, soon.
    """

    service = "Salesforce"


class SalesforceRefused(ServiceError, Permanent):
    """Salesforce refused a request or one record of it. Not retried.

    In, by position: Salesforce's error code (``INVALID_FIELD``, ``FIELD_CUSTOM_VALIDATION_EXCEPTION`` ...), its
    message (see `safe_text`), the names of the fields it complained about.
    """

    service = "Salesforce"

    def __init__(
        self,
        code: str,
        message: str,
        fields: Iterable[str] = (),
        *,
        operation: str = "",
        status: int | None = None,
        request_id: str = "",
    ) -> None:
        self.fields = tuple(fields)
        super().__init__(message, operation=operation, status=status, request_id=request_id, code=code)


class SalesforceUnauthorized(ServiceError, Permanent):
    """Salesforce did not accept the credentials (invalid_client, invalid_grant ...), or refused a session it had just
    given. Not retried: somebody must correct the Salesforce secret or the external client app.
    """

    service = "Salesforce"


class SalesforceLimitExceeded(ServiceError, Permanent):
    """The org's API calls are used up (REQUEST_LIMIT_EXCEEDED). Not retried in this execution, which would use up
    more: the customer stays due, and the sweep starts it later.
    """

    service = "Salesforce"


class SalesforceBudgetSpent(Permanent):
    """closed-won's share of the organisation's daily API calls is used up. Not retried: a run of reconciliation ends
    with a report that says so, and the next one goes on.
    """


class ApplicationUnavailable(ServiceError, Transient):
    """The user's own application could not be reached, did not answer in time, or answered 429 or 5xx. What it is asked
    carries the same idempotency key every time, so it is sent again, a few times, soon; after that only this deal
    waits, and the execution goes on without it.
    """

    service = "Your application"


class ApplicationRefused(ServiceError, Permanent):
    """The user's own application refused one deal (4xx), or its address led elsewhere (3xx). Not retried: it is that
    deal's outcome, and the application is asked again later."""

    service = "Your application"


class ApplicationAnswerInvalid(Permanent):
    """The user's own application answered something closed-won cannot use. The message names the field and what is
    wrong with it, never its content. Not retried: it is that deal's outcome, and the application is asked again later.

    In, by position: the field; what is wrong with it.
    """

    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(f"Your application's answer cannot be used: {field} {wrong}")
        self.field = field


class LedgerContended(Transient):
    """Other transactions kept changing the same items of the ledger. Retried a few times, soon."""


class SecretUnavailable(Transient):
    """Secrets Manager did not answer, and no earlier value of the secret is at hand. Retried a few times, soon."""


class StorageUnavailable(Transient):
    """S3 did not answer, or asked to slow down, after its client's own tries. Retried a few times, soon."""


class LedgerUnreadable(Permanent):
    """An item of the ledger is not what closed-won writes: somebody changed it, or an older version reads what a newer
    one wrote. Not retried: somebody must restore it.
    """


class RunInputInvalid(Permanent):
    """The input of an execution is not valid; the message says why. Not retried."""


class RunUnderWay(Permanent):
    """Another run of reconciliation is under way. Not retried, and not a failure: this run ends without comparing."""


class MappingsUnusable(Permanent):
    """The Stigg Mapping records in Salesforce do not say where deals' lines are. Not retried: somebody must correct
    them.
    """


class LedgerExportFailed(Permanent):
    """DynamoDB gave up exporting the ledger's table; the message holds its reason. Not retried: the next run exports
    anew.
    """


class CustomerTaken(Permanent):
    """The customer's ID in Stigg is linked to another Salesforce account. Not retried: somebody must decide whose it
    is."""


class SettingMissing(Permanent):
    """An environment variable the function needs is absent or unusable; the message names it. Not retried: a mistake
    of the deployment.
    """


class SecretInvalid(Permanent):
    """A secret is not what is needed: not readable, not JSON, a field absent. The message names the field, never the
    content. Not retried: somebody must correct the secret.
    """


def unreadable(operation: str, mistake: str) -> StiggUnavailable:
    """The error of an answer to a read that is JSON, but not in the form that Stigg answers. In: as in `as_read`."""
    # Transient, as if no answer had come: a read can be repeated without harm.
    return StiggUnavailable(f"an answer that cannot be read ({mistake})", operation=operation)


def code_of(name: str) -> str:
    """The code of an error's class: its name in snake_case; `unexpected` where it is none of closed-won's.

    In: the class's name, as a state machine's Catch gives it.
    """
    return _snake(name) if name in _CLASSES else UNEXPECTED


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def failure_text(failure: Mapping[str, str]) -> str:
    """What stopped an execution, in a sentence that is safe to show: only closed-won's own errors have such texts.

    In: what a state machine's Catch gives: `Error`, the class's name, and `Cause`, Lambda's JSON.
    """
    name = failure.get("Error", "")
    try:
        # JSON only where a function raised: errors of Step Functions' own have a plain sentence or none.
        said = json.loads(failure.get("Cause", "")).get("errorMessage", "")
    except (ValueError, TypeError, AttributeError, RecursionError):
        said = ""
    # The text of an error that closed-won did not write may hold names or keys, so it is not repeated.
    known = globals().get(name)
    ours = isinstance(known, type) and issubclass(known, ClosedWonError) and said
    return str(said) if ours else f"An unexpected failure ({name})."


@contextmanager
def as_read(failure: Callable[[str], ClosedWonError]) -> Iterator[None]:
    """Wraps code that takes apart an answer of another system: where the answer does not have the expected form, a
    named error is raised instead of Python's.

    In: a function that makes the error from the name of Python's (``KeyError``). Python's own error, which may quote
    what was read, is not attached.
    """
    try:
        yield
    # ArithmeticError: JSON as Python reads it has Infinity. RecursionError: it may be nested without end.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as mistake:
        raise failure(type(mistake).__name__) from None


UNEXPECTED = "unexpected"
"""The code of a failure that is none of the classes above: a bug, or an error of AWS."""

_CLASSES: Mapping[str, type[ClosedWonError]] = {
    name: found
    for name, found in list(globals().items())
    if isinstance(found, type) and issubclass(found, ClosedWonError) and not found.__subclasses__()
}

FAILURES: Mapping[str, type[ClosedWonError]] = {_snake(name): found for name, found in _CLASSES.items()}
"""The codes of failures: each class of error that is raised, by its name in snake_case."""
