"""The Salesforce stand-in, driven by clients made for the real thing: simple-salesforce over TLS, requests."""

from __future__ import annotations

import csv
import io
import socket
import string
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from simple_salesforce import exceptions
from simple_salesforce.api import Salesforce as SalesforceClient
from simple_salesforce.format import format_external_id, format_soql

from sandbox.salesforce import soql
from sandbox.salesforce.app import Salesforce
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.ids import to_18
from sandbox.salesforce.schema import STANDARD
from sandbox.salesforce.store import Store
from sandbox.stand_in import StandIn
from sandbox.tls import make_tls

NOW = datetime(2026, 11, 20, 9, 15, 31, tzinfo=UTC)
PROVISIONINGS = "composite/sobjects/Stigg_Provisioning__c/Opportunity_ID__c"


Client = Any  # simple-salesforce makes its objects' attributes on demand: no type knows them


class Clock:
    """An organisation's clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def organization(private_key: rsa.RSAPrivateKey, clock: Clock) -> Salesforce:
    """An organisation with one deal of three lines."""
    public_key = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    made = Salesforce("the-app", "the-secret", username="bot@northwind.example", public_key=public_key, now=clock)
    made.add_product("Enterprise", 48000, Stigg_Type__c="Plan", Stigg_ID__c="plan-enterprise")
    made.add_product("Seats", 0, Stigg_Type__c="Entitlement", Stigg_ID__c="feature-seats")
    made.add_product("Onboarding", 900)
    plan, seats, onboarding = (product["Id"] for product in made.find("Product2"))
    made.load(
        [
            {
                "attributes": {"type": "Account", "referenceId": "northwind"},
                "Id": "0015g00000XyZaBAAV",
                "Name": "Northwind Traders",
            },
            {
                "attributes": {"type": "Opportunity", "referenceId": "deal"},
                "Id": "0065g00000ABCdEAAX",
                "Name": "Northwind - Enterprise 2026",
                "AccountId": "@northwind",
                "StageName": "Prospecting",
                "CloseDate": "2026-11-30",
            },
            *(
                {
                    "attributes": {"type": "OpportunityLineItem"},
                    "OpportunityId": "@deal",
                    "Product2Id": product,
                    "Quantity": quantity,
                    "UnitPrice": price,
                }
                for product, quantity, price in ((plan, 1, 48000), (seats, 250, 0), (onboarding, 2, 900))
            ),
        ]
    )
    return made


@pytest.fixture(scope="module")
def served(organization: Salesforce, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, Path]]:
    tls = make_tls(tmp_path_factory.mktemp("tls"))
    with StandIn(organization, tls.context) as stand_in:
        yield stand_in, tls.ca_file


@pytest.fixture
def session(served: tuple[StandIn, Path], clock: Clock) -> Iterator[requests.Session]:
    """A session that trusts the stand-in, which is in its first state."""
    stand_in, ca_file = served
    stand_in.reset()
    clock.now = NOW
    with requests.Session() as session:
        session.verify = str(ca_file)
        session.trust_env = False
        yield session


@pytest.fixture
def url(served: tuple[StandIn, Path]) -> str:
    return served[0].url


@pytest.fixture
def client(url: str, session: requests.Session, organization: Salesforce) -> Client:
    token = organization.issue_token()
    return SalesforceClient(instance_url=url, session_id=token, session=session, version="66.0")


ACCOUNT, DEAL = "0015g00000XyZaBAAV", "0065g00000ABCdEAAX"


def errors_of(error: pytest.ExceptionInfo[exceptions.SalesforceError]) -> Any:
    """The body of a refusal, as simple-salesforce hands it on."""
    return error.value.content


def refusal_of(error: pytest.ExceptionInfo[exceptions.SalesforceError]) -> Any:
    return errors_of(error)[0]["errorCode"]


def provisioning(opportunity_id: str, **fields: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Stigg_Provisioning__c"}, "Opportunity_ID__c": opportunity_id, **fields}


class TestTokens:
    def ask(self, session: requests.Session, url: str, **form: str) -> requests.Response:
        return session.post(f"{url}/services/oauth2/token", data=form, timeout=60)

    def assertion(self, key: rsa.RSAPrivateKey, **claims: Any) -> str:
        given = {
            "iss": "the-app",
            "sub": "bot@northwind.example",
            "aud": "https://login.salesforce.com",
            "exp": NOW.timestamp() + 180,
        }
        return jwt.encode({**given, **claims}, key, algorithm="RS256")

    def test_client_credentials_get_a_token_that_works_from_the_body_or_by_basic_authentication(
        self, session: requests.Session, url: str, organization: Salesforce
    ) -> None:
        in_body = self.ask(
            session, url, grant_type="client_credentials", client_id="the-app", client_secret="the-secret"
        ).json()
        by_basic = session.post(
            f"{url}/services/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=("the-app", "the-secret"),
            timeout=60,
        ).json()

        assert in_body["instance_url"] == url
        assert in_body["token_type"] == "Bearer"
        assert in_body["issued_at"] == str(int(NOW.timestamp() * 1000))
        assert in_body["id"].endswith(f"/id/{organization.organization_id}/{organization.user_id}")
        assert not {"refresh_token", "expires_in"} & set(in_body)
        for body in (in_body, by_basic):
            client = SalesforceClient(
                instance_url=url, session_id=body["access_token"], session=session, version="66.0"
            )
            assert client.query("SELECT Id FROM Organization")["records"][0]["Id"] == organization.organization_id

    def test_a_signed_jwt_gets_a_token(
        self, session: requests.Session, url: str, private_key: rsa.RSAPrivateKey
    ) -> None:
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        answer = self.ask(session, url, grant_type=grant, assertion=self.assertion(private_key))
        assert answer.status_code == 200
        assert answer.json()["access_token"].startswith("00D")

    @pytest.mark.parametrize(
        ("claims", "error"),
        [
            ({"exp": NOW.timestamp() + 181}, "invalid_grant"),
            ({"exp": NOW.timestamp()}, "invalid_grant"),
            ({"aud": "https://elsewhere.example"}, "invalid_grant"),
            ({"sub": "someone@else.example"}, "invalid_grant"),
            ({"iss": "another-app"}, "invalid_client_id"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
    )
    def test_a_jwt_with_a_wrong_claim_is_refused(
        self,
        session: requests.Session,
        url: str,
        private_key: rsa.RSAPrivateKey,
        claims: dict[str, Any],
        error: str,
    ) -> None:
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        answer = self.ask(session, url, grant_type=grant, assertion=self.assertion(private_key, **claims))
        assert (answer.status_code, answer.json()["error"]) == (400, error)
        assert answer.json()["error_description"]

    def test_a_jwt_signed_with_another_key_is_refused(self, session: requests.Session, url: str) -> None:
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        answer = self.ask(session, url, grant_type=grant, assertion=self.assertion(stranger))
        assert answer.json() == {"error": "invalid_grant", "error_description": "invalid assertion"}

    def test_wrong_credentials_and_unknown_grants_are_refused(self, session: requests.Session, url: str) -> None:
        wrong = self.ask(session, url, grant_type="client_credentials", client_id="the-app", client_secret="guess")
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_client")
        unknown = self.ask(session, url, grant_type="password", username="a", password="b")
        assert unknown.json()["error"] == "unsupported_grant_type"

    def test_an_expired_session_is_a_401(self, client: Client, organization: Salesforce) -> None:
        client.limits()
        organization.expire_tokens()
        with pytest.raises(exceptions.SalesforceExpiredSession) as error:
            client.query("SELECT Id FROM Account")
        assert errors_of(error) == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


class TestQueries:
    def test_parents_and_children_come_nested_as_salesforce_shows_them(self, client: Client) -> None:
        result = client.query(
            "SELECT Id, Name, Account.Name, CloseDate, Account.Stigg_Customer_ID__c, ContractId, Contract.Status, "
            "(SELECT Product2.Stigg_ID__c, Quantity, TotalPrice FROM OpportunityLineItems "
            "WHERE Product2.Stigg_Type__c != null ORDER BY Quantity DESC) "
            "FROM Opportunity WHERE Id = '0065g00000ABCdE'"
        )
        assert (result["totalSize"], result["done"]) == (1, True)
        deal = result["records"][0]
        assert deal["attributes"] == {
            "type": "Opportunity",
            "url": f"/services/data/v66.0/sobjects/Opportunity/{DEAL}",
        }
        assert deal["Account"]["Name"] == "Northwind Traders"
        assert deal["Account"]["Stigg_Customer_ID__c"] is None
        assert (deal["ContractId"], deal["Contract"]) == (None, None)
        assert deal["CloseDate"] == "2026-11-30"
        lines = deal["OpportunityLineItems"]
        assert [line["Product2"]["Stigg_ID__c"] for line in lines["records"]] == [
            "feature-seats",
            "plan-enterprise",
        ]
        assert [line["TotalPrice"] for line in lines["records"]] == [0.0, 48000.0]

    def test_a_parent_without_children_shows_null(self, client: Client, organization: Salesforce) -> None:
        organization.create("Account", Name="Lonely")
        result = client.query("SELECT Name, (SELECT Id FROM Opportunities) FROM Account WHERE Name = 'Lonely'")
        assert result["records"][0]["Opportunities"] is None

    def test_a_large_result_comes_in_pages(self, client: Client, organization: Salesforce) -> None:
        for number in range(2001):
            organization.create("Product2", Name=f"Product {number:04d}", Family="Pages")
        soql_text = "SELECT Name FROM Product2 WHERE Family = 'Pages' ORDER BY Name"

        first = client.query(soql_text)
        assert (first["totalSize"], first["done"], len(first["records"])) == (2001, False, 2000)
        second = client.query_more(first["nextRecordsUrl"], identifier_is_url=True)
        assert (second["done"], [one["Name"] for one in second["records"]]) == (True, ["Product 2000"])
        assert "nextRecordsUrl" not in second

        small = client.query(soql_text, headers={"Sforce-Query-Options": "batchSize=500"})
        assert len(small["records"]) == 500
        everything = [one["Name"] for one in client.query_all_iter(soql_text)]
        assert everything == [f"Product {number:04d}" for number in range(2001)]
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.query_more("01g000000000000AAA-2000")
        assert refusal_of(error) == "INVALID_QUERY_LOCATOR"

    @pytest.mark.parametrize(
        ("condition", "found"),
        [
            ("Name = 'ALPHA'", ["Alpha"]),
            ("Name != 'Alpha' AND Name LIKE '%a'", ["100% a", "Beta", "Gamma"]),
            ("Name LIKE '_eta' OR NumberOfEmployees > 20", ["Beta", "Gamma"]),
            ("Name LIKE '100\\% _'", ["100% a"]),
            ("Name LIKE '100\\%%' AND (NOT Name IN ('100% a', 'x'))", []),
            ("NumberOfEmployees = null", ["100% a"]),
            ("NumberOfEmployees != 10", ["100% a", "Beta", "Gamma"]),
            ("NumberOfEmployees <= 20", ["Alpha", "Beta"]),
            ("NOT (Name = 'Alpha' OR NumberOfEmployees IN (20, null))", ["Gamma"]),
            ("Name NOT IN ('alpha', 'beta', 'gamma')", ["100% a"]),
            ("CreatedDate = TODAY AND Name < 'b'", ["100% a", "Alpha"]),
            ("CreatedDate < 2026-11-20T09:15:31Z", []),
            ("LastModifiedDate >= 2026-11-20T10:15:31+01:00 AND Name > 'beta'", ["Gamma"]),
            (
                "CreatedDate = LAST_N_DAYS:3 AND Owner.Username LIKE 'bot@%' AND Name >= 'BETA'",
                ["Beta", "Gamma"],
            ),
        ],
    )
    def test_conditions_choose_records(
        self, client: Client, organization: Salesforce, condition: str, found: list[str]
    ) -> None:
        for name, employees in (("Gamma", 30), ("Alpha", 10), ("Beta", 20), ("100% a", None)):
            organization.create("Account", Name=name, NumberOfEmployees=employees, Industry="Letters")
        result = client.query(f"SELECT Name FROM Account WHERE Industry = 'Letters' AND ({condition}) ORDER BY Name")
        assert [one["Name"] for one in result["records"]] == found

    def test_order_limit_offset_and_count(self, client: Client, organization: Salesforce) -> None:
        for name, employees in (("c", 1), ("a", 2), ("b", None), ("d", 2)):
            organization.create("Account", Name=name, NumberOfEmployees=employees, Industry="Order")

        def names(rest: str) -> str:
            records = client.query(f"SELECT Name FROM Account WHERE Industry = 'Order' {rest}")["records"]
            return "".join(one["Name"] for one in records)

        assert names("ORDER BY NumberOfEmployees, Name DESC") == "bcda"
        assert names("ORDER BY NumberOfEmployees DESC NULLS LAST, Name") == "adcb"
        assert names("ORDER BY Name LIMIT 2 OFFSET 1") == "bc"
        count = client.query("SELECT COUNT() FROM Account WHERE Industry = 'Order'")
        assert (count["totalSize"], count["records"]) == (4, [])

    def test_days_count_back_from_the_organisations_clock(
        self, client: Client, organization: Salesforce, clock: Clock
    ) -> None:
        organization.create("Account", Name="Old", Industry="Days")
        clock.move(3 * 86400)
        organization.create("Account", Name="New", Industry="Days")

        def names(condition: str) -> list[str]:
            records = client.query(f"SELECT Name FROM Account WHERE Industry = 'Days' AND {condition}")["records"]
            return [one["Name"] for one in records]

        assert names("CreatedDate = TODAY") == ["New"]
        assert names("CreatedDate = LAST_N_DAYS:2") == ["New"]
        assert names("CreatedDate = LAST_N_DAYS:3") == ["Old", "New"]
        assert names("CreatedDate < LAST_N_DAYS:2") == ["Old"]

    @pytest.mark.parametrize(
        ("statement", "code"),
        [
            ("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY"),
            ("SELECT Id FROM Account WHERE Name = 'a", "MALFORMED_QUERY"),
            ("SELECT Id FROM Account WHERE Name = 'a\\z'", "MALFORMED_QUERY"),
            ("SELECT Id FROM Account GROUP BY Name", "MALFORMED_QUERY"),
            ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY"),
            ("SELECT Id, Id FROM Account", "MALFORMED_QUERY"),
            ("SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact)", "MALFORMED_QUERY"),
            ("SELECT Id FROM Account FOR UPDATE", "MALFORMED_QUERY"),
            ("SELECT Id FROM Account WHERE CreatedDate = 2026-13-40T00:00:00Z", "MALFORMED_QUERY"),
            ("SELECT Id FROM Account WHERE CreatedDate = 0001-01-01T00:00:00+10:00", "MALFORMED_QUERY"),
            ("SELECT Id FROM Acount", "INVALID_TYPE"),
            ("SELECT (SELECT Id FROM Opportunity) FROM Account", "INVALID_TYPE"),
            ("SELECT Nam FROM Account", "INVALID_FIELD"),
            ("SELECT Accounts.Name FROM Opportunity", "INVALID_FIELD"),
            ("SELECT Id FROM Opportunity WHERE Amount = '5'", "INVALID_FIELD"),
            ("SELECT Id FROM Opportunity WHERE CloseDate = '2026-01-01'", "INVALID_FIELD"),
            ("SELECT Id FROM Stigg_Provisioning__c WHERE Reason__c = 'x'", "INVALID_FIELD"),
            ("SELECT Id FROM Account WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
            ("SELECT Id FROM Account WHERE Id LIKE '001%'", "INVALID_QUERY_FILTER_OPERATOR"),
            ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
        ],
    )
    def test_what_salesforce_would_not_understand_is_refused(self, client: Client, statement: str, code: str) -> None:
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.query(statement)
        assert refusal_of(error) == code

    def test_a_refusal_points_at_the_place(self, client: Client) -> None:
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.query("SELECT Id,\n  Foo__c FROM Account")
        message = errors_of(error)[0]["message"]
        assert "ERROR at Row:2:Column:3\nNo such column 'Foo__c' on entity 'Account'." in message

    @given(st.text())
    def test_any_text_quoted_by_simple_salesforce_is_read_back(self, text: str) -> None:
        parsed = soql.parse(format_soql("SELECT Id FROM Account WHERE Name = {} LIMIT 1", text))
        assert isinstance(parsed.where, soql.Comparison)
        assert isinstance(parsed.where.value, soql.Value)
        assert soql.plain(parsed.where.value.value) == text

    @given(st.text(), st.text(min_size=1))
    def test_any_text_quoted_for_like_matches_itself_and_what_it_begins(self, text: str, more: str) -> None:
        parsed = soql.parse(format_soql("SELECT Id FROM Account WHERE Name LIKE '{:like}%'", text))
        assert isinstance(parsed.where, soql.Comparison)
        assert isinstance(parsed.where.value, soql.Value)
        pattern = soql.like(parsed.where.value.value)
        assert pattern.fullmatch(text)
        assert pattern.fullmatch(text + more)

    @given(st.text(max_size=60))
    def test_any_other_text_is_refused_and_nothing_worse(self, text: str) -> None:
        with pytest.raises(Refusal):
            soql.parse("SELECT Id FROM Account WHERE " + text + " SELECT")


class TestQueryJobs:
    """Bulk API 2.0 queries."""

    JOB: ClassVar[dict[str, str]] = {
        "operation": "query",
        "query": "SELECT Id FROM Account",
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    }

    @pytest.fixture
    def jobs(self, url: str, session: requests.Session, organization: Salesforce) -> Callable[..., requests.Response]:
        bearer = {"Authorization": f"Bearer {organization.issue_token()}"}

        def ask(method: str, path: str = "", version: int = 66, **more: Any) -> requests.Response:
            address = f"{url}/services/data/v{version}.0/jobs/query{path}"
            return session.request(method, address, headers=bearer, timeout=60, **more)

        return ask

    def test_the_usual_client_gets_a_result_in_pages(self, client: Client, organization: Salesforce) -> None:
        for number in range(5):
            organization.create("Account", Name=f"Account {number}", Industry="Bulk")
        soql_text = "SELECT Name, Id FROM Account WHERE Industry = 'Bulk'"
        pages = [
            list(csv.DictReader(io.StringIO(page)))
            for page in client.bulk2.Account.query(soql_text, max_records=2, wait=0.01)
        ]
        assert [[row["Name"] for row in page] for page in pages] == [
            ["Account 0", "Account 1"],
            ["Account 2", "Account 3"],
            ["Account 4"],
        ]
        organization.delete("Account", pages[0][0]["Id"])
        [page] = client.bulk2.Account.query_all(f"{soql_text} AND IsDeleted = true", wait=0.01)
        assert page.splitlines()[0] == '"Name","Id"'
        assert page.count("Account 0") == 1

    def test_values_are_written_as_the_bulk_api_writes_them(
        self, jobs: Callable[..., requests.Response], organization: Salesforce
    ) -> None:
        organization.update("Opportunity", DEAL, Description='"so"\nand so', StageName="Closed Won")
        fields = (
            "Id, Name, Account.Name, Account.NumberOfEmployees, Amount, IsWon, CloseDate, SystemModstamp, Description"
        )
        job = jobs("POST", json={**self.JOB, "query": f"SELECT {fields} FROM Opportunity"}).json()
        for _ in range(2):
            jobs("GET", f"/{job['id']}")
        answer = jobs("GET", f"/{job['id']}/results")
        assert answer.text == (
            '"Id","Name","Account.Name","Account.NumberOfEmployees","Amount","IsWon","CloseDate","SystemModstamp",'
            '"Description"\n'
            f'"{DEAL}","Northwind - Enterprise 2026","Northwind Traders","","49800.0","true","2026-11-30",'
            '"2026-11-20T09:15:31.000Z","""so""\nand so"\n'
        )
        assert (answer.headers["Sforce-Locator"], answer.headers["Sforce-NumberOfRecords"]) == ("null", "1")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Sforce-Limit-Info"] == "api-usage=4/100000"

    def test_a_job_takes_its_time_and_its_result_stays_what_it_was(
        self, jobs: Callable[..., requests.Response], organization: Salesforce
    ) -> None:
        job = jobs("POST", json={**self.JOB, "query": "SELECT Name, Account.Name FROM Opportunity"}).json()
        assert job["id"].startswith("750")
        assert (job["state"], job["object"], job["apiVersion"]) == ("UploadComplete", "Opportunity", 66.0)
        assert jobs("GET", f"/{job['id']}/results").json()[0]["errorCode"] == "INVALIDJOBSTATE"
        assert jobs("GET", f"/{job['id']}").json()["state"] == "InProgress"
        assert jobs("DELETE", f"/{job['id']}").status_code == 400
        organization.update("Account", ACCOUNT, Name="Renamed")
        organization.delete("Opportunity", DEAL)
        finished = jobs("GET", f"/{job['id']}").json()
        assert (finished["state"], finished["numberRecordsProcessed"]) == ("JobComplete", 1)
        first, second = (jobs("GET", f"/{job['id']}/results?maxRecords=1").text for _ in range(2))
        assert first == second == '"Name","Account.Name"\n"Northwind - Enterprise 2026","Northwind Traders"\n'
        assert [one["id"] for one in jobs("GET").json()["records"]] == [job["id"]]
        assert jobs("DELETE", f"/{job['id']}").status_code == 204
        assert jobs("GET", f"/{job['id']}").status_code == 404

    def test_a_job_can_be_aborted_and_can_fail(
        self, jobs: Callable[..., requests.Response], client: Client, organization: Salesforce
    ) -> None:
        job = jobs("POST", json=self.JOB).json()
        assert jobs("PATCH", f"/{job['id']}", json={"state": "Aborted"}).json()["state"] == "Aborted"
        assert jobs("PATCH", f"/{job['id']}", json={"state": "Aborted"}).status_code == 400
        assert jobs("PATCH", f"/{job['id']}", json={"state": "JobComplete"}).status_code == 400
        organization.fail_query_job("InternalServerError : retried more than 15 times")
        with pytest.raises(exceptions.SalesforceOperationError, match="retried more than 15 times"):
            list(client.bulk2.Account.query("SELECT Id FROM Account", wait=0.01))

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"query": "SELECT Id, (SELECT Id FROM Opportunities) FROM Account"}, "API_ERROR"),
            ({"query": "SELECT COUNT() FROM Account"}, "API_ERROR"),
            ({"query": "SELECT Id FROM Account OFFSET 5"}, "API_ERROR"),
            ({"query": "SELECT Id, BillingAddress FROM Account"}, "API_ERROR"),
            ({"query": "SELECT Name, COUNT(Id) FROM Account GROUP BY Name"}, "MALFORMED_QUERY"),
            ({"query": "SELECT Nome FROM Account"}, "INVALID_FIELD"),
            ({"query": "SELECT Id FROM Account WHERE Name > null"}, "INVALID_QUERY_FILTER_OPERATOR"),
            ({"query": "SELECT Id FROM Nothing"}, "INVALID_TYPE"),
            ({"query": ""}, "INVALIDJOB"),
            ({"operation": "insert"}, "INVALIDJOB"),
            ({"contentType": "JSON"}, "INVALIDJOB"),
            ({"columnDelimiter": ","}, "INVALIDJOB"),
            ({"object": "Account"}, "JSON_PARSER_ERROR"),
        ],
    )
    def test_what_bulk_does_not_take_is_refused_at_once(
        self, jobs: Callable[..., requests.Response], change: dict[str, str], code: str
    ) -> None:
        answer = jobs("POST", json={**self.JOB, **change})
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)

    @pytest.mark.parametrize("query", ["locator=MjAwMA", "locator=%C3%BC", "locator=", "maxRecords=0", "page=2"])
    def test_pages_that_are_not_there_are_refused(self, jobs: Callable[..., requests.Response], query: str) -> None:
        job = jobs("POST", json=self.JOB).json()
        for _ in range(2):
            jobs("GET", f"/{job['id']}")
        assert jobs("GET", f"/{job['id']}/results?{query}").status_code == 400

    def test_a_job_belongs_to_the_version_it_was_made_with(self, jobs: Callable[..., requests.Response]) -> None:
        job = jobs("POST", json=self.JOB).json()
        assert jobs("GET", f"/{job['id']}", version=65).status_code == 400
        assert jobs("GET", f"/{job['id']}", version=46).status_code == 404
        assert jobs("GET", f"/{job['id'][:15]}").status_code == 200

    def test_jobs_count_as_calls_and_as_jobs(self, jobs: Callable[..., requests.Response], client: Client) -> None:
        jobs("POST", json=self.JOB)
        limits = client.limits()
        assert limits["DailyBulkV2QueryJobs"] == {"Max": 10_000, "Remaining": 9_999}
        assert limits["DailyApiRequests"] == {"Max": 100_000, "Remaining": 99_998}


class TestLife:
    """What becomes of records that others point at."""

    def test_a_merged_account_names_its_master_which_has_all_that_was_its(
        self, client: Client, organization: Salesforce, clock: Clock
    ) -> None:
        master = organization.create("Account", Name="Master")
        clock.move(60)
        organization.merge("Account", master, ACCOUNT)
        assert client.query(f"SELECT Id FROM Account WHERE Id = '{ACCOUNT}'")["records"] == []
        [gone] = client.query_all(
            f"SELECT IsDeleted, MasterRecordId, MasterRecord.Name FROM Account WHERE Id = '{ACCOUNT}'",
            include_deleted=True,
        )["records"]
        assert (gone["IsDeleted"], gone["MasterRecordId"], gone["MasterRecord"]["Name"]) == (True, master, "Master")
        deal = organization.get("Opportunity", DEAL)
        assert (deal["AccountId"], deal["SystemModstamp"]) == (master, "2026-11-20T09:16:31.000+0000")
        with pytest.raises(Refusal, match="ENTITY_IS_DELETED"):
            organization.merge("Account", master, ACCOUNT)

    def test_an_opportunity_moves_to_another_account(self, client: Client, organization: Salesforce) -> None:
        other = organization.create("Account", Name="Other")
        client.Opportunity.update(DEAL, {"AccountId": other})
        soql_text = "SELECT Id FROM Opportunity WHERE AccountId = '{}'"
        assert client.query(soql_text.format(ACCOUNT))["totalSize"] == 0
        assert client.query(soql_text.format(other))["totalSize"] == 1

    def test_what_is_deleted_is_seen_with_its_parents_by_who_looks_into_the_recycle_bin(
        self, client: Client, organization: Salesforce
    ) -> None:
        organization.delete("Account", ACCOUNT)
        soql_text = f"SELECT Id, IsDeleted, Account.Name FROM Opportunity WHERE Account.Name != null AND Id = '{DEAL}'"
        assert client.query(soql_text)["records"] == []
        [deal] = client.query(soql_text, include_deleted=True)["records"]
        assert (deal["IsDeleted"], deal["Account"]["Name"]) == (True, "Northwind Traders")

    def test_very_many_records_can_be_there_without_being_made_one_by_one(self) -> None:
        seeded = Salesforce("client", "hush", now=Clock())
        [account] = seeded.seed("Account", [{"Name": "Seeded"}])
        row = {"AccountId": account, "Name": "Deal", "CloseDate": "2026-01-15", "StageName": "Closed Won"}
        ids = seeded.seed("Opportunity", ({**row, "IsWon": n % 2 == 0} for n in range(3)))
        assert len(set(ids)) == 3
        found = seeded.query(f"SELECT Id, CloseDate, SystemModstamp FROM Opportunity WHERE AccountId = '{account}'")
        assert [one["Id"] for one in found] == ids
        assert (found[0]["CloseDate"], found[0]["SystemModstamp"]) == ("2026-01-15", "2026-11-20T09:15:31.000+0000")
        assert [one["Id"] for one in seeded.query("SELECT Id FROM Opportunity WHERE IsWon = TRUE")] == ids[::2]
        later = seeded.create(
            "Opportunity", Name="Later", AccountId=account, CloseDate="2026-01-15", StageName="Closed Won"
        )
        assert later not in ids
        seeded.reset()
        assert [one["Id"] for one in seeded.find("Opportunity")] == ids

    @given(st.lists(st.tuples(st.sampled_from("create move delete undo".split()), st.integers(0, 9)), max_size=30))
    def test_what_is_found_by_a_lookup_is_what_has_it_whatever_happened_before(self, steps: list[Any]) -> None:
        store = Store(STANDARD, Clock())
        account, contact = STANDARD.objects["Account"], STANDARD.objects["Contact"]
        lookup = contact.fields["AccountId"]
        accounts = [store.insert(account, {"Name": name}) for name in "abc"]
        live: list[str] = []

        def step(kind: str, number: int) -> None:
            if kind == "create":
                live.append(store.insert(contact, {"LastName": "x", "AccountId": accounts[number % 3]}))
            elif live and kind == "move":
                store.update(contact, live[number % len(live)], {"AccountId": accounts[number % 3]})
            elif live and kind == "delete":
                store.delete(contact, live.pop(number % len(live)))

        for kind, number in steps:
            if kind == "undo":
                before, kept = store.savepoint(), list(live)
                mark = store.mark()
                for one in ("create", "move", "delete", "create"):
                    step(one, number)
                store.undo(mark)
                live[:] = kept
                assert store.savepoint() == before
            else:
                step(kind, number)
            for id in accounts:
                having = [record["Id"] for record in store.having(contact, lookup, [id])]
                assert having == [record["Id"] for record in store.records(contact) if record["AccountId"] == id]


class TestRecords:
    def test_a_record_is_created_read_changed_and_deleted(self, client: Client, clock: Clock) -> None:
        created = client.Account.create({"Name": "  Fabrikam ", "website": "https://fabrikam.example"})
        assert (created["success"], created["errors"]) == (True, [])
        account = client.Account.get(created["id"][:15])
        assert (account["Id"], account["Name"]) == (created["id"], "Fabrikam")
        assert account["CreatedDate"] == account["SystemModstamp"] == "2026-11-20T09:15:31.000+0000"

        clock.move(5)
        assert client.Account.update(created["id"], {"Stigg_Customer_ID__c": "customer-1", "Website": ""}) == 204
        account = client.Account.get(created["id"])
        assert (account["Stigg_Customer_ID__c"], account["Website"]) == ("customer-1", None)
        assert account["SystemModstamp"] == "2026-11-20T09:15:36.000+0000"
        assert account["CreatedDate"] == "2026-11-20T09:15:31.000+0000"

        assert client.Account.delete(created["id"]) == 204
        for again in (client.Account.get, client.Account.delete):
            with pytest.raises(exceptions.SalesforceResourceNotFound) as error:
                again(created["id"])
            assert refusal_of(error) == "ENTITY_IS_DELETED"
        assert client.query(f"SELECT Id FROM Account WHERE Id = '{created['id']}'")["totalSize"] == 0
        found = client.query(f"SELECT IsDeleted FROM Account WHERE Id = '{created['id']}'", include_deleted=True)
        assert found["records"][0]["IsDeleted"] is True

    def test_an_upsert_creates_once_and_then_updates_by_external_id(
        self, client: Client, organization: Salesforce
    ) -> None:
        target = client.Stigg_Provisioning__c
        first = target.upsert(f"Opportunity_ID__c/{DEAL}", {"Status__c": "Provisioning"}, raw_response=True)
        again = target.upsert(f"Opportunity_ID__c/{DEAL}", {"Status__c": "Provisioned"}, raw_response=True)
        assert (first.status_code, first.json()["created"]) == (201, True)
        assert (again.status_code, again.json()["created"]) == (200, False)
        assert again.json()["id"] == first.json()["id"]
        record = target.get_by_custom_id("Opportunity_ID__c", DEAL)
        assert (record["Name"], record["Status__c"]) == ("SP-00001", "Provisioned")
        assert len(organization.find("Stigg_Provisioning__c")) == 1

    def test_before_version_46_an_upsert_that_updates_answers_nothing(
        self, url: str, client: Client, session: requests.Session
    ) -> None:
        old: Client = SalesforceClient(instance_url=url, session_id=client.session_id, session=session, version="45.0")
        for status in (201, 204):
            key = format_external_id("Opportunity_ID__c", DEAL)
            assert old.Stigg_Provisioning__c.upsert(key, {"Status__c": "Held"}) == status

    def test_writing_the_child_record_leaves_the_opportunity_alone_but_writing_a_line_does_not(
        self, client: Client, organization: Salesforce, clock: Clock
    ) -> None:
        before = client.Opportunity.get(DEAL)
        clock.move(60)
        client.Stigg_Provisioning__c.create({"Opportunity__c": DEAL, "Account__c": ACCOUNT, "Status__c": "Held"})
        assert client.Opportunity.get(DEAL) == before

        line = organization.find("OpportunityLineItem", OpportunityId=DEAL)[0]
        client.OpportunityLineItem.update(line["Id"], {"UnitPrice": 50000})
        after = client.Opportunity.get(DEAL)
        assert after["SystemModstamp"] == "2026-11-20T09:16:31.000+0000"
        assert (before["Amount"], after["Amount"]) == (49800.0, 51800.0)

    def test_closing_a_deal_follows_from_its_stage(self, client: Client) -> None:
        client.Opportunity.update(DEAL, {"StageName": "Closed Won"})
        deal = client.Opportunity.get(DEAL)
        assert (deal["IsClosed"], deal["IsWon"], deal["Probability"]) == (True, True, 100.0)

    @pytest.mark.parametrize(
        ("fields", "code", "concerned"),
        [
            ({"Nonsense__c": 1}, "INVALID_FIELD", None),
            ({"Id": DEAL}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["Id"]),
            (
                {"SystemModstamp": "2026-01-01T00:00:00Z"},
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                ["SystemModstamp"],
            ),
            ({"IsWon": True}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["IsWon"]),
            ({"Name": None}, "REQUIRED_FIELD_MISSING", ["Name"]),
            ({"Name": "x" * 121}, "STRING_TOO_LONG", ["Name"]),
            ({"StageName": "Won"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ["StageName"]),
            ({"AccountId": "0015g0000000000AAA"}, "INVALID_CROSS_REFERENCE_KEY", ["AccountId"]),
            ({"AccountId": DEAL}, "MALFORMED_ID", ["AccountId"]),
            ({"AccountId": ACCOUNT[:17] + "A"}, "MALFORMED_ID", ["AccountId"]),
            ({"CloseDate": "20.11.2026"}, "JSON_PARSER_ERROR", None),
            ({"CloseDate": "2026-02-30"}, "JSON_PARSER_ERROR", None),
            ({"Amount": "a lot"}, "JSON_PARSER_ERROR", None),
            ({"Amount": 1e17}, "NUMBER_OUTSIDE_VALID_RANGE", ["Amount"]),
        ],
    )
    def test_what_a_field_cannot_hold_is_refused(
        self,
        client: Client,
        organization: Salesforce,
        fields: dict[str, Any],
        code: str,
        concerned: list[str] | None,
    ) -> None:
        good = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2026-12-01", "AccountId": ACCOUNT}
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.Opportunity.create({**good, **fields})
        assert refusal_of(error) == code
        assert errors_of(error)[0].get("fields") == concerned
        assert len(organization.find("Opportunity")) == 1

    def test_external_ids_are_unique_whatever_their_case(self, client: Client, organization: Salesforce) -> None:
        client.Stigg_Provisioning__c.create({"Opportunity_ID__c": "abc"})
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.Stigg_Provisioning__c.create({"Opportunity_ID__c": "ABC"})
        assert refusal_of(error) == "DUPLICATE_VALUE"
        assert organization.find("Stigg_Provisioning__c")[0]["Id"] in errors_of(error)[0]["message"]

    def test_an_upsert_must_not_repeat_its_key(self, client: Client) -> None:
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.Stigg_Provisioning__c.upsert("Opportunity_ID__c/x", {"Opportunity_ID__c": "x"})
        assert refusal_of(error) == "INVALID_FIELD"

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.Account.get("0015g0000000000AAA"),
            lambda client: client.Account.get("nonsense"),
            lambda client: client.Account.get_by_custom_id("Name", "Northwind Traders"),
            lambda client: client.Acount.create({"Name": "x"}),
            lambda client: client.restful("nothing/here"),
        ],
    )
    def test_what_is_not_there_is_a_404(self, client: Client, call: Callable[[Client], Any]) -> None:
        with pytest.raises(exceptions.SalesforceResourceNotFound) as error:
            call(client)
        assert refusal_of(error) == "NOT_FOUND"

    def test_deleting_an_account_takes_its_deals_with_it_and_frees_what_only_points_at_them(
        self, client: Client, organization: Salesforce
    ) -> None:
        client.Stigg_Provisioning__c.create({"Opportunity__c": DEAL, "Account__c": ACCOUNT})
        client.Account.delete(ACCOUNT)
        assert organization.find("Opportunity") == organization.find("OpportunityLineItem") == []
        kept = organization.find("Stigg_Provisioning__c")[0]
        assert (kept["Opportunity__c"], kept["Account__c"]) == (None, None)

    @given(st.text(alphabet=string.ascii_letters + string.digits, min_size=15, max_size=15))
    def test_the_suffix_of_an_id_tells_its_case_apart(self, fifteen: str) -> None:
        eighteen = to_18(fifteen)
        assert eighteen.startswith(fifteen)
        assert to_18(eighteen) == eighteen
        if fifteen.swapcase() != fifteen:
            assert to_18(fifteen.swapcase()).lower() != eighteen.lower()
            with pytest.raises(ValueError):
                to_18(fifteen.swapcase() + eighteen[15:])

    def test_the_suffix_is_salesforces(self) -> None:
        known = ("0065g00000ABCdEAAX", "0015g00000XyZaBAAV", "00D5g000004xYzAEAU")
        assert [to_18(one[:15]) for one in known] == list(known)


class TestPackages:
    CPQ_FIELDS = "SELECT SBQQ__AmendedContract__r.SBQQ__Opportunity__c, SBQQ__PrimaryQuote__c FROM Opportunity"
    CPQ_OBJECT = "SELECT SBQQ__EffectiveQuantity__c FROM SBQQ__QuoteLine__c"

    def test_what_a_package_brings_is_unknown_before_it_is_installed_and_after_it_is_gone(
        self, client: Client, organization: Salesforce
    ) -> None:
        def refusals() -> list[str]:
            codes = []
            for statement in (self.CPQ_FIELDS, self.CPQ_OBJECT):
                with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
                    client.query(statement)
                codes.append(errors_of(error)[0]["errorCode"])
            return codes

        assert refusals() == ["INVALID_FIELD", "INVALID_TYPE"]
        organization.install_cpq()
        [deal] = client.query(self.CPQ_FIELDS)["records"]
        assert (deal["SBQQ__AmendedContract__r"], deal["SBQQ__PrimaryQuote__c"]) == (None, None)
        assert client.query(self.CPQ_OBJECT)["totalSize"] == 0
        organization.reset()
        assert refusals() == ["INVALID_FIELD", "INVALID_TYPE"]

    def test_what_a_quote_lines_formulas_say_no_client_writes(self, client: Client, organization: Salesforce) -> None:
        organization.install_cpq()
        terms = {"SBQQ__StartDate__c": "2026-01-31", "SBQQ__SubscriptionTerm__c": 13}
        line = {"SBQQ__Quote__c": organization.create("SBQQ__Quote__c", **terms), "SBQQ__Quantity__c": 15}
        amended = organization.create("SBQQ__QuoteLine__c", **line, SBQQ__PriorQuantity__c=10)
        block = organization.create("SBQQ__QuoteLine__c", **line, SBQQ__PricingMethod__c="Block")
        assert organization.get("SBQQ__QuoteLine__c", amended)["SBQQ__EffectiveQuantity__c"] == 5
        assert organization.get("SBQQ__QuoteLine__c", block)["SBQQ__EffectiveQuantity__c"] == 1
        assert organization.get("SBQQ__QuoteLine__c", block)["SBQQ__EffectiveEndDate__c"] == "2027-02-27"
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.SBQQ__QuoteLine__c.create({**line, "SBQQ__EffectiveQuantity__c": 7})
        assert errors_of(error)[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"

    def test_configuration_is_deployed_and_read_and_never_written_by_a_client(
        self, client: Client, organization: Salesforce
    ) -> None:
        record = {"DeveloperName": "Ours", "MasterLabel": "Ours", "Line_Object__c": "Quote"}
        id = organization.deploy("Stigg_Mapping__mdt", **record)
        assert organization.deploy("Stigg_Mapping__mdt", DeveloperName="ours", Active__c=False) == id
        [read] = client.query("SELECT MasterLabel, Line_Object__c, Active__c FROM Stigg_Mapping__mdt")["records"]
        assert (read["MasterLabel"], read["Line_Object__c"], read["Active__c"]) == ("Ours", "Quote", False)
        for write in (
            lambda: client.Stigg_Mapping__mdt.create({**record, "DeveloperName": "Theirs"}),
            lambda: client.Stigg_Mapping__mdt.update(id, {"Active__c": True}),
        ):
            with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
                write()
            assert errors_of(error)[0]["errorCode"] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"

    def test_a_field_that_is_hidden_is_no_column(self, client: Client, organization: Salesforce) -> None:
        organization.hide("Product2", "Stigg_Type__c")
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.query("SELECT Product2.Stigg_Type__c FROM OpportunityLineItem")
        assert "No such column 'Stigg_Type__c'" in errors_of(error)[0]["message"]

    def test_an_older_package_has_fewer_fields_and_values_until_the_newest_is_deployed(
        self, client: Client, organization: Salesforce
    ) -> None:
        def sent(**fields: Any) -> Any:
            return client.restful(PROVISIONINGS, method="PATCH", json={"records": [provisioning("a", **fields)]})

        def told() -> tuple[bool, bool]:
            fields = {one["name"]: one for one in client.Stigg_Provisioning__c.describe()["fields"]}
            return "Code__c" in fields, "Ended" in [one["value"] for one in fields["Status__c"]["picklistValues"]]

        assert sent(Status__c="Ended", Code__c="term_over")[0]["success"]
        organization.deploy_package("first")
        assert told() == (False, False)
        for refused in (
            lambda: sent(Status__c="Held", Code__c="no_base"),
            lambda: client.query("SELECT Code__c FROM Stigg_Provisioning__c"),
        ):
            with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
                refused()
            assert refusal_of(error) == "INVALID_FIELD"
        assert sent(Status__c="Ended")[0]["errors"][0]["statusCode"] == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
        assert sent(Reason__c="What a record has stays, and can be written beside.")[0]["success"]
        organization.deploy_package("newest")
        assert told() == (True, True)
        [record] = organization.find("Stigg_Provisioning__c")
        assert (record["Status__c"], record["Code__c"]) == ("Ended", "term_over")

    def test_a_value_that_is_switched_off_is_told_so_and_refused(
        self, client: Client, organization: Salesforce
    ) -> None:
        organization.switch_off("Stigg_Provisioning__c", "Status__c", "Held")
        [status] = [one for one in client.Stigg_Provisioning__c.describe()["fields"] if one["name"] == "Status__c"]
        assert [one["value"] for one in status["picklistValues"] if not one["active"]] == ["Held"]
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.Stigg_Provisioning__c.create({"Status__c": "Held"})
        assert refusal_of(error) == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"


class TestDescribeAndLimits:
    def test_describe_tells_the_objects_and_their_fields(self, client: Client) -> None:
        described = client.describe()
        assert described is not None
        assert "Stigg_Provisioning__c" in [one["name"] for one in described["sobjects"]]

        detail = client.Stigg_Provisioning__c.describe()
        fields = {one["name"]: one for one in detail["fields"]}
        key = fields["Opportunity_ID__c"]
        assert (key["externalId"], key["unique"], key["length"]) == (True, True, 18)
        values = [value["value"] for value in fields["Status__c"]["picklistValues"]]
        assert values[0] == "Provisioning"
        assert "Payment required" in values
        assert fields["Opportunity__c"]["referenceTo"] == ["Opportunity"]
        assert (fields["Name"]["autoNumber"], fields["Name"]["createable"]) == (True, False)
        children = [child["relationshipName"] for child in client.Opportunity.describe()["childRelationships"]]
        assert {"OpportunityLineItems", "Stigg_Provisionings__r"} <= set(children)

    def test_each_call_is_counted_and_told(self, client: Client) -> None:
        client.Account.get(ACCOUNT)
        assert client.limits()["DailyApiRequests"] == {"Max": 100000, "Remaining": 99998}
        assert client.api_usage["api-usage"].used == 2

    def test_when_the_calls_are_used_up_everything_is_refused(self, client: Client, organization: Salesforce) -> None:
        organization.use_up_api_calls()
        with pytest.raises(exceptions.SalesforceRefusedRequest) as error:
            client.Account.get(ACCOUNT)
        assert refusal_of(error) == "REQUEST_LIMIT_EXCEEDED"
        organization.renew_api_calls()
        assert client.Account.get(ACCOUNT)["Id"] == ACCOUNT

    def test_versions_are_listed_without_a_session_and_others_do_not_exist(
        self, session: requests.Session, url: str, client: Client
    ) -> None:
        listed = session.get(f"{url}/services/data/", timeout=60).json()
        assert listed[-1] == {"label": "Spring '26", "url": "/services/data/v66.0", "version": "66.0"}
        bearer = {"Authorization": f"Bearer {client.session_id}"}
        retired = session.get(f"{url}/services/data/v29.0/limits", headers=bearer, timeout=60)
        assert (retired.status_code, retired.json()[0]["errorCode"]) == (410, "UNSUPPORTED_API_VERSION")
        assert session.get(f"{url}/services/data/v99.0/limits", headers=bearer, timeout=60).status_code == 404
        assert session.get(f"{url}/services/data/v66.0/limits", timeout=60).status_code == 401

    def test_broken_json_and_wrong_methods_are_refused(
        self, session: requests.Session, url: str, client: Client
    ) -> None:
        headers = {"Authorization": f"Bearer {client.session_id}", "Content-Type": "application/json"}
        accounts = f"{url}/services/data/v66.0/sobjects/Account"
        broken = session.post(accounts, data="{", headers=headers, timeout=60)
        assert (broken.status_code, broken.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")
        put = session.put(accounts, json={}, headers=headers, timeout=60)
        assert (put.status_code, put.json()[0]["errorCode"]) == (405, "METHOD_NOT_ALLOWED")


class TestCollections:
    def test_good_records_are_kept_beside_refused_ones(self, client: Client, organization: Salesforce) -> None:
        organization.create("Stigg_Provisioning__c", Opportunity_ID__c="known", Status__c="Provisioning")
        body = {
            "allOrNone": False,
            "records": [
                provisioning("known", Status__c="Provisioned"),
                provisioning("new", Status__c="Held", Reason__c="Waits for its base."),
                provisioning("bad", Status__c="Done"),
                provisioning("lost", Opportunity__c="0065g0000000000AAA"),
                provisioning("twice"),
                provisioning("Twice"),
            ],
        }
        results = client.restful(PROVISIONINGS, method="PATCH", json=body)
        assert [(one["success"], one.get("created")) for one in results[:2]] == [(True, False), (True, True)]
        assert [one["errors"][0]["statusCode"] for one in results[2:]] == [
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "INVALID_CROSS_REFERENCE_KEY",
            "DUPLICATE_VALUE",
            "DUPLICATE_VALUE",
        ]
        assert results[2]["errors"][0]["fields"] == ["Status__c"]
        assert "id" not in results[2]
        kept = {one["Opportunity_ID__c"]: one["Status__c"] for one in organization.find("Stigg_Provisioning__c")}
        assert kept == {"known": "Provisioned", "new": "Held"}

    def test_all_or_none_takes_everything_back(self, client: Client, organization: Salesforce) -> None:
        body = {
            "allOrNone": True,
            "records": [provisioning("new", Status__c="Held"), provisioning("bad", Status__c="Done")],
        }
        results = client.restful(PROVISIONINGS, method="PATCH", json=body)
        assert [one["errors"][0]["statusCode"] for one in results] == [
            "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        ]
        assert organization.find("Stigg_Provisioning__c") == []

    def test_records_are_created_updated_read_and_deleted_together(self, client: Client) -> None:
        kind = {"attributes": {"type": "Account"}}
        created = client.restful(
            "composite/sobjects",
            method="POST",
            json={"records": [{**kind, "Name": "A"}, {**kind, "Name": "B"}]},
        )
        first, second = (one["id"] for one in created)
        missing = "0015g0000000000AAA"
        updated = client.restful(
            "composite/sobjects",
            method="PATCH",
            json={"records": [{**kind, "id": first, "Name": "A2"}, {**kind, "id": missing, "Name": "x"}]},
        )
        assert updated[0] == {"id": first, "success": True, "errors": []}
        assert updated[1]["errors"][0]["statusCode"] == "INVALID_CROSS_REFERENCE_KEY"
        read = client.restful("composite/sobjects/Account", params={"ids": f"{first},{missing}", "fields": "Name"})
        assert [one and one["Name"] for one in read] == ["A2", None]
        gone = client.restful("composite/sobjects", method="DELETE", params={"ids": f"{second},{second}"})
        assert [one["success"] for one in gone] == [True, False]
        assert gone[1]["errors"][0]["statusCode"] == "ENTITY_IS_DELETED"

    def test_an_unknown_field_or_a_record_too_many_refuses_the_whole_request(
        self, client: Client, organization: Salesforce
    ) -> None:
        for records, code in (
            ([provisioning("a"), provisioning("b", Nonsense__c=1)], "INVALID_FIELD"),
            ([provisioning(f"{number}") for number in range(201)], "EXCEEDED_ID_LIMIT"),
        ):
            with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
                client.restful(PROVISIONINGS, method="PATCH", json={"records": records})
            assert refusal_of(error) == code
        assert organization.find("Stigg_Provisioning__c") == []

    def test_a_locked_row_refuses_its_record_until_the_lock_is_let_go(
        self, client: Client, organization: Salesforce
    ) -> None:
        locked = organization.create("Stigg_Provisioning__c", Opportunity_ID__c="locked", Status__c="Provisioning")
        organization.lock_row(locked, times=1)
        body = {"records": [provisioning("locked", Status__c="Held"), provisioning("free", Status__c="Held")]}
        first = client.restful(PROVISIONINGS, method="PATCH", json=body)
        assert [one["success"] for one in first] == [False, True]
        assert first[0]["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"
        again = client.restful(PROVISIONINGS, method="PATCH", json=body)
        assert [one["success"] for one in again] == [True, True]

    def test_a_locked_parent_keeps_a_child_from_being_created(self, client: Client, organization: Salesforce) -> None:
        organization.lock_row(DEAL)
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            client.Stigg_Provisioning__c.create({"Opportunity__c": DEAL})
        assert refusal_of(error) == "UNABLE_TO_LOCK_ROW"
        client.Stigg_Provisioning__c.create({"Opportunity__c": DEAL})


class TestComposite:
    def send(self, client: Client, *parts: dict[str, Any], all_or_none: bool = False) -> list[dict[str, Any]]:
        body = {"allOrNone": all_or_none, "compositeRequest": list(parts)}
        answer: dict[str, list[dict[str, Any]]] = client.restful("composite", method="POST", json=body)
        return answer["compositeResponse"]

    def part(self, method: str, path: str, reference: str, body: Any = None) -> dict[str, Any]:
        part = {"method": method, "url": f"/services/data/v66.0/{path}", "referenceId": reference}
        return part if body is None else {**part, "body": body}

    def test_the_write_back_is_one_call(self, client: Client, organization: Salesforce) -> None:
        account, records = self.send(
            client,
            self.part("PATCH", f"sobjects/Account/{ACCOUNT}", "account", {"Stigg_Customer_ID__c": "customer-1"}),
            self.part(
                "PATCH",
                PROVISIONINGS,
                "provisionings",
                {
                    "allOrNone": False,
                    "records": [
                        provisioning(DEAL, Opportunity__c=DEAL, Account__c=ACCOUNT, Status__c="Provisioned"),
                        provisioning("bad", Status__c="Done"),
                    ],
                },
            ),
        )
        assert account == {"body": None, "httpHeaders": {}, "httpStatusCode": 204, "referenceId": "account"}
        assert (records["httpStatusCode"], [one["success"] for one in records["body"]]) == (
            200,
            [True, False],
        )
        assert organization.get("Account", ACCOUNT)["Stigg_Customer_ID__c"] == "customer-1"
        assert organization.find("Stigg_Provisioning__c", Opportunity__c=DEAL[:15])[0]["Status__c"] == "Provisioned"

    def test_later_parts_use_what_earlier_ones_answered(self, client: Client, organization: Salesforce) -> None:
        account, contact, found, read = self.send(
            client,
            self.part("POST", "sobjects/Account", "a", {"Name": "Fabrikam"}),
            self.part("POST", "sobjects/Contact", "c", {"LastName": "Vance", "AccountId": "@{a.id}"}),
            self.part("GET", "query?q=SELECT+AccountId+FROM+Contact+WHERE+Id+=+'@{c.id}'", "q"),
            self.part("GET", "sobjects/Account/@{q.records[0].AccountId}?fields=Name", "r"),
        )
        assert account["httpStatusCode"] == contact["httpStatusCode"] == 201
        assert account["httpHeaders"]["Location"].endswith(account["body"]["id"])
        assert found["body"]["records"][0]["AccountId"] == account["body"]["id"]
        assert read["body"]["Name"] == "Fabrikam"
        assert organization.find("Contact", AccountId=account["body"]["id"])

    def test_a_failed_part_halts_only_those_that_need_it(self, client: Client, organization: Salesforce) -> None:
        answers = self.send(
            client,
            self.part("POST", "sobjects/Account", "a", {}),
            self.part("POST", "sobjects/Contact", "c", {"LastName": "Vance", "AccountId": "@{a.id}"}),
            self.part("POST", "sobjects/Account", "b", {"Name": "Fabrikam"}),
        )
        assert [one["httpStatusCode"] for one in answers] == [400, 400, 201]
        assert answers[0]["body"][0]["errorCode"] == "REQUIRED_FIELD_MISSING"
        assert answers[1]["body"][0]["errorCode"] == "PROCESSING_HALTED"
        assert organization.find("Contact") == []

    def test_all_or_none_takes_every_part_back(self, client: Client, organization: Salesforce) -> None:
        answers = self.send(
            client,
            self.part("POST", "sobjects/Account", "a", {"Name": "Fabrikam"}),
            self.part("PATCH", "sobjects/Account/0015g0000000000AAA", "b", {"Name": "x"}),
            self.part("POST", "sobjects/Account", "c", {"Name": "Contoso"}),
            all_or_none=True,
        )
        codes = [one["body"][0]["errorCode"] for one in answers]
        assert codes == ["PROCESSING_HALTED", "NOT_FOUND", "PROCESSING_HALTED"]
        assert [one["Name"] for one in organization.find("Account")] == ["Northwind Traders"]

    def test_all_or_none_overrides_a_collections_own_wish(self, client: Client, organization: Salesforce) -> None:
        records = [provisioning("good", Status__c="Held"), provisioning("bad", Status__c="Done")]
        answers = self.send(
            client,
            self.part("PATCH", f"sobjects/Account/{ACCOUNT}", "a", {"Stigg_Customer_ID__c": "customer-1"}),
            self.part("PATCH", PROVISIONINGS, "p", {"allOrNone": False, "records": records}),
            all_or_none=True,
        )
        assert answers[0]["body"][0]["errorCode"] == "PROCESSING_HALTED"
        assert organization.get("Account", ACCOUNT)["Stigg_Customer_ID__c"] is None
        assert organization.find("Stigg_Provisioning__c") == []

    def test_more_than_a_composite_can_hold_is_refused(self, client: Client) -> None:
        reads = [self.part("GET", f"sobjects/Account/{ACCOUNT}", f"r{number}") for number in range(26)]
        queries = [self.part("GET", "query?q=SELECT+Id+FROM+Account", f"q{number}") for number in range(6)]
        for parts in (reads, queries):
            with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
                self.send(client, *parts)
            assert refusal_of(error) == "LIMIT_EXCEEDED"
        assert len(self.send(client, *reads[:25])) == 25
        with pytest.raises(exceptions.SalesforceMalformedRequest) as error:
            self.send(client, reads[0], reads[0])
        assert refusal_of(error) == "JSON_PARSER_ERROR"


class TestServer:
    def test_failures_come_in_salesforces_shapes(
        self, client: Client, served: tuple[StandIn, Path], organization: Salesforce
    ) -> None:
        served[0].fail("answer", "GET", ".*/sobjects/Account/.*", status=503)
        with pytest.raises(exceptions.SalesforceGeneralError) as error:
            client.Account.get(ACCOUNT)
        assert (error.value.status, refusal_of(error)) == (503, "SERVER_UNAVAILABLE")

        served[0].fail("drop_after", "PATCH")
        with pytest.raises(requests.ConnectionError):
            client.Account.update(ACCOUNT, {"Stigg_Customer_ID__c": "customer-1"})
        assert organization.get("Account", ACCOUNT)["Stigg_Customer_ID__c"] == "customer-1"

    def test_a_client_that_does_not_know_the_authority_refuses_to_talk(self, url: str) -> None:
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{url}/services/data/", timeout=60)

    def test_a_client_that_connects_and_says_nothing_keeps_nobody_out(
        self, url: str, session: requests.Session
    ) -> None:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
            assert session.get(f"{url}/services/data/", timeout=60).status_code == 200

    def test_record_pages_open_with_or_without_lightning_and_show_what_belongs_to_a_record(
        self, url: str, session: requests.Session, organization: Salesforce
    ) -> None:
        address = "https://app.stigg.io/customers/customer-1?a=1&b=2"
        organization.update("Account", ACCOUNT, Stigg_Customer_URL__c=address, Name="<b>Northwind</b>")
        organization.create(
            "Stigg_Provisioning__c", Opportunity__c=DEAL, Account__c=ACCOUNT, Status__c="Provisioned",
            Subscription_URL__c="javascript:alert(1)",
        )  # fmt: skip
        account = session.get(f"{url}/lightning/r/Account/{ACCOUNT}/view", timeout=60)
        deal = session.get(f"{url}/{DEAL}", timeout=60)
        assert account.status_code == deal.status_code == 200
        assert account.headers["Content-Type"].startswith("text/html")
        assert 'href="https://app.stigg.io/customers/customer-1?a=1&amp;b=2"' in account.text
        assert "<b>Northwind" not in account.text
        assert "&lt;b&gt;Northwind" in account.text
        assert "Northwind - Enterprise 2026" in account.text
        assert "SP-00001" in account.text
        assert "Enterprise" in deal.text
        assert "SP-00001" in deal.text
        assert 'href="javascript' not in deal.text
        assert session.get(url, timeout=60).status_code == 200
        assert session.get(f"{url}/0065g0000000000AAA", timeout=60).status_code == 404
