"""A Bicep file as values: what is a literal stands for itself, everything else is its text."""

from dataclasses import dataclass
from pathlib import Path

import tree_sitter
import tree_sitter_bicep

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


class Expression(str):
    """The text of an expression, or of a string with one in it."""


@dataclass
class Param:
    default: object
    required: bool
    decorators: dict[str, str]


class Source:
    """One file: `problems` are the places that the parser could not read."""

    def __init__(self, path: Path):
        self.path = path
        self.root = PARSER.parse(path.read_bytes()).root_node
        self.problems = [
            f"{path}:{node.start_point[0] + 1}: {node.text.decode()[:40]!r}"
            for node in walk(self.root)
            if node.type == "ERROR" or node.is_missing
        ]
        self.params, self.variables, self.resources, self.modules, self.outputs = {}, {}, {}, {}, {}
        decorators = {}
        for node in self.root.named_children:
            parts = [it for it in node.named_children if it.type != "decorators"]
            if node.type == "decorators":
                calls = [it for it in walk(node) if it.type == "call_expression"]
                decorators = {text(it.named_children[0]): text(it.named_children[1])[1:-1] for it in calls}
                continue
            if node.type == "parameter_declaration":
                default = value(parts[2]) if len(parts) > 2 else None
                self.params[text(parts[0])] = Param(default, len(parts) < 3, decorators)
            elif node.type == "variable_declaration":
                self.variables[text(parts[0])] = value(parts[1])
            elif node.type == "output_declaration":
                self.outputs[text(parts[0])] = text(parts[-1])
            elif node.type in ("resource_declaration", "module_declaration"):
                kind = self.resources if node.type == "resource_declaration" else self.modules
                body = next((it for it in walk(parts[-1]) if it.type == "object"), None)
                existing = any(text(it) == "existing" for it in node.children)
                kind[text(parts[0])] = (value(parts[1]), value(body) if body else {}, existing)
            decorators = {}

    def declared(self) -> set[str]:
        """Every name that an expression of the file may use."""
        loops = {text(it.named_children[0]) for it in walk(self.root) if it.type == "for_statement"}
        return {*self.params, *self.variables, *self.resources, *self.modules, *loops}

    def used(self) -> dict[str, int]:
        """Every name that an expression uses, and a line where it does."""
        used = {}
        for node in walk(self.root):
            if node.type == "identifier" and not names_something(node):
                used[text(node)] = node.start_point[0] + 1
        return used

    def outputs_used(self) -> set[tuple[str, str]]:
        """Each `MODULE.outputs.NAME`."""
        found = set()
        for node in walk(self.root):
            words = text(node).replace("!", "").split(".")
            if node.type == "member_expression" and len(words) == 3 and words[1] == "outputs":
                found.add((words[0], words[2]))
        return found


def names_something(node) -> bool:
    parent = node.parent
    first = parent.named_children[0] == node
    declares = ("parameter_declaration", "variable_declaration", "resource_declaration", "module_declaration", "output_declaration")
    return (parent.type in declares or parent.type in ("object_property", "for_statement", "call_expression")) and first


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)


def text(node) -> str:
    return node.text.decode()


def value(node):
    if node.type == "object":
        return {key(it): value(it.named_children[1]) for it in node.named_children if it.type == "object_property"}
    if node.type == "array":
        return [value(it) for it in node.named_children]
    if node.type == "string":
        parts = "".join(text(it) if it.type != "interpolation" else f"${{{text(it.named_children[0])}}}" for it in node.named_children)
        computed = any(it.type == "interpolation" for it in node.named_children)
        return Expression(parts) if computed else parts
    if node.type == "number":
        return int(text(node))
    if node.type == "boolean":
        return text(node) == "true"
    return Expression(text(node))


def key(node) -> str:
    return text(node.named_children[0]).strip("'")
