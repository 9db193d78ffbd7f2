"""JSON Schema (2020-12) of the types in requests and responses, with the limits and rules of their annotations."""

import inspect
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Struct, UnsetType
from msgspec.structs import FieldInfo

type JsonObject = dict[str, Any]
type Schema = JsonObject

NO_NUL = r"^[^\u0000]*$"  # PostgreSQL stores no NUL characters
_LIMITS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
    "title": "title",
    "description": "description",
    "examples": "examples",
}
_LENGTHS = {"array": "Items", "object": "Properties"}


class Schemas:
    """Builds schemas of types, and keeps those of structs as named components.

    Requests (`sent`) and responses have schemas of their own: only in a request can a field with a default be missing.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._names: dict[tuple[object, bool], str] = {}

    def of(self, annotation: object, *, sent: bool) -> Schema:
        """Return the schema of a type; a reference for a struct."""
        if isinstance(annotation, TypeAliasType):
            return self.of(annotation.__value__, sent=sent)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return _narrowed(self.of(arguments[0], sent=sent), arguments[1:])
        if origin in (Union, UnionType):
            return self._union(arguments, sent=sent)
        kind = origin or annotation
        if inspect.isclass(kind):
            return self._class(annotation, kind, (*arguments, Any, Any), sent=sent)
        return _leaf(annotation, sent=sent)

    def _class(self, annotation: object, kind: type, arguments: tuple[object, ...], *, sent: bool) -> Schema:
        if issubclass(kind, Struct):
            return {"$ref": f"#/components/schemas/{self._component(annotation, sent=sent)}"}
        if issubclass(kind, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1], sent=sent)}
        if issubclass(kind, Sequence | set | frozenset) and not issubclass(kind, str | bytes):
            return {"type": "array", "items": self.of(arguments[0], sent=sent)}
        return _leaf(annotation, sent=sent)

    def _union(self, members: tuple[object, ...], *, sent: bool) -> Schema:
        schemas = [self.of(member, sent=sent) for member in members if member not in (NoneType, UnsetType)]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas} | self._discriminator(schemas)
        return _nullable(schema) if NoneType in members else schema

    def _discriminator(self, schemas: list[Schema]) -> Schema:
        """Return the discriminator of tagged structs, from which generated clients choose the type."""
        names = [schema.get("$ref", "").rpartition("/")[2] for schema in schemas]
        tags = [tag for name in names for tag in _tags(self.components.get(name, {}))]
        if len(tags) < len(schemas):
            return {}
        mapping = {tag: schema["$ref"] for schema, (_, tag) in zip(schemas, tags, strict=True)}
        return {"discriminator": {"propertyName": tags[0][0], "mapping": mapping}}

    def _component(self, kind: object, *, sent: bool) -> str:
        if (kind, sent) not in self._names:
            name = _name(kind)
            if name in self._names.values():
                name += "Sent" if sent else "Given"
            self._names[kind, sent] = name
            self.components[name] = {}  # before its fields, which may refer to it
            self.components[name] = self._struct(kind, sent=sent)
        return self._names[kind, sent]

    def _struct(self, kind: Any, *, sent: bool) -> Schema:
        struct: type[Struct] = get_origin(kind) or kind
        config = struct.__struct_config__
        properties, required = {}, []
        if config.tag_field:
            properties[config.tag_field] = {"type": "string", "const": config.tag}
            required.append(config.tag_field)
        for field in msgspec.structs.fields(kind):
            properties[field.encode_name] = self.field(field, sent=sent)
            optional = (sent or config.omit_defaults) and not field.required
            if not optional and UnsetType not in get_args(field.type):
                required.append(field.encode_name)
        schema: Schema = {"type": "object", "properties": properties}
        if struct.__doc__:
            schema = {"description": inspect.cleandoc(struct.__doc__)} | schema
        if required:
            schema["required"] = required
        if sent and config.forbid_unknown_fields:
            schema["additionalProperties"] = False
        rules = [rule.json_schema for rule in getattr(struct, "cross_field_rules", ())]
        return schema | ({"allOf": rules} if rules else {})

    def fields_below(self, schema: Schema) -> set[str]:
        """Return the names of all fields of an object and of the objects in it."""
        if "$ref" in schema:
            return self.fields_below(self.components[schema["$ref"].rpartition("/")[2]])
        members: dict[str, Schema] = schema.get("properties", {})
        nested = [*members.values(), *schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
        return set(members).union(*map(self.fields_below, nested))

    def field(self, field: FieldInfo, *, sent: bool) -> Schema:
        """Return the schema of a struct's field, in a request with its default."""
        schema = self.of(field.type, sent=sent)
        default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
        if sent and default is not NODEFAULT and default is not UNSET:
            schema = schema | {"default": msgspec.to_builtins(default)}
        return schema


def _tags(schema: Schema) -> list[tuple[str, str]]:
    members = schema.get("properties", {}).items()
    return [(name, member["const"]) for name, member in members if "const" in member]


def _name(kind: Any) -> str:
    """Return `TodoRead` for that struct, `TodoReadPage` for a `Page[TodoRead]`."""
    return "".join([*map(_name, get_args(kind)), (get_origin(kind) or kind).__name__])


def _narrowed(schema: Schema, annotations: tuple[object, ...]) -> Schema:
    for item in annotations:
        if isinstance(item, Meta):
            schema = schema | _limits(item, schema)
        elif (replacement := getattr(item, "json_schema", None)) is not None:
            schema = dict(replacement)
    return schema


def _limits(meta: Meta, schema: Schema) -> Schema:
    limits = {keyword: value for name, keyword in _LIMITS.items() if (value := getattr(meta, name)) is not None}
    unit = _LENGTHS.get(schema.get("type", ""), "Length")
    for name, value in (("min", meta.min_length), ("max", meta.max_length)):
        if value is not None:
            limits[f"{name}{unit}"] = value
    return limits | (meta.extra_json_schema or {})


def _nullable(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [*types, "null"]} | enum


def _leaf(kind: object, *, sent: bool) -> Schema:
    if kind is Any:
        return {}
    if kind is str:
        return {"type": "string"} | ({"pattern": NO_NUL} if sent else {})
    if kind is datetime:
        return {"type": "string", "format": "date-time"}
    values = get_args(kind) if get_origin(kind) is Literal else ()
    if inspect.isclass(kind) and issubclass(kind, Enum):
        values = tuple(member.value for member in kind)
    if values:
        return {"type": "integer" if isinstance(values[0], int) else "string", "enum": [*values]}
    return msgspec.json.schema(kind)
