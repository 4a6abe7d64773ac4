"""What connect makes of secrets, files and addresses before it asks anybody."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from closedwon.domain.errors import SecretInvalid
from closedwon.salesforce.access import access
from closedwon.salesforce.mapping_records import LineSource, Mapped
from ops.checks import Checks
from ops.connect_salesforce import look_at_domain
from ops.credentials import Given, Vault, fields_of, lacking, wanted_of_salesforce
from sandbox.salesforce.app import Salesforce
from sandbox.salesforce.errors import Refusal


def vault(answer: str | ClientError) -> Vault:
    def secret(output: str) -> str:
        assert output == "StiggSecretArn"
        if isinstance(answer, ClientError):
            raise answer
        return answer

    stack: Any = SimpleNamespace(secret=secret)
    return Vault(stack, "StiggSecretArn")


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "GetSecretValue")


def test_a_secret_without_a_value_is_not_there_yet_and_one_that_may_not_be_read_is_an_error() -> None:
    assert vault(refusal("ResourceNotFoundException")).read() is None
    assert vault("no JSON").read() == vault('["no", "object"]').read() == {}
    assert vault('{"apiKey": "server-1"}').read() == {"apiKey": "server-1"}
    with pytest.raises(ClientError):
        vault(refusal("AccessDeniedException")).read()


def test_salesforces_credentials_are_of_two_kinds() -> None:
    assert wanted_of_salesforce({}) == ("clientId", "clientSecret")
    assert wanted_of_salesforce({"clientSecret": "", "privateKey": ""}) == ("clientId", "clientSecret")
    assert lacking({"clientId": "a", "privateKey": " "}, wanted_of_salesforce({"privateKey": " "})) == [
        "username",
        "privateKey",
    ]
    with pytest.raises(SecretInvalid, match="clientSecret is missing"):
        Given({"clientId": "a"}).json("clientId", "clientSecret")


def test_a_file_holds_json_or_the_bare_key() -> None:
    assert fields_of('{"apiKey": "server-1"}', "apiKey") == {"apiKey": "server-1"}
    assert fields_of("server-1\n", "apiKey") == {"apiKey": "server-1"}
    assert fields_of("not JSON", None) == {}


@pytest.mark.parametrize(
    ("url", "is_a"),
    [
        ("https://login.salesforce.com", "a login page"),
        ("https://test.salesforce.com", "a login page"),
        ("https://acme.lightning.force.com", "Lightning"),
        ("https://localhost:9", "could not be reached"),
    ],
)
def test_an_address_that_is_no_my_domain_is_said_to_be_none(url: str, is_a: str) -> None:
    checks = Checks(quiet=True)
    assert not look_at_domain(checks, url, "66.0")
    [one] = checks.made
    assert (one.result, is_a in one.words) == ("problem", True)
    assert "Setup > My Domain" in one.remedy


def test_access_follows_the_paths_of_a_mapping_to_the_objects_they_lead_to() -> None:
    org = Salesforce("the-app", "the-secret")

    def describe(name: str) -> dict[str, Any] | None:
        try:
            return org.describe(name)
        except Refusal:
            return None

    source = LineSource(
        stigg_id="PricebookEntry.Plan_Code__c", price="Discount__r.Percent__c", object="opportunityLineItem"
    )
    found = {one.object: one for one in access(Mapped([source], cpq=False, without_quote=None), describe)}
    assert found["PricebookEntry"].unseen == ("Plan_Code__c",)
    assert found["opportunityLineItem"].unseen == ("Discount__r (a lookup)",)
    assert found["Product2"].enough
    assert found["Account"].writes == ("Stigg_Customer_ID__c", "Stigg_Customer_URL__c")
    gone = access(Mapped([LineSource(object="Subscription__c", parent="Opportunity__c")], False, None), describe)
    assert [one.object for one in gone if not one.visible] == ["Subscription__c"]
