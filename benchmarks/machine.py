# SPDX-License-Identifier: Apache-2.0
"""The machine: facts about it, and what is asked of it."""

from __future__ import annotations

import os
import platform
import sys

from benchmarks.row import SkipRow


def facts() -> dict[str, str | int]:
    """Return what a reader has to know of the machine, and nothing that tells whose it is."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
    }


def cores() -> list[int]:
    """Return the numbers of the cores that may be used; none if one cannot choose."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def stay_on(*chosen: int) -> None:
    """Bind all threads of this process, and what it starts from now on, to some cores."""
    if sys.platform == "linux" and chosen:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), chosen)


def memory(pid: int | str = "self") -> int:
    """Return how many bytes of memory a process occupies.

    Raises:
        SkipRow: The system does not tell.
    """
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        raise SkipRow("the system does not tell how much memory a process has") from None


def allow_many_files() -> int:
    """Raise the limit of open descriptors as far as possible, and return it."""
    try:
        import resource
    except ImportError:
        return 512
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else sys.maxsize
