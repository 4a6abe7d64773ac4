"""How the endpoints of usage are answered."""

from __future__ import annotations

from collections.abc import Mapping

from werkzeug.wrappers import Request

from . import bodies, usage
from .answers import Answer, Endpoint, query, read
from .errors import Refused, invalid
from .listing import moment
from .service import Service


def report(service: Service, request: Request) -> Answer:
    return Answer(201, {"data": usage.report(service, read(bodies.UsageReports, request).usages)})


def report_of_second(service: Service, request: Request) -> Answer:
    """As `report`; what it took in credits is told apart, and there is none."""
    made = usage.report(service, read(bodies.UsageReports, request).usages)
    return Answer(201, {"data": {"usages": made}})


def estimate(service: Service, request: Request) -> Answer:
    return Answer(200, {"data": usage.estimate(service, read(bodies.UsageEstimate, request))})


def history(service: Service, request: Request, customer: str, feature: str) -> Answer:
    asked = query(request, "startDate", "endDate", "groupBy", "resourceId")
    if "startDate" not in asked:
        raise invalid("startDate is required")
    if "groupBy" in asked:
        raise Refused(422, "NotInTheSandbox", "usage cannot be grouped here")
    start = moment("startDate", asked["startDate"])
    end = moment("endDate", asked["endDate"]) if "endDate" in asked else None
    data = usage.history(service, customer, feature, (start, end), asked.get("resourceId"))
    return Answer(200, {"data": data})


def report_events(service: Service, request: Request) -> Answer:
    """No feature here is metered by events: they are checked, taken, and count for nothing."""
    for event in read(bodies.EventReports, request).events:
        service.customer(event.customer_id)
    return Answer(201, {"data": {}})


def estimate_event(service: Service, request: Request) -> Answer:
    service.customer(read(bodies.EventEstimate, request).customer_id)
    return Answer(200, {"data": {"estimates": [], "warnings": []}})


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/usage"): Endpoint("update", report),
    ("POST", "/usage/estimate"): Endpoint("read", estimate),
    ("GET", "/usage/<customer>/history/<feature>"): Endpoint("read", history),
    ("POST", "/events"): Endpoint("update", report_events),
    ("POST", "/events/estimate"): Endpoint("read", estimate_event),
}
"""Of the first version, by method and path."""

ENDPOINTS_OF_SECOND: Mapping[tuple[str, str], Endpoint] = {("POST", "/usage"): Endpoint("update", report_of_second)}
"""Of the second."""
