#!/usr/bin/env python3
"""infra/foundry: the Bicep is Bicep, and makes the connection that the service asks for; the scripts are scripts."""

import ast
import subprocess
import sys
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Parser

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / "infra/foundry"
sys.path[:0] = [str(ROOT / "tests/clients"), str(ROOT / "tests/foundry")]
from report import Report, expect  # noqa: E402
from service import Connection  # noqa: E402

CONNECTION = "Microsoft.CognitiveServices/accounts/projects/connections"


def main():
    report = Report("foundry files")
    with report.check("connection.bicep parses"):
        root = parse((SAMPLES / "connection.bicep").read_bytes())
        expect(not root.has_error, f"not Bicep near line {first_error(root).start_point.row + 1}")
    with report.check("connection.bicep makes the one connection, of the kind the service asks for"):
        (made,) = [it for it in declared(root, "resource_declaration") if resource(it)["type"].startswith(CONNECTION + "@")]
        wanted = Connection("${mcpUrl}", {"x-ms-apikey": "${apiKey}"}).properties()
        expect(resource(made)["body"]["properties"] == wanted, resource(made))
        expect(set(resource(made)["body"]) == {"parent", "name", "properties"}, resource(made))
    with report.check("connection.bicep keeps the key a secret, says what each parameter is, and uses each"):
        parameters = {text(it.named_children[0]): decorators(it) for it in declared(root, "parameter_declaration")}
        expect([name for name, words in parameters.items() if "secure" in words] == ["apiKey"], parameters)
        expect(all("description" in words for words in parameters.values()), parameters)
        used = [text(it) for it in every(root) if it.type == "identifier"]
        unused = [name for name in parameters if used.count(name) < 2]
        expect(not unused, f"unused: {unused}")
    with report.check("connection.bicep and connection.sh name one version of the API"):
        (version,) = {resource(it)["type"].split("@")[1] for it in declared(root, "resource_declaration") if "@" in resource(it)["type"]}
        expect(f"api-version={version}" in (SAMPLES / "connection.sh").read_text(), version)
    with report.check("connection.bicep gives out the connection's id and no secret"):
        (output,) = declared(root, "output_declaration")
        expect(text(output.named_children[-1]) == "connection.id", text(output))
    with report.check("the scripts are well-formed"):
        subprocess.run(["bash", "-n", SAMPLES / "connection.sh"], check=True, capture_output=True, timeout=20)
        for sample in SAMPLES.glob("*.py"):
            ast.parse(sample.read_text(), sample.name)
    report.exit()


def parse(source: bytes):
    return Parser(Language(tree_sitter_bicep.language())).parse(source).root_node


def every(node):
    yield node
    for child in node.children:
        yield from every(child)


def first_error(root):
    return next((node for node in every(root) if node.is_error or node.is_missing), root)


def declared(root, kind: str) -> list:
    return [node for node in every(root) if node.type == kind]


def text(node) -> str:
    return node.text.decode()


def resource(declaration) -> dict:
    """Its type with the version, and what is between its braces; an inner resource has a type without one."""
    _, kind, body = declaration.named_children
    return {"type": value(kind), "body": value(body)}


def value(node):
    """Objects and strings as they are; whatever would be computed as `${…}`."""
    if node.type == "string":
        return text(node)[1:-1]
    if node.type != "object":
        return "${" + text(node) + "}"
    pairs = [it.named_children for it in node.named_children if it.type == "object_property" and len(it.named_children) == 2]
    return {(value(key) if key.type == "string" else text(key)): value(held) for key, held in pairs}


def decorators(declaration) -> set:
    before = declaration.prev_named_sibling
    calls = [it for it in every(before) if it.type == "call_expression"] if before and before.type == "decorators" else []
    return {text(it.child_by_field_name("function")) for it in calls}


main()
