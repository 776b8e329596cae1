"""Tells SCons how to build a firmware: compiler, machine flags and the board's memory map; the project has the rest."""

import subprocess
from pathlib import Path

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
    CCFLAGS=MACHINE,
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

elf = env.BuildProgram()
Default(env.ElfToBin("$BUILD_DIR/firmware", elf))
