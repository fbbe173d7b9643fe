"""Names in Avro schemas: the parts of a schema that refer to others by name, made easy to follow."""

from __future__ import annotations

from typing import Any

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "string", "bytes")
NAMED = ("record", "error", "enum", "fixed")


class Names:
    """A schema in which every named type has its full name, is defined once, and is found by it."""

    def __init__(self, schema: Any) -> None:
        self.types: dict[str, dict[str, Any]] = {}
        self.schema = self._full(schema, "")

    def find(self, type_: Any) -> Any:
        """The definition, where a type is only a name; any other type as it is, a bare ``{"type": ...}`` as its content."""
        if isinstance(type_, str):
            return self.types.get(type_, type_)
        if isinstance(type_, dict) and isinstance(type_["type"], dict | list):
            return self.find(type_["type"])
        return type_

    def members(self, type_: Any) -> list[Any]:
        """The definitions of a union's members, or of the one type."""
        found = self.find(type_)
        return [self.find(member) for member in found] if isinstance(found, list) else [found]

    def _full(self, type_: Any, namespace: str) -> Any:
        if isinstance(type_, list):
            return [self._full(member, namespace) for member in type_]
        if isinstance(type_, str):
            return type_ if type_ in PRIMITIVES or "." in type_ or not namespace else f"{namespace}.{type_}"
        name = type_["type"]
        if name in NAMED:
            own = type_["name"]
            if "." not in own and (inside := type_.get("namespace", namespace)):
                own = f"{inside}.{own}"
            found: dict[str, Any] = {**type_, "name": own}
            self.types[own] = found
            if "fields" in type_:
                inside = own.rpartition(".")[0]
                found["fields"] = [{**part, "type": self._full(part["type"], inside)} for part in type_["fields"]]
            return found
        if name == "array":
            return {**type_, "items": self._full(type_["items"], namespace)}
        if name == "map":
            return {**type_, "values": self._full(type_["values"], namespace)}
        return {**type_, "type": self._full(name, namespace)}


def kind_of_type(type_: Any) -> str:
    """What a found type is: a primitive, record, enum, fixed, array, map or union."""
    return "union" if isinstance(type_, list) else str(type_["type"] if isinstance(type_, dict) else type_)


def logical(type_: Any) -> str:
    """The logical type of a found type, empty without one."""
    return str(type_.get("logicalType", "")) if isinstance(type_, dict) else ""


def simple_name(type_: dict[str, Any]) -> str:
    """The name of a named type without its namespace."""
    return str(type_["name"]).rpartition(".")[2]
