"""Deep links into Stigg's app and into Salesforce. Pure.

Stigg's app shows a customer at ``<app>/customers/<id>`` and a subscription at ``<app>/subscriptions/<id>``, where
``<app>`` holds the environment (``https://app.stigg.io/production``). That form was read off the app and is not
promised in its documentation, which is why the base is a setting. Salesforce leads ``<My Domain>/<record ID>`` to the
record's page in whichever user interface its reader has.
"""

from __future__ import annotations

from urllib.parse import quote


def stigg_customer_url(app_url: str, customer_id: str) -> str:
    """The page of a customer in Stigg's app. app_url: the setting STIGG_APP_URL, with or without a slash at its end."""
    return _join(app_url, "customers", customer_id)


def stigg_subscription_url(app_url: str, subscription_id: str) -> str:
    """The page of a subscription in Stigg's app. app_url: as for `stigg_customer_url`."""
    return _join(app_url, "subscriptions", subscription_id)


def salesforce_record_url(base_url: str, record_id: str) -> str:
    """The page of a record in Salesforce. base_url: the setting SALESFORCE_URL, with or without a slash at its end."""
    return _join(base_url, record_id)


def _join(base: str, *segments: str) -> str:
    return "/".join((base.rstrip("/"), *(quote(segment, safe="") for segment in segments)))
