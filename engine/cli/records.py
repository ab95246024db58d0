"""Frozen values for what stands in the path of every command, declared like dataclasses.

The real ones import `inspect` and `re`, which takes as long as a whole command. What is left out here: mutable values,
default factories, ordering, slots. Pure, and free of imports.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        return lambda decorator: decorator


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Makes a class of annotated fields a frozen value: constructor, equality, hash, repr."""
    names = tuple(cls.__annotations__)
    required = frozenset(name for name in names if name not in vars(cls))

    def build(self: T, *values: Any, **named: Any) -> None:
        named.update(zip(names, values, strict=False))
        if len(values) > len(names) or not required <= named.keys() <= set(names):
            raise TypeError(f"{cls.__name__} has the fields {', '.join(names)}")
        self.__dict__.update(named)

    def content(self: T) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in names)

    def equal(self: T, other: object) -> bool:
        return content(self) == content(other) if isinstance(other, cls) else NotImplemented

    def digest(self: T) -> int:
        return hash(content(self))

    def shown(self: T) -> str:
        return f"{cls.__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    methods = {"init": build, "eq": equal, "hash": digest, "repr": shown, "setattr": _refuse, "delattr": _refuse}
    for name, method in methods.items():
        setattr(cls, f"__{name}__", method)
    return cls


def _refuse(self: object, name: str, *_: object) -> None:
    raise AttributeError(f"cannot change {name!r}: a {type(self).__name__} is a value")


def changed(value: T, **changes: Any) -> T:
    """A copy with some fields changed."""
    return type(value)(**{**vars(value), **changes})
