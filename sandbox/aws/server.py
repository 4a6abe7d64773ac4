"""moto's AWS as a real HTTP server on loopback, with the atomicity DynamoDB and Step Functions promise."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from sandbox.aws.calls import Calls


class Account:
    """One AWS account of moto's.

    moto checks conditions and writes in separate steps. One lock around each service makes them one.

    DynamoDB: conditional writes and transactions. Step Functions: two StartExecution with the same name.
    Every request counts as the account's own, whatever its credentials. throttle: asked of each request that a function
    sends to DynamoDB, by its target; where it says so, the request is throttled. admits: asked of each request that
    a function sends to SQS, with its body; where it does not, the credentials are refused.
    """

    PREFIXES = ("DynamoDB_", "AWSStepFunctions.StartExecution")

    def __init__(self, application: WSGIApplication, account: str, calls: Calls) -> None:
        self._application = application
        self._account = account
        self._calls = calls
        self._locks = {prefix: threading.Lock() for prefix in self.PREFIXES}
        self.throttle: Callable[[str], bool] | None = None
        self.admits: Callable[[WSGIEnvironment, bytes], bool] | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._account
        self._calls.note(environ)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        of_function = "exec-env/AWS_Lambda" in environ.get("HTTP_USER_AGENT", "")
        # Not what tests ask at the same address, to see what became of it.
        if self.throttle and of_function and target.startswith("DynamoDB_") and self.throttle(target):
            return self._throttled(target, environ, start_response)
        if self.admits and of_function and target.startswith("AmazonSQS.") and not self._admitted(environ):
            return self._refused(start_response)
        for prefix, lock in self._locks.items():
            if target.startswith(prefix):
                with lock:
                    return self._application(environ, start_response)
        return self._application(environ, start_response)

    def _admitted(self, environ: WSGIEnvironment) -> bool:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        return self.admits is None or self.admits(environ, body)

    @staticmethod
    def _refused(start_response: StartResponse) -> Iterable[bytes]:
        """As SQS refuses credentials that are not known, or not any more."""
        said = {
            "__type": "com.amazon.coral.service#InvalidClientTokenId",
            "message": "The security token included in the request is invalid.",
        }
        body = json.dumps(said).encode()
        headers = [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(body)))]
        start_response("403 Forbidden", headers)
        return [body]

    @staticmethod
    def _throttled(target: str, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """As DynamoDB says that there was too much of it; of a transaction, that one of its items was too much."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        asked = json.loads(environ["wsgi.input"].read(length) or b"{}")
        message = "The level of configured provisioned throughput for the table was exceeded."
        said: dict[str, object] = {
            "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "message": message,
        }
        if target.endswith(".TransactWriteItems"):
            reasons = [{"Code": "None"} for _ in asked.get("TransactItems", ())]
            reasons[-1] = {"Code": "ThrottlingError", "Message": message}
            said = {
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons "
                f"[{', '.join(reason['Code'] for reason in reasons)}]",
                "CancellationReasons": reasons,
            }
        body = json.dumps(said).encode()
        headers = [("Content-Type", "application/x-amz-json-1.0"), ("Content-Length", str(len(body)))]
        start_response("400 Bad Request", headers)
        return [body]


class _MotoHandler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True  # headers and body are two writes; waiting between them costs 40 ms

    def log(self, type: str, message: str, *args: object) -> None:
        pass


class _PlainHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: object) -> None:
        pass


class LoopbackServer:
    """Serves a WSGI application on 127.0.0.1 in threads. `url` is where."""

    def __init__(self, application: WSGIApplication, port: int = 0, moto: bool = False) -> None:
        handler = _MotoHandler if moto else _PlainHandler
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, application, threaded=True, request_handler=handler
        )
        # A connection that is kept alive must not keep the process from ending.
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def moto_application(account: str, calls: Calls) -> Account:
    """moto's server for one account, one request at a time where AWS is atomic; it notes who called what."""
    return Account(DomainDispatcherApplication(create_backend_app), account, calls)
