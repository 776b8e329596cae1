"""What a campaign is carried out with: processes of this machine, or those and the boards of a scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tritguard.campaign.orders import Pool
from tritguard.campaign.workers import Workers
from tritguard.device.fleet import Asked
from tritguard.processes import cores

_LEAST_SECONDS = 10.0  # for less work than this, starting two processes costs more time than it saves


@dataclass(frozen=True)
class Means:
    """What a campaign is carried out with.

    Attributes:
        workers: processes of this machine that craft; by default one for each core, or this process alone where there
            is little to do.
        boards: emulated boards of this machine that confirm; by default as many as are worth starting.
        scheduler: the address of a Dask scheduler, whose workers craft instead of this machine's, and whose boards
            confirm in addition to this machine's.
    """

    workers: int | None = None
    boards: int = 0
    scheduler: str | None = None

    @contextmanager
    def opened(self, build_id: str, *, emulated: bool) -> Iterator[tuple[Pool, Sequence[Asked]]]:
        """Yield the processes that craft, and the boards of other machines that run this firmware, emulated or real.

        Raises:
            ToolMissingError, BadInputError: see `DaskWorkers`.
        """
        if self.scheduler is None:
            least = _LEAST_SECONDS if self.workers is None else 0.0
            with Workers(self.workers or cores(), least) as workers:
                yield workers, ()
            return
        from tritguard.campaign.dask import DaskWorkers  # noqa: PLC0415 - asyncio takes long to import

        with DaskWorkers(self.scheduler) as dask:
            yield dask, dask.boards(build_id, emulated=emulated)
