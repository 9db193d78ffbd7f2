"""What a handler reads from a request: its query struct and its body, taken from its signature once, at start."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, cast, get_args, get_origin

from litestar import Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import BodyKwarg
from litestar.typing import FieldDefinition
from litestar.utils.predicates import is_class_and_subclass
from msgspec import Struct

from app.lib.auth.tokens import Identity
from app.lib.validation.query import Query, parse_query

OPT = "inputs"  # where a handler's inputs are in its `opt`


class HandlerInputs(Struct, frozen=True):
    """The query struct of a handler, and the parameter `data` of the handler or of one of its dependencies."""

    query: type[Query] | None = None
    data: FieldDefinition | None = None


def inputs_of(handler: BaseRouteHandler) -> HandlerInputs:
    """Return the inputs that `ApiPlugin` stored."""
    return cast("HandlerInputs", handler.opt[OPT])


def provide_query(handler: HTTPRouteHandler) -> None:
    """Add the dependency that parses the query string, under the name of the parameter whose type is a `Query`."""
    queries = _queries(inspect.get_annotations(handler.fn))
    if len(queries) > 1:
        raise ImproperlyConfiguredException(f"{handler}: only one parameter can be a Query, not {', '.join(queries)}")
    for name, query in queries.items():
        provider = Provide(_parser(query), sync_to_thread=False)
        handler.dependencies = {**(handler.dependencies or {}), name: provider}


def store_inputs(handler: HTTPRouteHandler) -> None:
    """Store what a registered handler reads. Raises where its body is no strict JSON of a struct."""
    annotations = {name: field.annotation for name, field in handler.parsed_fn_signature.parameters.items()}
    data = _data_field(handler.parsed_fn_signature.parameters, handler.resolve_dependencies())
    if data is not None:
        _check_data(handler, data)
    handler.opt[OPT] = HandlerInputs(next(iter(_queries(annotations).values()), None), data)


def _queries(annotations: Mapping[str, Any]) -> dict[str, type[Query]]:
    kinds = {name: get_args(kind)[0] if get_origin(kind) is Annotated else kind for name, kind in annotations.items()}
    return {name: kind for name, kind in kinds.items() if name != "return" and is_class_and_subclass(kind, Query)}


def _parser(query: type[Query]) -> Callable[[Request[Identity, None, State]], Query]:
    def parse(request: Request[Identity, None, State]) -> Query:
        return parse_query(request.scope["query_string"], query)

    return parse


def _data_field(
    parameters: Mapping[str, FieldDefinition], dependencies: Mapping[str, Provide]
) -> FieldDefinition | None:
    """Find `data`, which Litestar lets dependencies read, too."""
    if "data" in parameters:
        return parameters["data"]
    below = (
        _data_field(dependencies[name].parsed_fn_signature.parameters, dependencies)
        for name in parameters
        if name in dependencies
    )
    return next(filter(None, below), None)


def _check_data(handler: HTTPRouteHandler, data: FieldDefinition) -> None:
    body = data.kwarg_definition
    if isinstance(body, BodyKwarg) and body.media_type != RequestEncodingType.JSON:
        raise ImproperlyConfiguredException(f"{handler}: 'data' must be a JSONBody, bodies are read as JSON only")
    if not data.is_subclass_of(Struct):
        raise ImproperlyConfiguredException(f"{handler}: 'data' must be a msgspec Struct, not {data.raw}")
