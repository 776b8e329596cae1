"""Tools and targets, as a vendor's platform has them; uploading copies the image to where upload_port says."""

import os
import shutil

from SCons.Script import COMMAND_LINE_TARGETS, AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
env.Replace(
    AR="arm-none-eabi-ar", AS="arm-none-eabi-gcc", CC="arm-none-eabi-gcc", CXX="arm-none-eabi-g++",
    OBJCOPY="arm-none-eabi-objcopy", RANLIB="arm-none-eabi-ranlib", LINK="$CC",
    PROGNAME="firmware", PROGSUFFIX=".elf", ARFLAGS=["rc"],
)  # fmt: skip
env.Append(
    BUILDERS={
        "ElfToBin": Builder(action=env.VerboseAction("$OBJCOPY -O binary $SOURCES $TARGET", "Image"), suffix=".bin")
    }
)


def upload(source, target, env):
    place = os.environ.get("STANDIN_FLASH")
    if not place:
        print(f"Error: no stand-in is connected by {env.subst('$UPLOAD_PROTOCOL')}")
        return 1
    shutil.copyfile(str(source[0]), place)
    print(f"uploaded by {env.subst('$UPLOAD_PROTOCOL')}")
    return 0


if "nobuild" in COMMAND_LINE_TARGETS:
    image = "$BUILD_DIR/firmware.bin"
else:
    image = env.ElfToBin("$BUILD_DIR/firmware", env.BuildProgram())
AlwaysBuild(env.Alias("nobuild", image))
env.AddPlatformTarget("upload", image, [env.VerboseAction(upload, "Uploading $SOURCE")], "Upload")
Default(image)
