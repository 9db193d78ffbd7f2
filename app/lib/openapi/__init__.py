"""OpenAPI 3.1 document and its HTML page, generated from routes, structs, rules and services."""
