"""Build examples from schemas: those of the annotations, or else a simple value that fits."""

import re
from collections.abc import Iterator

from app.lib.openapi.schemas import Schema

_BY_FORMAT = {
    "uuid": "0199a1f0-5b6e-7cc3-98c4-dc0c0c07398f",
    "date": "2027-05-01",
    "date-time": "2027-05-01T09:30:00Z",
}


class NoExample(ValueError):
    """No simple value fits the schema."""


class Examples:
    def __init__(self, components: dict[str, Schema]) -> None:
        self._components = components

    def of(self, schema: Schema, name: str = "text") -> object:
        """Return an example of a field called `name`. Raises `NoExample`."""
        if "$ref" in schema:
            return self.of(self._components[schema["$ref"].rpartition("/")[2]], name)
        for keyword in ("examples", "enum"):
            if keyword in schema:
                values: list[object] = schema[keyword]
                return values[0]
        for keyword in ("default", "const"):
            if schema.get(keyword) is not None:
                value: object = schema[keyword]
                return value
        if "null" in schema.get("type", ()) or {"type": "null"} in schema.get("anyOf", ()):
            return None
        return self.of(schema["anyOf"][0], name) if "anyOf" in schema else self._of_type(schema, name)

    def _of_type(self, schema: Schema, name: str) -> object:
        match schema.get("type", "object"):
            case "object":
                return dict(self._members(schema))
            case "array":
                return [self.of(schema["items"], name)]
            case "boolean":
                return False
            case "integer" | "number":
                return schema.get("minimum", 1)
            case _:
                return _BY_FORMAT.get(schema.get("format", "")) or _text(schema, name)

    def _members(self, schema: Schema) -> Iterator[tuple[str, object]]:
        """Yield required members and those with an example; of a `oneOf` only the first choice."""
        choices = [rule["oneOf"][0] for rule in schema.get("allOf", ()) if "oneOf" in rule]
        required = [*schema.get("required", ()), *(name for choice in choices for name in choice.get("required", ()))]
        for name, member in schema.get("properties", {}).items():
            if name in required or "examples" in member:
                yield name, self.of(member, name)


def _text(schema: Schema, name: str) -> str:
    for text in (name.replace("_", " ").capitalize(), name, "#336699", '"1"'):
        if re.search(schema.get("pattern", ""), text) and len(text) >= schema.get("minLength", 0):
            return text[: schema.get("maxLength")]
    raise NoExample(name)
