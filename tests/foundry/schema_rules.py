"""The service's rules for tools: what breaks one of them ends an agent's run with "Invalid tool schema"."""

import re

MAX_TOOLS = 128
NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
TYPES = {"string", "integer", "number", "boolean", "array", "object"}
REFUSED = ("anyOf", "allOf", "oneOf", "not", "if", "then", "else", "$ref", "$defs", "definitions", "patternProperties", "const")


def broken_by(tools: list) -> list:
    """What is wrong with a list of tools, one sentence each."""
    broken = [f"{len(tools)} tools, at most {MAX_TOOLS}"] if len(tools) > MAX_TOOLS else []
    names = [tool.get("name", "") for tool in tools]
    broken += [f"{name!r} is no name" for name in names if not NAME.fullmatch(name)]
    broken += [f"{name} stands twice" for name in sorted({name for name in names if names.count(name) > 1})]
    for tool in tools:
        if not tool.get("description"):
            broken.append(f"{tool.get('name')} has no description")
        for member in ("inputSchema", "outputSchema"):
            if member in tool:
                broken += root(tool[member], f"{tool.get('name')}.{member}")
            elif member == "inputSchema":
                broken.append(f"{tool.get('name')} has no inputSchema")
    return broken


def root(schema, where: str) -> list:
    if not isinstance(schema, dict) or schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        return [f"{where} is not an object with properties"]
    return inside(schema, where)


def inside(schema, where: str) -> list:
    """The rules for a schema, at any depth."""
    if not isinstance(schema, dict):
        return [f"{where} is no schema but {schema!r}"]
    broken = [f"{where} has {keyword}" for keyword in REFUSED if keyword in schema]
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        broken.append(f"{where} has the type {kind!r}")
    properties = schema.get("properties", {})
    broken += [f"{where} requires {name}, which it has not" for name in schema.get("required", []) if name not in properties]
    for name, property_ in properties.items():
        broken += inside(property_, f"{where}.{name}")
        if isinstance(property_, dict) and not property_.get("description"):
            broken.append(f"{where}.{name} has no description")
    if kind == "array":
        broken += inside(schema.get("items"), f"{where}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        broken += inside(schema["additionalProperties"], f"{where}{{}}")
    return broken
