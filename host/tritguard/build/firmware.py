"""Builds a firmware from a bundle and a board, and writes the build folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from tritguard import __version__
from tritguard.boards import Board
from tritguard.build.budget import Budget, does_not_fit
from tritguard.build.engine import Engine, native_engine
from tritguard.build.framework_sizes import read_framework_sizes, read_image
from tritguard.build.kernel_objects import kernel_objects
from tritguard.build.pio import COMPILER, MemoryFullError, run_platformio
from tritguard.build.project import build_id, write_project
from tritguard.build.record import BINARY, ELF, MAP, PROJECT, RECORD, Build, BuildRecord
from tritguard.build.sizes import read_compiler, read_sizes
from tritguard.emit.bundle import Bundle, hash_file
from tritguard.errors import BadInputError
from tritguard.files import scratch_folder, whole_folder

_IMAGES = (".bin", ".hex", ".uf2", ".zip")  # what the platforms' uploaders take


def build(bundle: Bundle, board: Board, out: Path, engine: Engine | None = None, budget: Budget | None = None) -> Build:
    """Build the firmware that runs this bundle on this board.

    Args:
        bundle: the model and its generated C.
        board: the board to build for.
        out: the folder to write, completely or not at all; an older build there is replaced, anything else left alone.
        engine: the engine that runs the model; by default the bundle's own C.
        budget: the flash and RAM that the firmware may take; by default all that the board has.

    Raises:
        BadInputError: `out` exists and is not a build, or the bundle is for another class of cores.
        BuildError: the sources do not compile; PlatformIO's log is left beside `out`.
        OverBudgetError: the firmware takes more than the budget, or than the board has.
        ToolMissingError: there is no cross compiler.
    """
    bundle.manifest.check_single()
    if bundle.manifest.core != board.core_class:
        raise BadInputError(
            f"converted for the core class {bundle.manifest.core}, but {board.id} has a {board.core}",
            where=str(bundle.path),
            fix=f"convert again with --core {board.core}",
        )
    engine = native_engine(bundle) if engine is None else engine
    # The project stands apart from `out`: SCons and GCC's path maps break on blanks and brackets in a path.
    with whole_folder(out, _has_record, "build") as draft, scratch_folder() as workshop:
        project = workshop / "project"
        project.mkdir()
        max_ram = None if budget is None else budget.max_ram
        write_project(project, bundle, board, engine, max_ram)
        try:
            kept = {} if board.platformio else kernel_objects(engine.model_files, COMPILER)
            run_platformio(project, board, out.parent / f"{out.name}.log", kept)
        except MemoryFullError as error:
            raise does_not_fit(error.excess, board, bundle.manifest if engine.name == "native" else None) from error
        images = _collect(project, draft, board)
        record = _record(draft, bundle, board, engine, images, max_ram)
        if budget is not None:
            budget.check(record.sizes, bundle.manifest, board.id)
        (draft / RECORD).write_text(record.model_dump_json(indent=2) + "\n")
    return Build(out, record)


def _has_record(folder: Path) -> None:
    """Accept any folder that `build` wrote, even if it was changed since or comes from an older version.

    Raises:
        BadInputError: it has no record.
    """
    if not (folder / RECORD).is_file():
        raise BadInputError(f"no {RECORD} here", where=str(folder))


def _collect(project: Path, draft: Path, board: Board) -> dict[str, str]:
    """Take what was built, and on a framework the project; returns the SHA-256 of the images for its uploaders."""
    made = project / ".pio" / "build" / "firmware"
    if board.platformio is None:
        for name in (ELF, BINARY, MAP):
            shutil.move(made / name, draft / name)
        return {}
    images = {file.name: hash_file(file) for file in sorted(made.glob("firmware.*")) if file.suffix in _IMAGES}
    for name in (ELF, MAP, *images):
        shutil.move(made / name, draft / name)
    if not (draft / BINARY).exists():
        (draft / BINARY).write_bytes(read_image(draft / ELF)[1])
    shutil.rmtree(project / ".pio")
    shutil.move(project, draft / PROJECT)
    return images


def _record(
    draft: Path, bundle: Bundle, board: Board, engine: Engine, images: dict[str, str], max_ram: int | None
) -> BuildRecord:
    elf, binary = draft / ELF, draft / BINARY
    if board.platformio is None:
        sizes = read_sizes(elf)
    else:
        sizes = read_framework_sizes(elf, draft / MAP, binary.stat().st_size, board.stack_bytes)
    return BuildRecord(
        tritguard=__version__,
        board=board,
        engine=engine.name,
        build_id=build_id(bundle, board, engine, max_ram).hex(),
        bundle_sha256=bundle.sha256,
        model_sha256=bundle.manifest.model_sha256,
        elf_sha256=hash_file(elf),
        binary_sha256=hash_file(binary),
        images=images,
        compiler=read_compiler(elf),
        flags=engine.flags,
        max_ram=max_ram,
        sizes=sizes,
    )
