"""The description as a page: whole, without scripts, and with nothing from elsewhere."""

from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import override

import httpx
import pytest

from tests.support import Client, assert_problem


class Page(HTMLParser):
    """What is on a page; a tag that is not closed, or an attribute that loads or runs something, fails the test."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.styles: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe", "object", "base", "form")
        assert {name for name, _ in attrs} <= {"id", "class", "href", "lang", "charset", "name", "content", "colspan"}
        self.ids |= {value for name, value in attrs if name == "id" and value}
        self.links |= {value for name, value in attrs if name == "href" and value}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        else:
            self.text += data


@pytest.fixture
async def response(alice: Client) -> httpx.Response:
    return await alice.get("/api/schema")


async def test_docs_page_needs_a_token(anonymous: httpx.AsyncClient) -> None:
    assert_problem(await anonymous.get("/api/schema"), 401)


def test_docs_page_csp_allows_only_its_own_style(response: httpx.Response) -> None:
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    (style,) = Page(response.text).styles
    assert "url(" not in style
    assert "@import" not in style
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = response.headers["content-security-policy"].split("; ")
    assert policy[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert policy[2:] == ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]


def test_docs_page_has_only_internal_links(response: httpx.Response) -> None:
    page = Page(response.text)
    assert {f"#{name}" for name in page.ids} >= page.links


async def test_docs_page_shows_every_operation_and_schema(alice: Client, response: httpx.Response) -> None:
    page = Page(response.text)
    document = (await alice.get("/api/schema/openapi.json")).json()
    for path, item in document["paths"].items():
        assert path in page.text
        for method in item.keys() - {"head"}:
            assert f"operation-{item[method]['operationId']}" in page.ids
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= page.ids
    assert {f"error-{name}" for name in document["components"]["responses"]} <= page.ids


@pytest.mark.parametrize("path", ["/api/schema/nowhere", "/api/schema/swagger/x"])
async def test_unknown_path_below_schema_is_a_problem_document(alice: Client, path: str) -> None:
    assert_problem(await alice.get(path), 403)  # like any path of another user: here one called "schema"
