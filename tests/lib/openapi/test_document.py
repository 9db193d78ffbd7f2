"""The API's description of itself, made from the code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar

from app.lib.http.routes import operations
from app.lib.openapi.document import Document, document_of, rendered
from app.lib.settings import Settings
from app.lib.validation.body import RuleViolation, Trimmed
from app.main import create_app
from tests.live import call
from tests.support import SECRET, Client, assert_problem

SNAPSHOT = Path(__file__).parents[1] / "openapi.json"
RENEW = "uv run python manage.py openapi --out tests/lib/openapi.json"
METHODS = ("get", "head", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def plain() -> Settings:
    """Settings of which only the required ones are set."""
    return Settings(environment="test", database_url="postgresql://localhost/none", better_auth_secret=SECRET)


@pytest.fixture(scope="module")
def document(plain: Settings) -> Document:
    return document_of(create_app(plain))


def operations_in(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def resolve(document: Document, part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        _, kind, name = part["$ref"].removeprefix("#/").split("/")
        part = document["components"][kind][name]
    return part


def headers_of(document: Document, operation: dict[str, Any], place: str = "header") -> set[str]:
    parameters = [resolve(document, parameter) for parameter in operation["parameters"]]
    return {parameter["name"] for parameter in parameters if parameter["in"] == place}


def statuses(document: Document, method: str, path: str) -> set[str]:
    return set(document["paths"][path][method.lower()]["responses"])


class TestServed:
    async def test_openapi_needs_a_token(self, anonymous: httpx.AsyncClient) -> None:
        assert_problem(await anonymous.get("/api/schema/openapi.json"), 401)

    async def test_openapi_equals_the_printed_document(self, app: Litestar, alice: Client) -> None:
        assert (await alice.get("/api/schema/openapi.json")).json() == document_of(app)

    async def test_openapi_can_be_an_open_path(self, plain: Settings) -> None:
        opened = plain.model_copy(update={"open_paths": ["/api/schema/openapi.json"]})
        document = document_of(create_app(opened))
        operation = document["paths"]["/api/schema/openapi.json"]["get"]
        assert operation["security"] == []
        assert operation["responses"].keys().isdisjoint({"401", "403", "429"})
        assert document["paths"]["/api/schema"]["get"]["responses"].keys() >= {"401", "429"}


class TestSnapshot:
    def test_snapshot_equals_the_document(self, plain: Settings) -> None:
        assert rendered(create_app(plain)).decode() == SNAPSHOT.read_text(), (
            f"The API is not as tests/lib/openapi.json has it. If it is meant so, renew that and read the diff: {RENEW}"
        )

    def test_snapshot_equals_the_output_of_the_command(self, plain: Settings, tmp_path: Path) -> None:
        assert call(plain, "openapi") == (0, SNAPSHOT.read_text())
        written = tmp_path / "openapi.json"
        assert call(plain, "openapi", "--out", str(written)) == (0, "")
        assert written.read_bytes() == SNAPSHOT.read_bytes()


class TestDocument:
    def test_operation_ids_are_unique_and_secured(self, plain: Settings, document: Document) -> None:
        assert document["openapi"].startswith("3.1")
        assert document["security"] == [{"bearerAuth": []}]
        found = {(method, path): operation["operationId"] for method, path, operation in operations_in(document)}
        served = {(each.method, each.path): each.name for each in operations(create_app(plain))}
        heads = {("HEAD", path): f"head_{name}" for (method, path), name in served.items() if method == "GET"}
        assert found == served | heads
        assert len(set(found.values())) == len(found)

    def test_every_operation_has_tag_and_description(self, document: Document) -> None:
        tags = {tag["name"] for tag in document["tags"] if tag["description"]}
        for _, _, operation in operations_in(document):
            assert operation["summary"]
            assert set(operation["tags"]) <= tags

    def test_every_reference_resolves(self, document: Document) -> None:
        used: set[str] = set()

        def follow(part: Any) -> None:
            for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
                follow(value)
            if isinstance(part, dict) and "$ref" in part:
                _, kind, name = part["$ref"].removeprefix("#/").split("/")
                assert name in document["components"][kind]
                used.add(name)

        follow(document)
        assert set(document["components"]["schemas"]) <= used

    def test_every_example_is_valid(self, document: Document) -> None:
        def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
            whole = {**schema, "components": document["components"]}
            return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)

        checked = 0
        for _, _, operation in operations_in(document):
            answers = [resolve(document, answer) for answer in operation["responses"].values()]
            for part in [operation.get("requestBody", {}), *answers]:
                for media in part.get("content", {}).values():
                    examples = [example["value"] for example in media.get("examples", {}).values()]
                    for example in [*examples, *([media["example"]] if "example" in media else ())]:
                        validator(media["schema"]).validate(example)
                        checked += 1
        assert checked > len(document["paths"])


class TestOperations:
    ITEM = "/api/{user_id}/todos/{todo_id}"
    LIST = "/api/{user_id}/todos"

    def test_every_operation_documents_common_errors(self, document: Document) -> None:
        for _, path, operation in operations_in(document):
            expected = {"400", "401", "422", "429", "500", "503"} | ({"403"} if "{user_id}" in path else set())
            assert operation["responses"].keys() >= expected
            for answer in operation["responses"].values():
                assert "X-Request-ID" in resolve(document, answer)["headers"]

    def test_operations_document_conditions(self, document: Document) -> None:
        assert "304" not in statuses(document, "GET", "/api/health")
        assert {"304", "404"} <= statuses(document, "GET", self.ITEM)
        assert "If-None-Match" in headers_of(document, document["paths"][self.ITEM]["get"])
        for method in ("put", "patch", "delete"):
            assert {"404", "412"} <= statuses(document, method, self.ITEM)
            assert "If-Match" in headers_of(document, document["paths"][self.ITEM][method])
        assert "ETag" in document["paths"][self.ITEM]["get"]["responses"]["200"]["headers"]

    def test_every_post_documents_idempotency(self, document: Document) -> None:
        for method, _, operation in operations_in(document):
            assert ("Idempotency-Key" in headers_of(document, operation)) == (method == "POST")
            if method == "POST":
                assert {"409", "413", "422"} <= operation["responses"].keys()

    def test_operations_document_bodies(self, document: Document) -> None:
        for _, _, operation in operations_in(document):
            assert ("415" in operation["responses"]) == ("requestBody" in operation)
        assert document["paths"][self.LIST]["post"]["requestBody"]["required"]
        assert not document["paths"]["/api/{user_id}/tasks/{todo_id}/complete"]["patch"]["requestBody"]["required"]

    def test_creating_operations_document_location_and_links(self, document: Document) -> None:
        made = document["paths"][self.LIST]["post"]["responses"]["201"]
        assert {"ETag", "Location", "Idempotency-Replayed"} <= made["headers"].keys()
        assert {"get_todo", "update_todo", "delete_todo", "complete_todo"} <= made["links"].keys()
        page = document["paths"][self.LIST]["get"]["responses"]["200"]
        assert "Link" in page["headers"]
        tasks = document["paths"]["/api/{user_id}/tasks"]["get"]["responses"]["200"]
        assert "X-Total-Count" in tasks["headers"]

    def test_operations_document_parameters(self, document: Document) -> None:
        parameters = document["paths"][self.LIST]["get"]["parameters"]
        query = {item["name"]: item for item in parameters if item.get("in") == "query"}
        assert query["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
        assert query["priority"]["schema"]["items"]["enum"] == ["none", "low", "medium", "high"]
        assert (query["priority"]["style"], query["priority"]["explode"]) == ("form", True)
        assert query["sort"]["schema"]["default"] == "created_at:desc"

    def test_operations_document_invalid_references(self, document: Document) -> None:
        assert {"404", "412"} <= statuses(document, "POST", "/api/{user_id}/todos/batch")
        assert {"404", "412"}.isdisjoint(statuses(document, "POST", self.LIST))

    def test_only_operations_with_unique_fields_document_409(self, document: Document) -> None:
        assert "409" in statuses(document, "PUT", "/api/{user_id}/lists/{list_id}")
        assert "409" not in statuses(document, "PUT", self.ITEM)


class TestSchemas:
    def test_schemas_have_discriminators(self, document: Document) -> None:
        operations = document["components"]["schemas"]["Batch"]["properties"]["operations"]["items"]
        assert operations["discriminator"]["propertyName"] == "op"
        assert set(operations["discriminator"]["mapping"].values()) == {each["$ref"] for each in operations["anyOf"]}

    @pytest.mark.parametrize(
        ("text", "holds"),
        [
            *(("x", True), ("  x  ", True), ("x" * 200, True), (f" {'x' * 200}\n", True), ("x y", True)),
            *(("", False), ("  ", False), ("x" * 201, False), ("a\x00b", False), ("\x00", False)),
        ],
    )
    def test_title_schema_equals_the_validator(self, document: Document, text: str, holds: bool) -> None:
        title = document["components"]["schemas"]["TodoCreate"]["properties"]["title"]
        assert jsonschema_rs.is_valid(title, text) == holds

    @pytest.mark.parametrize(
        ("sort", "holds"),
        [
            *(("title", True), ("title:asc", True), ("title:desc,due_at", True), ("due_at,title,priority:asc", True)),
            *(("", False), ("title,title", False), ("title:asc,due_at,title:desc", False), ("title:up", False)),
            *(("id", False), ("title,", False), ("due_at,title:desc,due_at:asc", False)),
        ],
    )
    def test_sort_schema_equals_the_validator(self, document: Document, sort: str, holds: bool) -> None:
        parameters = document["paths"]["/api/{user_id}/todos"]["get"]["parameters"]
        schema = next(item["schema"] for item in parameters if item.get("name") == "sort")
        assert jsonschema_rs.is_valid(schema, sort) == holds

    @given(text=st.text(st.sampled_from(" \t\x1c\x1f\x85\xa0\u2028\u3000ab\x00\n\u200b"), max_size=8))
    @pytest.mark.parametrize("limits", [(1, 5), (0, 3), (1, 1), (0, 1), (2, 4)])
    def test_trimmed_text_schema_equals_the_validator(self, limits: tuple[int, int], text: str) -> None:
        rule = Trimmed(*limits)
        try:
            holds = "\x00" not in rule(text)
        except RuleViolation:
            holds = False
        assert jsonschema_rs.is_valid(rule.json_schema, text) == holds

    def test_schema_of_mutually_exclusive_fields(self, document: Document) -> None:
        schema = document["components"]["schemas"]["TodoCreate"]
        day, instant = {"due_date": "2027-05-01"}, {"due_at": "2027-05-01T09:30:00Z"}
        for fields, holds in ((day, True), (instant, True), (day | {"due_at": None}, True), (day | instant, False)):
            assert jsonschema_rs.is_valid(schema, {"title": "x"} | fields) == holds

    def test_schemas_refuse_unknown_fields_like_the_validator(self, document: Document) -> None:
        schemas = document["components"]["schemas"]
        assert schemas["TodoCreate"]["additionalProperties"] is False
        assert "additionalProperties" not in schemas["TaskCreate"]

    def test_response_schemas_have_all_fields(self, document: Document) -> None:
        todo = document["components"]["schemas"]["TodoRead"]
        assert todo["required"] == [*todo["properties"]]
        assert todo["properties"]["due_date"]["type"] == ["string", "null"]
