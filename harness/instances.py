"""What an object of the program's is, without running any code of its own to find out.

`isinstance` asks an object for its `__class__` where its type is another one, and a stand-in for
something else answers that in Python: Django's lazy objects query the database for it, Flask's
`request` raises a RuntimeError outside a request, a dead `weakref.proxy` a ReferenceError. So does
an attribute's reader: a module of `importlib.util.LazyLoader` is loaded by the first one.
"""

import gc
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, TypeVar, overload

T = TypeVar("T")
Kinds = type | tuple[type, ...]
_own_names = vars(type)["__dict__"].__get__
_own_name = vars(type)["__name__"].__get__
_own_module = vars(type)["__module__"].__get__
_bases = vars(type)["__mro__"].__get__
"""What `type` itself tells of a class, whatever its metaclass would."""


@overload
def is_a(thing: object, kind: type[T], /) -> TypeGuard[T]: ...
@overload
def is_a(thing: object, *kinds: Kinds) -> TypeGuard[Any]: ...
def is_a(thing: object, *kinds: Kinds) -> bool:
    """Tell whether the type of `thing` is one of `kinds` or derived from one."""
    return issubclass(type(thing), kinds)


def attribute(thing: object, name: str, default: object = None) -> object:
    """Return an attribute that `thing` has itself, past any `__getattr__` or property of its own.

    `default` where there is none, or where reading it raises.
    """
    try:
        if is_a(getattr(type(thing), name, None), property):
            return default
        return object.__getattribute__(thing, name)
    except Exception:  # noqa: BLE001 - whatever a descriptor raises: then there is nothing to see
        return default


def own_dict(thing: object) -> Mapping[str, object]:
    """Return what `thing` has in its `__dict__`, nothing where it has none."""
    found = _own_names(thing) if is_a(thing, type) else attribute(thing, "__dict__")
    return found if isinstance(found, dict | types.MappingProxyType) else {}


def kind_name(thing: object) -> str:
    """Return the name of the class of `thing`."""
    return class_name(type(thing))


def class_name(kind: type) -> str:
    """Return the name of a class."""
    return str(_own_name(kind))


def module_name(thing: object) -> str:
    """Return the name of the module that defines the class of `thing`."""
    return str(_own_module(type(thing)))


def members(thing: object) -> Iterator[tuple[str, object]]:
    """Yield what the classes of `thing` define, the most derived first."""
    for kind in _bases(type(thing)):
        yield from list(_own_names(kind).items())


def referents(thing: object) -> list[object]:
    """Return what an object refers to; of a module only its namespace.

    A C module's own state is left out: asking `_asyncio` for it on Python 3.12.1 revives what is in
    its list of spare objects, which becomes a ring then, and no collection ever ends.
    """
    return [own_dict(thing)] if is_a(thing, types.ModuleType) else gc.get_referents(thing)
