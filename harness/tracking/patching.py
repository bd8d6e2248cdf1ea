"""Putting our callables in the place of the program's, unseen, and taking them away again."""

import functools
import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, cast
from weakref import WeakValueDictionary

from harness.instances import attribute

Anything = Any
Call = Callable[..., Anything]


class StandIn:
    """A callable in the place of a built-in function.

    It is no descriptor, so as a class attribute it does not turn into a method; it has the
    built-in's name, signature, hash and class, and pickles by name like it. Subclasses give
    `__call__` as a static method, which saves a call on the way.
    """

    __call__: Call

    def __init__(self, real: Call) -> None:
        self.__wrapped__ = real

    def __getattr__(self, name: str) -> Anything:
        return getattr(self.__wrapped__, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self.__wrapped__.__class__

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce_ex__(self, protocol: Anything) -> str:
        return self.__wrapped__.__name__

    def __eq__(self, other: object) -> bool:
        return other is self or self.__wrapped__ == other

    def __hash__(self) -> int:
        return hash(self.__wrapped__)


def stand_in(real: Call, call: Call) -> StandIn:
    """Return a `StandIn` for the built-in `real` that calls `call`."""
    shown = {"__doc__": real.__doc__, "__module__": real.__module__}
    made = type(StandIn.__name__, (StandIn,), {"__call__": staticmethod(call), **shown})
    return cast(StandIn, made(real))


class StandInType(type):
    """The class of a stand-in for a built-in type that cannot be patched.

    Calling it gives an instance of the real type; `isinstance`, `issubclass`, `==` and
    subclassing work as with the real one.
    """

    _real: type
    _call: Call

    def __call__(cls, *args: Anything, **kwargs: Anything) -> Anything:
        """Make a real one, or an instance of a subclass of the stand-in."""
        if "_real" in cls.__dict__:
            return cls._call(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        return (
            isinstance(instance, cls._real)
            if "_real" in cls.__dict__
            else (type.__instancecheck__(cls, instance))
        )

    def __subclasscheck__(cls, subclass: type) -> bool:
        return (
            issubclass(subclass, cls._real)
            if "_real" in cls.__dict__
            else (type.__subclasscheck__(cls, subclass))
        )

    def __eq__(cls, other: object) -> bool:
        return cls is other or ("_real" in cls.__dict__ and cls._real == other)

    def __hash__(cls) -> int:
        return hash(cls._real) if "_real" in cls.__dict__ else type.__hash__(cls)


def stand_in_type(real: type, call: Call) -> type:
    """Return a `StandInType` for `real` whose instances `call` makes."""
    shown = {"__doc__": real.__doc__, "__module__": real.__module__, "__slots__": ()}
    return StandInType(
        real.__name__, (real,), {"_real": real, "_call": staticmethod(call), **shown}
    )


_REMOVED: WeakValueDictionary[int, Anything] = WeakValueDictionary()
"""Stand-ins of removed patchers by `id`, while anything holds them: a patch of the program's that
was made over one, and outlives its patcher, puts it back at its end."""


def genuine(found: Anything) -> Anything:
    """Return what `found` stands in for where its patcher has been removed, else `found`."""
    while _REMOVED.get(id(found)) is found:
        known: Anything = found
        found = known._real if type(known) is StandInType else known.__wrapped__
    return found


class Patcher:
    """Replaces functions and methods, also in modules still to be imported; undoes it all."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._methods: list[Call] = []
        self._swaps: dict[int, tuple[object, object]] = {}
        self._finder = _OnImport()

    def install(self, functions: Iterable[tuple[object, object]]) -> None:
        """Put each (real, stand-in) into every module that holds the real one."""
        self.swap(functions)
        sys.meta_path.insert(0, self._finder)

    def swap(self, pairs: Iterable[tuple[object, object]]) -> None:
        """Replace real ones, which are `genuine`, by stand-ins in the globals of every module."""
        wanted = {id(real): (real, ours) for real, ours in pairs}
        self._swaps.update(wanted)
        _replace(wanted | _left_behind(wanted))

    def method(self, owner: type, name: str, make: Callable[[Call], Call]) -> None:
        """Replace `owner.name` by `make(original)`, with the original's name and signature."""
        inherited = name not in vars(owner)
        original = genuine(getattr(owner, name))
        ours = functools.wraps(original)(make(original))
        setattr(owner, name, ours)
        self._methods.append(ours)
        undo = functools.partial(delattr, owner, name)
        restore = undo if inherited else functools.partial(_restore, owner, name, original)
        self._undo.append(functools.partial(_if_there, owner, name, ours, restore))

    def when_imported(self, name: str, apply: Callable[[ModuleType], None]) -> None:
        """Call `apply` with module `name` now, or as soon as the program has imported it."""
        if name in sys.modules:
            apply(sys.modules[name])
        else:
            self._finder.waiting[name] = apply

    def remove(self) -> None:
        """Put everything back, stand-ins that modules have imported since included."""
        self._finder.waiting.clear()
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        while self._undo:
            self._undo.pop()()
        ours = [*self._methods, *(each for _, each in self._swaps.values())]
        _REMOVED.update({id(each): each for each in ours})
        _replace(_left_behind({}))
        self._methods.clear()
        self._swaps.clear()


def _left_behind(wanted: dict[int, tuple[object, object]]) -> dict[int, tuple[object, object]]:
    """Return the stand-ins of removed patchers with what is to be there instead."""
    replacements = {}
    for each in list(_REMOVED.values()):
        real = genuine(each)
        replacements[id(each)] = each, wanted.get(id(real), (real, real))[1]
    return replacements


def _restore(owner: type, name: str, original: Call) -> None:
    setattr(owner, name, genuine(original))


def _if_there(owner: type, name: str, ours: Call, restore: Callable[[], None]) -> None:
    """Restore a method that is still ours: the program's own patch over it is to stay."""
    found = vars(owner).get(name)
    if found is ours:
        restore()
    elif found is not None and genuine(found) is not found:
        _restore(owner, name, found)


def _replace(wanted: dict[int, tuple[object, object]]) -> None:
    for module in list(sys.modules.values()):
        namespace = attribute(module, "__dict__")
        if type(namespace) is not dict or wanted.keys().isdisjoint(
            map(id, list(namespace.values()))  # in one call: there are thousands of names
        ):
            continue
        for name, value in list(namespace.items()):
            if id(value) in wanted:
                namespace[name] = wanted[id(value)][1]


class _OnImport:
    """Finds the modules that wait to be patched, and patches them once they have run."""

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[ModuleType], None]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec that the other finders give, its loader wrapped; `None` for others."""
        apply = self.waiting.pop(fullname, None)
        if apply is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = cast(Any, _ApplyingLoader(spec.loader, apply))
                return spec
        return None


class _ApplyingLoader:
    def __init__(self, loader: Anything, apply: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._apply = apply

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return cast(ModuleType | None, self._loader.create_module(spec))

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._apply(module)
