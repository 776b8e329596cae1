"""Crafting and boards on other machines, through Dask's distributed scheduler (extra `campaign`)."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from tritguard.campaign.boards import CRAFTS, answer_from, resource_of
from tritguard.campaign.job import Done
from tritguard.campaign.orders import Order, Pool, carry_out
from tritguard.campaign.store import sources
from tritguard.device.fleet import Asked
from tritguard.emit import write_bundle
from tritguard.emit.bundle import MODEL
from tritguard.errors import BadInputError, DeviceError, ToolMissingError, TritguardError
from tritguard.predictor import Int8, Outputs
from tritguard.versions import versions

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")

_CONNECT_SECONDS = 20
_LOOK_SECONDS = 2.0  # between two checks that a worker is left to do the work
_ALONE_SECONDS = 60.0  # how long all workers may be away, since they may be restarted
_AHEAD = 4  # orders that are with the scheduler at a time, for each worker


class DaskWorkers(Pool):
    """Processes of a Dask scheduler that craft, each started with `tritguard worker`; a context manager.

    A process that dies or whose network breaks loses nothing: the scheduler gives its job to another one. Processes may
    come and go while the work is under way.

    Args:
        address: the scheduler's address, such as `tcp://host:8786`.

    Raises:
        ToolMissingError: Dask's package is not installed.
        BadInputError: there is no scheduler at the address.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.client = _connect(address)

    def __enter__(self) -> DaskWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    @override
    def count(self) -> int:
        return len(self._crafting())

    @override
    def pays(self, jobs: int, seconds: float) -> bool:
        return True

    def boards(self, build_id: str, *, emulated: bool) -> list[RemoteBoard]:
        """The boards that run a firmware, on all machines: either emulated or real ones."""
        name = resource_of(build_id, emulated=emulated)
        return [
            RemoteBoard(self.client, worker, name, number)
            for worker, facts in self._workers().items()
            for number in range(int(facts["resources"].get(name, 0)))
        ]

    @override
    def run(self, orders: Sequence[Order]) -> Iterator[tuple[int, Done]]:
        from distributed import wait  # noqa: PLC0415 - of an extra

        models = {bundle: (bundle / MODEL).read_bytes() for bundle in {order.bundle for order in orders}}
        waiting = iter(enumerate(orders))
        places: dict[Future, int] = {}
        seen = time.monotonic()
        try:
            while True:
                room = _AHEAD * max(1, self.count) - len(places)
                for place, order in (pair for _, pair in zip(range(room), waiting, strict=False)):
                    places[self._send(order, models[order.bundle])] = place
                if not places:
                    return
                with suppress(TimeoutError), self.client.as_current():
                    wait(list(places), timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED")
                for future in [future for future in places if future.done()]:
                    try:
                        outcome = self._outcome(future)
                    except TimeoutError:  # its worker died with the outcome, and another one does the job again
                        continue
                    yield places.pop(future), outcome
                seen = time.monotonic() if self.count else seen
                if time.monotonic() - seen > _ALONE_SECONDS:
                    fix = f"start some: tritguard worker {self._address}"
                    raise TritguardError("no worker is left that crafts", where=self._address, fix=fix)
        finally:
            self.client.cancel(list(places))

    def _send(self, order: Order, model: bytes) -> Future:
        code = (versions(), sources())
        sent = replace(order, bundle=Path())
        return self.client.submit(_carry_out, sent, model, code, resources={CRAFTS: 1}, pure=False)

    def _outcome(self, future: Future) -> Done:
        from distributed import CancelledError, KilledWorker  # noqa: PLC0415 - of an extra

        # What the job itself raised must not be taken for what is raised here when a worker is lost.
        failed = _failure(future)
        if failed is not None and not isinstance(failed, (TritguardError, KilledWorker)):
            what = f"a job failed on its worker ({type(failed).__name__}: {failed})"
            raise TritguardError(what, where=self._address) from failed
        try:
            done: Done = future.result(timeout=_LOOK_SECONDS)
        except KilledWorker as error:
            fix = "look at the workers' memory; what was crafted so far is kept"
            raise TritguardError("a job ended one worker after the other", where=self._address, fix=fix) from error
        except TimeoutError:
            raise
        except (CancelledError, OSError) as error:
            fix = "start it again; what was crafted so far is kept"
            raise TritguardError("the connection to the scheduler broke", where=self._address, fix=fix) from error
        return done

    def _crafting(self) -> list[str]:
        return [worker for worker, facts in self._workers().items() if facts["resources"].get(CRAFTS)]

    def _workers(self) -> dict[str, Any]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])


class RemoteBoard(Asked):
    """A board on another machine, leased for a few inputs at a time.

    Args:
        client: the scheduler's client.
        worker: the address of the process that has the board.
        resource: the worker's name for its boards of this kind with this firmware; see `resource_of`.
        number: the number of the board among those of the worker.
    """

    def __init__(self, client: Client, worker: str, resource: str, number: int) -> None:
        self._client, self._worker, self._resource, self._number = client, worker, resource, number
        self._resent = 0

    @property
    @override
    def name(self) -> str:
        return f"board {self._number} at {self._worker}"

    @property
    @override
    def resent_frames(self) -> int:
        return self._resent

    @override
    def predict(self, x: Int8) -> Outputs:
        """Ask for int8[n, *input_shape].

        Raises:
            DeviceError: the board failed, or its worker is gone.
        """
        lease = self._client.submit(
            answer_from, self._resource, self._number, x,
            workers=[self._worker], resources={self._resource: 1}, pure=False,
        )  # fmt: skip
        outputs, resent = self._awaited(lease)
        self._resent += resent
        return outputs

    def _awaited(self, lease: Future) -> tuple[Outputs, int]:
        from distributed import wait  # noqa: PLC0415 - of an extra

        try:
            while True:
                # An answer may be lost after it was given, with the worker that still held it.
                with suppress(TimeoutError), self._client.as_current():
                    wait([lease], timeout=_LOOK_SECONDS)
                    if isinstance(failed := _failure(lease), TimeoutError):  # raised by the board, not by the wait
                        raise DeviceError(f"its worker failed ({failed!r})", where=self.name)
                    answer: tuple[Outputs, int] = lease.result(timeout=_LOOK_SECONDS)
                    return answer
                if self._worker not in self._client.scheduler_info(n_workers=-1)["workers"]:
                    raise DeviceError("its worker is gone", where=self.name)
        except TritguardError:
            lease.cancel()
            raise
        except Exception as error:  # whatever Dask raises where a worker or the scheduler is lost
            raise DeviceError(f"its worker failed ({error})", where=self.name) from error


def _failure(future: Future) -> BaseException | None:
    """What the work itself raised, on its worker; None if it raised nothing or is not done."""
    failed: BaseException | None = future.exception(timeout=_LOOK_SECONDS) if future.status == "error" else None
    return failed


def _connect(address: str) -> Client:
    try:
        from distributed import Client  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise ToolMissingError(
            "--scheduler needs Dask's package distributed", fix="pip install 'tritguard[campaign]'"
        ) from error
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        fix = "start one with 'dask scheduler', and give the address that it prints"
        raise BadInputError(f"no Dask scheduler answers ({error})", where=address, fix=fix) from error


def _carry_out(order: Order, model: bytes, code: tuple[dict[str, str], str]) -> Done:
    """Carry out an order on a worker, which generates the C of the model itself."""
    ours = (versions(), sources())
    if ours != code:
        different = [name for name in sorted(ours[0] | code[0]) if ours[0].get(name) != code[0].get(name)]
        raise BadInputError(
            f"has other versions than the process that attacks: {', '.join(different) or 'of the attacks themselves'}",
            where=f"worker on {platform.node()}",
            fix="install the same there",
        )
    return carry_out(replace(order, bundle=_unpacked(model)))


_FOLDERS: list[TemporaryDirectory[str]] = []  # removed when the worker ends


@cache
def _unpacked(model: bytes) -> Path:
    _FOLDERS.append(TemporaryDirectory(prefix="tritguard-worker-"))
    folder = Path(_FOLDERS[-1].name) / hashlib.sha256(model).hexdigest()[:16]
    write_bundle(model, folder, name="model")
    return folder


def serve(address: str, resources: dict[str, float], started: Callable[[str], None]) -> None:
    """Work for a scheduler until it ends or this process is interrupted.

    Args:
        address: the scheduler's address.
        resources: what this process has, by name: `CRAFTS`, and boards by their firmware (`resource_of`).
        started: called with this worker's address, once it is known to the scheduler.

    Raises:
        ToolMissingError: Dask's package is not installed.
        BadInputError: there is no scheduler at the address.
    """
    import asyncio  # noqa: PLC0415 - needed here alone

    _connect(address).close()  # a worker waits for ever for a scheduler that is not there
    from distributed import Worker  # noqa: PLC0415 - of an extra
    from distributed.comm.addressing import get_address_host  # noqa: PLC0415
    from distributed.utils import get_ip  # noqa: PLC0415

    # Whoever reaches a worker can run code there, and by default Dask's workers listen on every network of the machine.
    host = get_ip(get_address_host(address))
    threads = max(1, int(sum(resources.values())))

    async def work(folder: str) -> None:
        async with Worker(
            address, nthreads=threads, host=host, resources=resources, dashboard=False, local_directory=folder
        ) as worker:
            started(worker.address)
            await worker.finished()

    with TemporaryDirectory(prefix="tritguard-worker-") as folder:
        asyncio.run(work(folder))
