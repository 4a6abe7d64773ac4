"""API Gateway on one machine: a REST API served from the OpenAPI document that SAM's transform makes of the template.

What a client can tell apart is as in AWS: status codes, bodies and error types of refusals, the token authorizer with
its cache, validation of bodies by the model, throttling, and the proxy event (version 1.0) with its answer.
The stage is not part of the path, as behind a custom domain name.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from jsonschema import Draft4Validator  # type: ignore[import-untyped]
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from sandbox.aws.lambdas import Functions
from sandbox.aws.runtime import Outcome

INTEGRATION_SECONDS = 29.0
"""How long API Gateway waits for a function."""
BODY_LIMIT = 10 * 1024 * 1024
"""Bytes API Gateway accepts."""


class Refused(Exception):
    """The gateway answers by itself. error_type: the header x-amzn-ErrorType."""

    def __init__(self, status: int, body: Mapping[str, Any], error_type: str) -> None:
        super().__init__(f"{status} {error_type}")
        self.status = status
        self.body = body
        self.error_type = error_type


@dataclass(frozen=True)
class _Route:
    """A path and method of the API: its pattern, its function's ARN, its authorizer and its body's schema."""

    path: str
    method: str
    pattern: re.Pattern[str]
    function: str
    authorizer: Mapping[str, Any] | None
    schema: Draft4Validator | None
    media_types: tuple[str, ...]


class TokenBucket:
    """Throttling of one stage: `rate` requests a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Gateway:
    """A WSGI application that serves one REST API.

    In: the OpenAPI document with all references resolved, the stage's name and MethodSettings, and the functions.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        functions: Functions,
        *,
        api_id: str = "sandbox",
        stage: str = "sandbox",
        method_settings: Iterable[Mapping[str, Any]] = (),
        account: str = "123456789012",
        region: str = "us-east-1",
    ) -> None:
        self._functions = functions
        self._api_id, self._stage, self._account, self._region = api_id, stage, account, region
        self._routes = _routes(document)
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        for setting in method_settings:
            if "ThrottlingRateLimit" in setting:
                rate = float(setting["ThrottlingRateLimit"])
                # A slash within a path is written ~1, after a first slash that is written as it is.
                place = setting["ResourcePath"].replace("/~1", "/").replace("~1", "/"), setting["HttpMethod"]
                self._buckets[place] = TokenBucket(rate, float(setting.get("ThrottlingBurstLimit", rate)))
        self._verdicts: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request_id = str(uuid.uuid4())
        try:
            response = self._serve(request, request_id)
        except Refused as refused:
            response = Response(json.dumps(refused.body), refused.status, content_type="application/json")
            response.headers["x-amzn-ErrorType"] = refused.error_type
        response.headers["x-amzn-RequestId"] = request_id
        return response(environ, start_response)

    def forget_verdicts(self) -> None:
        """Empty the authorizer's cache, as if its time to live was over."""
        self._verdicts.clear()

    def _serve(self, request: Request, request_id: str) -> Response:
        route, path_parameters = self._route(request)
        # A method with settings of its own is counted by itself; all others together.
        bucket = self._buckets.get((route.path, route.method)) or self._buckets.get(("/*", "*"))
        if bucket and not bucket.take():
            raise Refused(429, {"message": "Too Many Requests"}, "TooManyRequestsException")
        context = self._authorize(route, request) if route.authorizer else None
        if (request.content_length or 0) > BODY_LIMIT:
            raise Refused(413, {"message": "Request Too Long"}, "RequestTooLargeException")
        body = request.get_data()
        _validate_body(route, request, body)
        event = self._event(route, path_parameters, request, body, context, request_id)
        return _answer(self._invoke(route.function, event))

    def _route(self, request: Request) -> tuple[_Route, dict[str, str]]:
        for route in self._routes:
            match = route.pattern.fullmatch(request.path)
            if match and request.method == route.method:
                return route, match.groupdict()
        # What API Gateway says where there is no such path or method.
        raise Refused(403, {"message": "Missing Authentication Token"}, "MissingAuthenticationTokenException")

    def _authorize(self, route: _Route, request: Request) -> dict[str, Any]:
        """Out: what the function sees as requestContext.authorizer."""
        assert route.authorizer is not None
        scheme = route.authorizer
        token = request.headers.get(scheme["name"], "")
        settings = scheme["x-amazon-apigateway-authorizer"]
        expression = settings.get("identityValidationExpression")
        # API Gateway refuses these without asking the function.
        if not token or (expression and not re.fullmatch(expression, token)):
            raise Refused(401, {"message": "Unauthorized"}, "UnauthorizedException")
        method_arn = (
            f"arn:aws:execute-api:{self._region}:{self._account}:{self._api_id}/{self._stage}/"
            f"{request.method}{request.path}"
        )
        function = _function_arn(settings["authorizerUri"])
        verdict = self._verdict(function, token, method_arn, float(settings.get("authorizerResultTtlInSeconds", 300)))
        decision = _evaluate(verdict.get("policyDocument", {}), method_arn)
        if decision != "Allow":
            why = " with an explicit deny" if decision == "Deny" else ""
            message = f"User is not authorized to access this resource{why}"
            raise Refused(403, {"Message": message}, "AccessDeniedException")
        return {"principalId": verdict["principalId"], "integrationLatency": 0, **verdict.get("context", {})}

    def _verdict(self, function: str, token: str, method_arn: str, lifetime: float) -> dict[str, Any]:
        # By the token alone, as API Gateway does: the policy that was answered has to be right for every path.
        cached = self._verdicts.get((function, token))
        if cached and cached[0] > time.monotonic():
            return cached[1]
        event = {"type": "TOKEN", "methodArn": method_arn, "authorizationToken": token}
        outcome = self._functions.call(function, json.dumps(event).encode())
        verdict = outcome.value()
        if outcome.error_type is not None:
            if verdict.get("errorMessage") == "Unauthorized":  # the way an authorizer says 401
                raise Refused(401, {"message": "Unauthorized"}, "UnauthorizedException")
            raise Refused(500, {"message": None}, "AuthorizerConfigurationException")
        if not isinstance(verdict, dict) or "principalId" not in verdict or "policyDocument" not in verdict:
            raise Refused(500, {"message": None}, "AuthorizerConfigurationException")
        # API Gateway takes only strings, numbers and booleans there.
        if any(isinstance(value, (dict, list)) for value in verdict.get("context", {}).values()):
            raise Refused(500, {"message": None}, "AuthorizerConfigurationException")
        if lifetime > 0:
            self._verdicts[function, token] = (time.monotonic() + lifetime, verdict)
        return verdict

    def _invoke(self, function: str, event: Mapping[str, Any]) -> Outcome:
        future: Future[Outcome] = Future()
        payload = json.dumps(event).encode()
        # In a thread, because the function goes on when the gateway does not wait for it any more.
        threading.Thread(target=lambda: future.set_result(self._functions.call(function, payload)), daemon=True).start()
        try:
            return future.result(INTEGRATION_SECONDS)
        except FutureTimeout:
            raise Refused(504, {"message": "Endpoint request timed out"}, "InternalServerErrorException") from None

    def _event(
        self,
        route: _Route,
        path_parameters: dict[str, str],
        request: Request,
        body: bytes,
        authorizer: dict[str, Any] | None,
        request_id: str,
    ) -> dict[str, Any]:
        """The Lambda proxy event, format version 1.0."""
        now = datetime.now(UTC)
        names = list(dict.fromkeys(name for name, _ in request.headers))
        several = {name: request.headers.getlist(name) for name in names}
        query = request.args.to_dict(flat=False)
        context: dict[str, Any] = {
            "accountId": self._account,
            "apiId": self._api_id,
            "domainName": request.host,
            "httpMethod": request.method,
            "identity": {"sourceIp": request.remote_addr, "userAgent": request.headers.get("User-Agent")},
            # Here with the stage, though the event's own path has none.
            "path": f"/{self._stage}{request.path}",
            "protocol": "HTTP/1.1",
            "requestId": request_id,
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now.timestamp() * 1000),
            "resourceId": "sandbox",
            "resourcePath": route.path,
            "stage": self._stage,
        }
        if authorizer is not None:
            context["authorizer"] = authorizer
        return {
            "resource": route.path,
            "path": request.path,
            "httpMethod": request.method,
            # Of what was sent several times, these have the last.
            "headers": {name: values[-1] for name, values in several.items()},
            "multiValueHeaders": several,
            # API Gateway says null where there are none, never an empty object.
            "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
            "multiValueQueryStringParameters": query or None,
            "pathParameters": path_parameters or None,
            "stageVariables": None,
            "requestContext": context,
            "body": body.decode("utf-8", errors="replace") if body else None,
            "isBase64Encoded": False,
        }


def _routes(document: Mapping[str, Any]) -> list[_Route]:
    components = document.get("components", {})
    schemes = components.get("securitySchemes", document.get("securityDefinitions", {}))
    validators = document.get("x-amazon-apigateway-request-validators", {})
    routes = []
    for path, methods in document["paths"].items():
        pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
        for method, operation in methods.items():
            integration = operation.get("x-amazon-apigateway-integration")
            if not integration or integration["type"] != "aws_proxy":
                continue
            names = [name for requirement in operation.get("security", []) for name in requirement]
            content = operation.get("requestBody", {}).get("content", {})
            validator = validators.get(operation.get("x-amazon-apigateway-request-validator"), {})
            schema = None
            if content and validator.get("validateRequestBody") in (True, "true"):
                reference = next(iter(content.values()))["schema"]
                # The models of API Gateway are JSON Schema, draft 4.
                schema = Draft4Validator({**reference, "components": components})
            routes.append(
                _Route(
                    path=path,
                    method=method.upper(),
                    pattern=pattern,
                    function=_function_arn(integration["uri"]),
                    authorizer=schemes[names[0]] if names else None,
                    schema=schema,
                    media_types=tuple(content),
                )
            )
    return routes


def _function_arn(uri: str) -> str:
    """The function's ARN within an integration's address (.../functions/<arn>/invocations)."""
    return uri.split("/functions/", 1)[1].rsplit("/invocations", 1)[0]


def _validate_body(route: _Route, request: Request, body: bytes) -> None:
    """As API Gateway: bodies of a media type without a model pass."""
    if route.schema is None or (request.mimetype or "application/json") not in route.media_types:
        return
    try:
        valid = route.schema.is_valid(json.loads(body))
    # The second is what Python's JSON reader raises of deep nesting.
    except (ValueError, RecursionError):
        valid = False
    if not valid:
        raise Refused(400, {"message": "Invalid request body"}, "BadRequestException")


def _evaluate(policy: Mapping[str, Any], method_arn: str) -> str | None:
    """``Deny`` when a statement denies, ``Allow`` when one allows, None when none speaks of it."""
    decision = None
    for statement in policy.get("Statement", []):
        resources = statement.get("Resource", [])
        actions = statement.get("Action", [])
        if not any(a in ("execute-api:Invoke", "execute-api:*", "*") for a in _listed(actions)):
            continue
        # A policy knows * and ? only; `fnmatch` would take a bracket for a set of characters.
        if not any(fnmatchcase(method_arn, resource.replace("[", "[[]")) for resource in _listed(resources)):
            continue
        if statement.get("Effect") == "Deny":
            return "Deny"
        decision = "Allow"
    return decision


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _answer(outcome: Outcome) -> Response:
    """The function's answer as an HTTP response; 502 when it failed or answered in another shape."""
    answer = outcome.value() if outcome.error_type is None else None
    malformed = Refused(502, {"message": "Internal server error"}, "InternalServerErrorException")
    # API Gateway takes one field too many for malformed, too.
    if not isinstance(answer, dict) or not set(answer) <= {
        "statusCode",
        "headers",
        "multiValueHeaders",
        "body",
        "isBase64Encoded",
    }:
        raise malformed
    try:
        status = int(answer["statusCode"])
    except (KeyError, TypeError, ValueError):
        raise malformed from None
    body = answer.get("body") or ""
    if not isinstance(body, str):
        raise malformed
    headers = Headers()
    for name, value in (answer.get("headers") or {}).items():
        headers.add(name, str(value))
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        headers.remove(name)
        for value in values:
            headers.add(name, str(value))
    if "Content-Type" not in headers:
        headers.add("Content-Type", "application/json")
    return Response(base64.b64decode(body) if answer.get("isBase64Encoded") else body, status, headers)
