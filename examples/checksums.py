# SPDX-License-Identifier: Apache-2.0
"""Print the SHA-256 checksum of each file below a folder, computed on all processors.

    python checksums.py folder

The folder is gone through in threads, a few names at a time; the computing is done in processes.
"""

from __future__ import annotations

import hashlib
import sys

import giambio


def checksum(name: str) -> str:
    """Blocking, and hard work: called in a worker process."""
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def show(name: str) -> None:
    print(await giambio.run_in_process(checksum, name), name)


async def main(folder: str) -> None:
    async with giambio.create_pool(limit=100) as pool:
        async for path in giambio.Path(folder).rglob("*"):
            if await path.is_file():
                await pool.spawn(show, str(path))  # waits while a hundred are under way


if __name__ == "__main__":
    giambio.run(main, sys.argv[1])
