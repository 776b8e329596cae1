"""Tells SCons how to build a firmware: compiler, machine flags and the board's memory map; the project has the rest."""

import hashlib
import os
import subprocess
from pathlib import Path

from SCons.CacheDir import CacheDir
from SCons.Script import Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
platform_dir = Path(env.PioPlatform().get_dir())

PREFIX = "arm-none-eabi-"
# The engine uses integers only: float code that slips in shows as a call into the compiler's library.
MACHINE = board.get("build.machine_flags").split()
SYMBOLS = {
    "FLASH_ORIGIN": board.get("build.flash_origin"),
    "FLASH_BYTES": board.get("upload.maximum_size"),
    "RAM_ORIGIN": board.get("build.ram_origin"),
    "RAM_BYTES": board.get("upload.maximum_ram_size"),
    "RAM_ALLOWED": board.get("build.ram_allowed"),
    "RING_BYTES": board.get("build.ring_bytes"),
    "RING_BYTES_MIN": board.get("build.ring_bytes_min"),
    "STACK_BYTES": board.get("build.stack_bytes"),
}

env.Replace(
    AR=f"{PREFIX}gcc-ar",
    AS=f"{PREFIX}gcc",
    CC=f"{PREFIX}gcc",
    CXX=f"{PREFIX}g++",
    OBJCOPY=f"{PREFIX}objcopy",
    RANLIB=f"{PREFIX}gcc-ranlib",
    SIZETOOL=f"{PREFIX}size",
    ARFLAGS=["rc"],
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    LDSCRIPT_PATH=str(platform_dir / "firmware.ld"),
)
env.Append(
    # What stands between "$(" and "$)" changes no object: wherever the project lies, its paths in it are the same.
    CCFLAGS=[*MACHINE, "$(", "-ffile-prefix-map=$PROJECT_DIR=.", "$)"],
    LINKFLAGS=[
        *MACHINE,
        "-nostartfiles",
        "--specs=nano.specs",
        "-Wl,--gc-sections,--fatal-warnings",
        *(f"-Wl,--defsym={name}={value}" for name, value in SYMBOLS.items()),
        "-Wl,-Map,$BUILD_DIR/firmware.map",
    ],
    BUILDERS={
        "ElfToBin": Builder(
            action=env.VerboseAction("$OBJCOPY -O binary $SOURCES $TARGET", "Building $TARGET"), suffix=".bin"
        )
    },
)


def paths(option):
    return [line for line in env.GetProjectOption(option, "").splitlines() if line.strip()]


def runtime_of_cxx():
    """Whether the toolchain has the C++ library; Debian packages it separately, and g++ cannot link without it."""
    found = subprocess.run([f"{PREFIX}g++", "-print-file-name=libstdc++.a"], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip()).is_absolute()


if env.GetProjectOption("custom_engine", "native") != "native":
    env.Append(
        CXXFLAGS=["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
        CCFLAGS=[f"-isystem{path}" for path in paths("custom_includes")],
        LIBS=[env.File(path) for path in paths("custom_archives")],
    )
    env.Replace(LINK="$CXX" if runtime_of_cxx() else "$CC")


class KeptObjects(CacheDir):
    """Objects with their SHA-256 behind them: one that a crash or a full disk cut short is compiled again."""

    def cachepath(self, node):
        folder, file = super().cachepath(node)
        if file and Path(file).exists():
            content, digest = self._parts(file)
            if hashlib.sha256(content).digest() != digest:
                Path(file).unlink(missing_ok=True)
        return folder, file

    @classmethod
    def copy_from_cache(cls, env, src, dst):
        Path(dst).write_bytes(cls._parts(src)[0])

    @classmethod
    def copy_to_cache(cls, env, src, dst):
        content = Path(src).read_bytes()
        Path(dst).write_bytes(content + hashlib.sha256(content).digest())

    @staticmethod
    def _parts(file):
        stored = Path(file).read_bytes()
        return stored[:-32], stored[-32:]


# tritguard names the folder and the sources whose objects may be kept there (`tritguard.build.kernel_objects`).
kept = os.environ.get("TRITGUARD_KEPT_OBJECTS")
units = set(os.environ.get("TRITGUARD_KEPT", "").split())
if kept:
    env.CacheDir(kept, KeptObjects)
elf = env.BuildProgram()
image = env.ElfToBin("$BUILD_DIR/firmware", elf)
env.NoCache(elf, image, [made for made in elf[0].sources if Path(str(made)).stem not in units])
Default(image)
