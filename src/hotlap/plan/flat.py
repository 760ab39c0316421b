"""Frozen dataclasses as flat, sorted text and back: one dotted key a line, in TOML.

A field that holds one of several dataclasses carries its class under `kind`. A tuple of dataclasses that
have a `name` is keyed by it, in alphabetical order; any other is keyed by kind, its sequence under `order`.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

from hotlap.errors import UserError, did_you_mean

Value = str | int | float | bool | list[Any]
Flat = dict[str, Value]
T = TypeVar("T")


def kind_of(cls: type) -> str:
    """The name of a dataclass in text: `AirNet` is `airnet`."""
    return cls.__name__.lower()


def flatten(obj: Any, prefix: str = "") -> Flat:
    """Every leaf of a dataclass by dotted key, in no particular order."""
    out: Flat = {}
    hints = typing.get_type_hints(type(obj))
    for field in dataclasses.fields(obj):
        value, key = getattr(obj, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            if len(dataclass_options(hints[field.name])) > 1:
                out[f"{key}.kind"] = kind_of(type(value))
            out.update(flatten(value, f"{key}."))
        elif isinstance(value, tuple) and dataclass_options(element_type(hints[field.name])):
            if not named(dataclass_options(element_type(hints[field.name]))):
                out[f"{key}.order"] = [element_key(v) for v in value]
            for v in value:
                inner = flatten(v, f"{key}.{element_key(v)}.")
                inner.pop(f"{key}.{element_key(v)}.name", None)
                out.update(inner)
        else:
            out[key] = list(value) if isinstance(value, tuple) else value
    return out


def unflatten(cls: type[T], flat: Mapping[str, Value], where: str) -> T:
    """The dataclass that `flat` describes.

    Raises:
        UserError: an unknown or missing key, or a value of the wrong type, named with `where`.
    """
    used: set[str] = set()
    made = _read(cls, flat, "", used, where)
    for key in sorted(set(flat) - used):
        raise UserError(f"{where}: unknown key {key!r}{did_you_mean(key, used)}")
    return typing.cast(T, made)


def _read(cls: Any, flat: Mapping[str, Value], prefix: str, used: set[str], where: str) -> Any:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        hint, key = hints[field.name], prefix + field.name
        options = dataclass_options(hint)
        inner = dataclass_options(element_type(hint))
        if options:
            values[field.name] = _read(_kind(options, flat, key, used, where), flat, f"{key}.", used, where)
        elif inner:
            if named(inner):
                order = sorted({k[len(key) + 1 :].split(".")[0] for k in flat if k.startswith(f"{key}.")})
            else:
                order = _leaf(tuple[str, ...], flat, f"{key}.order", used, where)
            values[field.name] = tuple(
                _element(inner, flat, f"{key}.{name}", name, used, where) for name in order
            )
        elif field.name == "name" and prefix:
            values["name"] = prefix.rstrip(".").rpartition(".")[2]
        else:
            values[field.name] = _leaf(hint, flat, key, used, where)
    try:
        return cls(**values)
    except UserError as error:
        raise UserError(f"{where}: {prefix.rstrip('.')}: {error}") from None


def _element(
    options: tuple[type, ...], flat: Mapping[str, Value], key: str, name: str, used: set[str], where: str
) -> Any:
    cls = options[0] if named(options) else _choose(options, name, f"{key.rpartition('.')[0]}.order", where)
    return _read(cls, flat, f"{key}.", used, where)


def _kind(options: tuple[type, ...], flat: Mapping[str, Value], key: str, used: set[str], where: str) -> type:
    if len(options) == 1:
        return options[0]
    name = _leaf(str, flat, f"{key}.kind", used, where)
    return _choose(options, name, f"{key}.kind", where)


def _choose(options: tuple[type, ...], name: str, key: str, where: str) -> type:
    kinds = {kind_of(o): o for o in options}
    if name not in kinds:
        raise UserError(
            f"{where}: {key}: no {name!r}{did_you_mean(name, kinds)}; there are {', '.join(sorted(kinds))}"
        )
    return kinds[name]


def _leaf(hint: Any, flat: Mapping[str, Value], key: str, used: set[str], where: str) -> Any:
    used.add(key)
    if key not in flat:
        raise UserError(f"{where}: the key {key!r} is missing{did_you_mean(key, flat)}")
    return convert(hint, flat[key], f"{where}: {key}")


def convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` asks for; an int is taken for a float, a list for a tuple."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in args:
            near = did_you_mean(str(value), [str(a) for a in args])
            raise UserError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}{near}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        hints = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(hints) != len(value):
            raise UserError(f"{where}: {len(value)} values given, {len(hints)} wanted")
        return tuple(convert(h, v, where) for h, v in zip(hints, value, strict=True))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    wanted = {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}.get(
        hint, "a list"
    )
    raise UserError(f"{where}: {value!r} given, {wanted} wanted")


def dataclass_options(hint: Any) -> tuple[type, ...]:
    """The dataclasses a hint admits: itself, or the members of a union."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    return tuple(o for o in options if dataclasses.is_dataclass(o) and isinstance(o, type))


def element_type(hint: Any) -> Any:
    """The element type of `tuple[X, ...]`, else None."""
    args = typing.get_args(hint)
    return args[0] if typing.get_origin(hint) is tuple and len(args) == 2 and args[1] is Ellipsis else None


def named(options: tuple[type, ...]) -> bool:
    """Whether elements of these classes are keyed by a name of their own."""
    return any(f.name == "name" for f in dataclasses.fields(options[0]))


def element_key(element: Any) -> str:
    return str(getattr(element, "name", None) or kind_of(type(element)))


def put(elements: tuple[T, ...], new: T) -> tuple[T, ...]:
    """`elements` with `new` in the place of the one of its key, or at the end: in text a key stands once."""
    keys = [element_key(e) for e in elements]
    at = keys.index(element_key(new)) if element_key(new) in keys else len(keys)
    return (*elements[:at], new, *elements[at + 1 :])


def render(flat: Mapping[str, Value]) -> str:
    """Sorted TOML, one dotted key a line, ending in a newline."""
    return "".join(f"{key} = {toml_value(flat[key])}\n" for key in sorted(flat))


def toml_value(value: Value | tuple[Any, ...]) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """A TOML string in ASCII. JSON's escapes are TOML's too, but for what lies beyond 16 bits.

    Raises:
        UserError: it is no Unicode, as a path may be that is not in UTF-8.
    """
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{text!r} is not UTF-8 and cannot be kept in a recipe; give it another name")
    escaped = (json.dumps(c)[1:-1] if c <= "\uffff" else f"\\U{ord(c):08x}" for c in text)
    return '"' + "".join(escaped) + '"'


def from_nested(table: Mapping[str, Any], prefix: str = "") -> Flat:
    """The nested tables that a TOML reader gives, as dotted keys."""
    out: Flat = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            out.update(from_nested(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out
