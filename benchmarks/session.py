# SPDX-License-Identifier: Apache-2.0
"""A session: the processes that are alive and the settings that hold while rounds are played."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Self

from benchmarks.wire.certificate import Certificate
from benchmarks.wire.compiled import Compiled
from benchmarks.worker import MeasurementError, Worker

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.row import LoopRow


class Session:
    """What the rows need to be played.

    Attributes:
        scale: What to multiply the amount of work with.
        core: The core that everything is done on in this round, servers and clients, too. It is one
            core, because in a virtual machine waking another one can cost ten times as much as all that
            is to be measured, and because the processor time of a process is known exactly only when
            it does not run. It is another one in each round, so that a busy one does not spoil all.
        limit: How long one measurement may take, in seconds.
    """

    def __init__(self, *, scale: float = 1.0, limit: float = 60.0) -> None:
        self.scale = scale
        self.limit = limit
        self.core: int | None = None
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for worker in self._workers.values():
            worker.close()
        if "compiled" in vars(self):
            self.compiled.close()
        if "certificate" in vars(self):
            self.certificate.close()

    @cached_property
    def compiled(self) -> Compiled:
        """The programs in C, compiled when the first row asks for them."""
        return Compiled()

    @cached_property
    def certificate(self) -> Certificate:
        """The certificate of servers over TLS, made when the first row asks for it.

        Raises:
            SkipRow: What makes certificates is not installed.
        """
        return Certificate()

    def ask(self, contender: Contender, row: LoopRow) -> float:
        """Let the worker of a library measure a row.

        Raises:
            SkipRow: The library cannot do this.
            MeasurementError: It failed.
        """
        if row.fresh:
            worker = Worker(contender)
            try:
                return self._ask(worker, row)
            finally:
                worker.close()
        worker = self._workers.get(contender.name) or Worker(contender)
        self._workers[contender.name] = worker
        try:
            return self._ask(worker, row)
        except MeasurementError:
            self._workers.pop(contender.name).close()
            raise

    def _ask(self, worker: Worker, row: LoopRow) -> float:
        return worker.ask(row, scale=self.scale, core=self.core, limit=self.limit)
