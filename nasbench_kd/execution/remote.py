"""An optimizer in a process of its own, and the loop in another: what the two say to each other.

They speak JSON, but for the view of the task at the beginning. What comes from the optimizer's process may be
anything: what is no answer to the question is that run's recorded failure.
"""

from __future__ import annotations

import json
import pickle
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.execution.workers import PartnerProcess
from nasbench_kd.simulation.border import explain
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.optimizer_side import LocalOptimizer, OptimizerFailure
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.task import Task

_LONGEST: Final = 1 << 20
_LONGEST_REASON: Final = 1 << 16
_ASK: Final = b"ask"
_NO_ANSWER: Final = "its process handed over what is no answer"
ResultT = TypeVar("ResultT")


class OptimizerEnded(BaseException):
    """Something in an optimizer's process that ends its run without a trace of it: `sys.exit` is such."""


class RemoteOptimizer:
    """An optimizer in a partner process, as the loop calls it.

    Every call raises `OptimizerFailure` for what its optimizer raises and for an answer that is none, and
    `OptimizerEnded`. Where the process dies, this one dies in the same way.
    """

    def __init__(self, partner: PartnerProcess) -> None:
        self._partner = partner
        self._asked: Any = None
        """The answer to an `ask` that went with the `tell` before it."""
        self.seconds = 0.0
        self._space: SearchSpace

    def setup(self, task: Task, view: SearchView, seed: int) -> None:
        """Begin a run."""
        self._space = task.space
        _value(self._call(pickle.dumps((view, seed))))

    def ask(self) -> Query | None:
        """The next query."""
        reply = self._call(_ASK) if self._asked is None else self._asked
        self._asked = None
        value = _value(reply)
        return None if value is None else _checked(partial(_query, self._space), value)

    def tell(self, query: Query, evaluation: Evaluation, *, asked: bool, ask_follows: bool) -> int:
        """Hand over an outcome and return the answer."""
        message = json.dumps([_as_json(query), evaluation, asked, ask_follows]).encode()
        answer, self._asked = _checked(_pair, _value(self._call(message)))
        return _checked(partial(_answer, self._space), answer)

    def _call(self, message: bytes) -> Any:
        started = time.perf_counter()
        try:
            self._partner.connection.send_bytes(message)
            return json.loads(self._partner.connection.recv_bytes(_LONGEST))
        except (EOFError, ConnectionError):
            self._partner.share_its_end()
        except (OSError, ValueError, RecursionError) as error:  # OSError: a length that nobody sends
            raise OptimizerFailure(_NO_ANSWER) from error
        finally:
            self.seconds += time.perf_counter() - started


def serve_optimizer(make: Callable[[], Optimizer], talk: socket.socket) -> None:
    """Answer a `RemoteOptimizer` until it has no more questions: the other end of its connection."""
    connection = Connection(talk.detach())
    with suppress(EOFError):
        view, seed = pickle.loads(connection.recv_bytes())  # noqa: TID251  # from the loop
        task = find_task(view.task)
        view = replace(view, space=task.space)  # architectures belong to one of the two
        optimizer: list[LocalOptimizer] = []

        def begin() -> None:
            optimizer.append(LocalOptimizer(make()))
            optimizer[0].setup(task, view, seed)

        reply = _reply(begin)
        while True:
            connection.send_bytes(json.dumps(reply).encode())
            message = connection.recv_bytes()
            if message == _ASK:
                reply = _reply(_ask, optimizer[0])
                continue
            query, evaluation, asked, ask_follows = json.loads(message)
            reply = _reply(_tell, optimizer[0], _query(task.space, query), Evaluation(*evaluation), asked)
            if reply[0] == "done":
                reply[1] = [reply[1], _reply(_ask, optimizer[0]) if ask_follows else None]


def _reply(call: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What is said of a call: its result, or how it failed."""
    try:
        return ["done", call(*arguments)]
    except OptimizerFailure as failure:
        return ["failed", [failure.reason[:_LONGEST_REASON], failure.traceback[:_LONGEST_REASON]]]
    except BaseException as error:  # such as SystemExit, or what a constructor raises
        return ["ended", explain(error)[:_LONGEST_REASON]]


def _ask(side: LocalOptimizer) -> Any:
    query = side.ask()
    return None if query is None else _as_json(query)


def _tell(side: LocalOptimizer, query: Query, evaluation: Evaluation, asked: bool) -> int:
    return side.tell(query, evaluation, asked=asked)


def _as_json(query: Query) -> Any:
    fidelity = query.fidelity
    return [query.cell.index, str(fidelity), isinstance(fidelity, str), query.signal]


def _value(reply: Any) -> Any:
    """The result in a reply; raises what it says of its call instead."""
    kind, value = _checked(_pair, reply)
    if kind == "failed":
        raise OptimizerFailure(*_checked(_failure, value))
    if kind == "ended":
        raise OptimizerEnded(_checked(_failure, [value, ""])[0])
    return value


def _checked(read: Callable[[Any], ResultT], value: Any) -> ResultT:
    """A value from the optimizer's process, read; what cannot be is its failure."""
    try:
        return read(value)
    except (ValueError, TypeError, NasbenchKDError) as error:
        raise OptimizerFailure(_NO_ANSWER) from error


def _pair(value: Any) -> tuple[Any, Any]:
    first, second = value
    return first, second


def _query(space: SearchSpace, value: Any) -> Query:
    index, fidelity, is_text, signal = value
    if type(fidelity) is not str or type(signal) is not str or type(is_text) is not bool:
        raise ValueError(value)
    if type(index) is not int or not 0 <= index < len(space):
        raise ValueError(value)
    return Query(space[index], fidelity if is_text else Fidelity.parse(fidelity), signal)


def _answer(space: SearchSpace, value: Any) -> int:
    if type(value) is not int or not -1 <= value < len(space):
        raise ValueError(value)
    return value


def _failure(value: Any) -> tuple[str, str]:
    reason, traceback = value
    if type(reason) is not str or type(traceback) is not str:
        raise ValueError(value)
    return reason, traceback
