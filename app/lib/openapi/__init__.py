"""How the API describes itself: OpenAPI 3.1, made from the routes, structs, rules and services themselves."""
