"""Structs of merge patches (RFC 7396), derived from the struct of the complete body."""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, StructMeta, UnsetType


class BodyMeta(StructMeta):
    """Derive the fields of `class TodoUpdate(Body, patch_of=TodoCreate)`: the same, but each may be left out.

    A field that the class declares itself replaces the derived one. mypy knows the fields from `mypy_plugin.py`.
    """

    def __new__(  # noqa: PYI034 - mypy takes no Self in a metaclass
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        patch_of: type[Struct] | None = None,
        **config: Any,
    ) -> "BodyMeta":
        if patch_of is not None:
            _derive(namespace, patch_of)
        return super().__new__(mcls, name, bases, namespace, **config)


def _derive(namespace: dict[str, Any], complete: type[Struct]) -> None:
    derived = {field.name: field.type | UnsetType for field in msgspec.structs.fields(complete)}
    declared = namespace.get("__annotations__", {})
    # In the order of the complete body, which the API's description shows.
    namespace["__annotations__"] = derived | declared
    for name in derived.keys() - declared.keys():
        namespace[name] = UNSET
    namespace.setdefault("cross_field_rules", getattr(complete, "cross_field_rules", ()))
