"""What an object of the program's is, without running any code of its own to find out.

`isinstance` asks an object for its `__class__` where its type is another one, and a stand-in for
something else answers that in Python: Django's lazy objects query the database for it, Flask's
`request` raises a RuntimeError outside a request, a dead `weakref.proxy` a ReferenceError. So does
an attribute's reader: a module of `importlib.util.LazyLoader` is loaded by the first one.
"""

import types
from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar, overload

T = TypeVar("T")
Kinds = type | tuple[type, ...]


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
    found = vars(thing) if is_a(thing, type) else attribute(thing, "__dict__")
    return found if isinstance(found, dict | types.MappingProxyType) else {}
