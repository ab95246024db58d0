"""What is undone at the end of a block: `contextlib`, as far as commands need it, whose import takes 5 ms. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


class Scopes:
    """As ExitStack: what was put on it is undone at the end, the last first, though one of them fails."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def callback(self, undo: Callable[[], object]) -> None:
        self._undo.append(undo)

    def enter_context(self, scope: AbstractContextManager[T]) -> T:
        value = scope.__enter__()
        self._undo.append(lambda: scope.__exit__(None, None, None))
        return value

    def __enter__(self) -> Scopes:
        return self

    def __exit__(self, *_: object) -> None:
        while self._undo:
            try:
                self._undo.pop()()
            except BaseException:
                self.__exit__()
                raise


class Ignored:
    """As suppress: errors of these kinds end the block, and no more."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, self._kinds)


class _Scope:
    def __init__(self, steps: Generator[None]) -> None:
        self._steps = steps

    def __enter__(self) -> None:
        next(self._steps)

    def __exit__(self, *_: object) -> None:
        self._steps.close()


def scoped(steps: Callable[P, Generator[None]]) -> Callable[P, AbstractContextManager[None]]:
    """As contextmanager, for a generator that undoes what it did in a `finally`; it does not see the block's errors."""

    def begin(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[None]:
        return _Scope(steps(*args, **kwargs))

    return begin
