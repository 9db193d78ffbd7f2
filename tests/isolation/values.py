"""Values that fit what the API's own description says of a body or a parameter."""

import re
from collections.abc import Iterator
from typing import Any

# What has a form of its own and no example in the description. A new form that none fits is named by the error.
FORMS = ("#c0ffee", "10.00", "1", "a")
FORMATS = {
    "date": "2027-05-01",
    "date-time": "2027-05-01T10:00:00Z",
    "uuid": "0199c0de-0000-7000-8000-000000000000",
}

type Schema = dict[str, Any]


class Description:
    """The OpenAPI document of the running application."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def operation(self, method: str, path: str) -> Schema:
        """Give what is said of an operation; nothing of the documentation itself."""
        operation: Schema = self._document["paths"].get(path, {}).get(method.lower(), {})
        return operation

    def body(self, method: str, path: str) -> Schema | None:
        """Give the schema of the body, if there is one."""
        content = self.operation(method, path).get("requestBody", {}).get("content", {})
        return next((self.resolved(kind["schema"]) for kind in content.values()), None)

    def query(self, method: str, path: str) -> dict[str, Schema]:
        """Give the schemas of the query parameters."""
        given = self.operation(method, path).get("parameters", [])
        found = [self.resolved(parameter) for parameter in given]
        return {each["name"]: self.resolved(each["schema"]) for each in found if each["in"] == "query"}

    def resolved(self, schema: Schema) -> Schema:
        """Follow a reference."""
        while "$ref" in schema:
            target: Any = self._document
            for name in schema["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            schema = target
        return schema

    def value(self, schema: Schema, text: str) -> Any:
        """Give a value that fits, with `text` wherever text may stand."""
        schema = self.resolved(schema)
        if choices := schema.get("anyOf", schema.get("oneOf")):
            return self.value(choices[0], text)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][-1]
        kinds = schema.get("type", "string")
        kind = kinds if isinstance(kinds, str) else next(each for each in kinds if each != "null")
        if kind == "object":
            return {name: self.value(each, text) for name, each in schema.get("properties", {}).items()}
        if kind == "array":
            return [self.value(schema["items"], text)]
        plain = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": True}
        return plain[kind] if kind in plain else _text(schema, text)

    def references(self, schema: Schema, body: Any) -> Iterator[list[str | int]]:
        """Give the places in a body that hold ids."""
        schema = self.resolved(schema)
        choices: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or []
        for choice in choices:
            yield from self.references(choice, body)
        if schema.get("format") == "uuid":
            yield []
        elif isinstance(body, dict):
            for name, each in schema.get("properties", {}).items():
                if name in body:
                    yield from ([name, *rest] for rest in self.references(each, body[name]))
        elif isinstance(body, list) and "items" in schema:
            for number, each in enumerate(body):
                yield from ([number, *rest] for rest in self.references(schema["items"], each))


def _text(schema: Schema, text: str) -> str:
    if (known := schema.get("format")) in FORMATS:
        return FORMATS[known]
    examples = schema.get("examples", [])
    pattern, longest = schema.get("pattern", ""), schema.get("maxLength", len(text))
    candidates = [*examples, text] if known else [text, *examples]
    for candidate in map(str, (*candidates, *FORMS)):
        if len(candidate) <= longest and re.search(pattern, candidate):
            return candidate
    raise AssertionError(f"No value fits {schema}: add one to FORMS")


def placed(body: Any, place: list[str | int], value: Any) -> Any:
    """Give a copy of a body with another value at a place."""
    if not place:
        return value
    copy = body.copy()
    copy[place[0]] = placed(body[place[0]], place[1:], value)
    return copy
