"""mypy's knowledge of `class TodoUpdate(Body, patch_of=TodoCreate)`, whose fields are derived when Python runs."""

from collections.abc import Callable, Iterator

from mypy.nodes import AssignmentStmt, CastExpr, EllipsisExpr, NameExpr, Statement, TypeInfo, Var
from mypy.plugin import ClassDefContext, Plugin
from mypy.types import AnyType, Type, TypeOfAny, UnionType


class PatchPlugin(Plugin):
    """Declare the fields of each class that has the keyword `patch_of`."""

    def get_customize_class_mro_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        del fullname
        return _declare_fields


def plugin(version: str) -> type[Plugin]:
    """Return the plugin, whatever the version of mypy."""
    del version
    return PatchPlugin


def _declare_fields(context: ClassDefContext) -> None:
    """Add `name: TYPE | UnsetType = …` to the body of the class, before mypy analyses it."""
    complete = context.cls.keywords.get("patch_of")
    symbol = context.api.lookup_qualified(complete.name, complete) if isinstance(complete, NameExpr) else None
    if symbol is None or not isinstance(symbol.node, TypeInfo):
        return
    fields = dict(_fields_of(symbol.node))
    if None in fields.values():  # the types of the complete body are not analysed yet
        context.api.defer()
        return
    unset, body = context.api.named_type("msgspec.UnsetType"), context.cls.defs.body
    declared = {name for statement in body for name in _names_in(statement)}
    for name, kind in fields.items():
        if kind is not None and name not in declared:
            body.append(_declaration(name, UnionType.make_union([kind, unset]), context))


def _fields_of(complete: TypeInfo) -> Iterator[tuple[str, Type | None]]:
    """Yield the fields of a struct and of its bases with their types; a type is None until mypy has analysed it."""
    for base in reversed(complete.mro):
        is_ours = not base.fullname.startswith(("builtins.", "msgspec."))
        for name, symbol in base.names.items() if is_ours else ():
            if isinstance(symbol.node, Var) and not symbol.node.is_classvar and not symbol.node.is_inferred:
                yield name, symbol.node.type


def _names_in(statement: Statement) -> Iterator[str]:
    if isinstance(statement, AssignmentStmt):
        yield from (target.name for target in statement.lvalues if isinstance(target, NameExpr))


def _declaration(name: str, kind: Type, context: ClassDefContext) -> AssignmentStmt:
    target, default = NameExpr(name), CastExpr(EllipsisExpr(), AnyType(TypeOfAny.special_form))
    declaration = AssignmentStmt([target], default, kind, new_syntax=True)
    for node in (target, default, declaration):
        node.set_line(context.cls)
    return declaration
