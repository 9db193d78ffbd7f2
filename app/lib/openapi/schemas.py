"""The types of the wire as JSON Schema (2020-12), with the limits and rules in their annotations."""

import inspect
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Struct, UnsetType

type Schema = dict[str, Any]

NO_NUL = r"^[^\u0000]*$"  # what every text that a client sends must match
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
    """Makes the schemas of types, and keeps those of structs as named components.

    What clients send and what they get differ: a field with a default may be left out of the one, and never is of the
    other.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._names: dict[tuple[Any, bool], str] = {}

    def of(self, annotation: Any, *, sent: bool) -> Schema:
        """Give the schema of a type, a reference where it is a struct."""
        if isinstance(annotation, TypeAliasType):
            return self.of(annotation.__value__, sent=sent)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return _narrowed(self.of(arguments[0], sent=sent), arguments[1:])
        if origin in (Union, UnionType):
            return self._union(arguments, sent=sent)
        if inspect.isclass(origin or annotation):
            return self._class(annotation, origin or annotation, (*arguments, Any, Any), sent=sent)
        return _leaf(annotation, sent=sent)

    def _class(self, annotation: Any, kind: type[Any], arguments: tuple[Any, ...], *, sent: bool) -> Schema:
        if issubclass(kind, Struct):
            return {"$ref": f"#/components/schemas/{self._component(annotation, sent=sent)}"}
        if issubclass(kind, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1], sent=sent)}
        if issubclass(kind, Sequence | set | frozenset) and not issubclass(kind, str | bytes):
            return {"type": "array", "items": self.of(arguments[0], sent=sent)}
        return _leaf(annotation, sent=sent)

    def _union(self, members: tuple[Any, ...], *, sent: bool) -> Schema:
        kinds = [self.of(member, sent=sent) for member in members if member not in (NoneType, UnsetType)]
        schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds} | self._discriminator(kinds)
        return _nullable(schema) if NoneType in members else schema

    def _discriminator(self, kinds: list[Schema]) -> Schema:
        """Tell tagged structs apart by the tag's field, for generators of clients."""
        names = [kind.get("$ref", "").rpartition("/")[2] for kind in kinds]
        tagged = [tag for name in names for tag in _tags(self.components.get(name, {}))]
        if len(tagged) < len(kinds):
            return {}
        mapping = {tag: kind["$ref"] for kind, (_, tag) in zip(kinds, tagged, strict=True)}
        return {"discriminator": {"propertyName": tagged[0][0], "mapping": mapping}}

    def _component(self, kind: Any, *, sent: bool) -> str:
        if (kind, sent) not in self._names:
            name = _name(kind)
            if name in self._names.values():
                name += "Sent" if sent else "Given"
            self._names[kind, sent] = name
            self.components[name] = {}  # it may refer to itself
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
        """Name the fields of an object, and of the objects in it."""
        if "$ref" in schema:
            return self.fields_below(self.components[schema["$ref"].rpartition("/")[2]])
        members: dict[str, Schema] = schema.get("properties", {})
        parts = [*members.values(), *schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
        return set(members).union(*map(self.fields_below, parts))

    def field(self, field: Any, *, sent: bool) -> Schema:
        """Give the schema of a struct's field, with the default that it takes when left out."""
        schema = self.of(field.type, sent=sent)
        default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
        if sent and default is not NODEFAULT and default is not UNSET:
            schema = schema | {"default": msgspec.to_builtins(default)}
        return schema


def _tags(schema: Schema) -> list[tuple[str, str]]:
    members = schema.get("properties", {}).items()
    return [(name, member["const"]) for name, member in members if "const" in member]


def _name(kind: Any) -> str:
    """Name a component after its struct: `TodoRead`, and `TodoReadPage` for a `Page[TodoRead]`."""
    return "".join([*map(_name, get_args(kind)), (get_origin(kind) or kind).__name__])


def _narrowed(schema: Schema, annotations: tuple[Any, ...]) -> Schema:
    for item in annotations:
        if isinstance(item, Meta):
            schema = schema | _limits(item, schema)
        elif (shape := getattr(item, "json_schema", None)) is not None:
            schema = dict(shape)
    return schema


def _limits(meta: Meta, schema: Schema) -> Schema:
    found = {keyword: value for name, keyword in _LIMITS.items() if (value := getattr(meta, name)) is not None}
    unit = _LENGTHS.get(schema.get("type", ""), "Length")
    for name, value in (("min", meta.min_length), ("max", meta.max_length)):
        if value is not None:
            found[f"{name}{unit}"] = value
    return found | (meta.extra_json_schema or {})


def _nullable(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [*kinds, "null"]} | enum


def _leaf(kind: Any, *, sent: bool) -> Schema:
    if kind is Any:
        return {}
    if kind is str:
        return {"type": "string"} | ({"pattern": NO_NUL} if sent else {})
    if kind is datetime:
        return {"type": "string", "format": "date-time"}
    if get_origin(kind) is Literal or (inspect.isclass(kind) and issubclass(kind, Enum)):
        values = get_args(kind) or tuple(member.value for member in kind)
        return {"type": "integer" if isinstance(values[0], int) else "string", "enum": list(values)}
    return msgspec.json.schema(kind)
