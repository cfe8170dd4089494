# SPDX-License-Identifier: Apache-2.0
"""Run several shell commands side by side, and show each line as it comes, with its command.

    python parallel_commands.py "make lint" "make test" "make docs"

At most two run at a time. The first that fails stops the others, with whatever they have started.
"""

from __future__ import annotations

import subprocess
import sys

import giambio


async def show(command: str) -> None:
    """Run a command; show what it writes; raise if it fails."""
    async with giambio.open_process(
        command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        async for line in giambio.BufferedStream(process.stdout).lines():
            print(f"{command}: {line.decode(errors='replace')}", flush=True)
        code = await process.wait()
    if code != 0:
        raise RuntimeError(f"{command!r} failed with {code}")


async def main(commands: list[str]) -> None:
    async with giambio.create_pool(limit=2) as pool:
        for command in commands:
            pool.spawn(show, command)


if __name__ == "__main__":
    try:
        giambio.run(main, sys.argv[1:])
    except RuntimeError as error:
        sys.exit(str(error))
