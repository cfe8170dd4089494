# SPDX-License-Identifier: Apache-2.0
"""Functions called in other processes and interpreters."""

from __future__ import annotations

import asyncio
import json
import math
import operator
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from subprocess import PIPE
from types import ModuleType, SimpleNamespace

import pytest

import giambio
from giambio import (
    CancelScope,
    CapacityLimiter,
    ResourceBroken,
    run_in_interpreter,
    run_in_process,
    run_process,
)
from giambio._workers.remote import describe_main, pack, perform, set_main, unpack
from giambio._workers.worker import HEADER, serve
from giambio.testing import assert_checkpoints

LARGE = b"x" * 300_000


@pytest.fixture(autouse=True)
def no_child_is_left():
    """Neither running nor as a zombie, whatever the test has done."""
    yield
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def there_and_back(func, *args, **kwargs):
    return unpack(perform(pack(func, args, kwargs)))


class TestRemote:
    """Messages of calls and of outcomes."""

    def test_a_call_and_its_result(self):
        assert there_and_back(math.factorial, 5) == 120
        assert there_and_back(int, "ff", base=16) == 255

    def test_an_error_is_the_same_one_with_a_note(self):
        with pytest.raises(json.JSONDecodeError, match="Expecting value") as info:
            there_and_back(json.loads, "x")
        (note,) = info.value.__notes__
        assert note.startswith("in another process or interpreter\n")
        assert "json" in note
        with pytest.raises(SystemExit, match="3"):
            there_and_back(sys.exit, 3)

    def test_an_error_that_cannot_travel_is_told_of(self):
        code = "raise type('Odd', (Exception,), {})('message')"
        with pytest.raises(RuntimeError, match="Odd: message"):
            there_and_back(exec, code)

    def test_an_error_that_would_not_arrive_is_told_of(self, monkeypatch):
        class TwoArguments(Exception):
            def __init__(self, one, other):
                super().__init__(one)

        module = ModuleType("program_of_a_case")
        module.TwoArguments = TwoArguments
        TwoArguments.__module__, TwoArguments.__qualname__ = "program_of_a_case", "TwoArguments"
        monkeypatch.setitem(sys.modules, "program_of_a_case", module)
        code = "import program_of_a_case; raise program_of_a_case.TwoArguments(1, 2)"
        with pytest.raises(RuntimeError, match="TwoArguments: 1"):
            there_and_back(exec, code)

    def test_a_result_that_cannot_travel_is_an_error(self):
        with pytest.raises(Exception, match="pickle"):
            there_and_back(eval, "lambda: 1")

    def test_what_cannot_be_sent_is_an_error_at_once(self):
        with pytest.raises(TypeError, match="must stand in a module"):
            pack(lambda: 1, (), {})
        with pytest.raises(TypeError, match="its arguments must be picklable"):
            pack(print, (sys.stdout,), {})
        with pytest.raises(TypeError, match="expected a function"):
            pack(3, (), {})

    def test_an_async_function_is_refused(self):
        with pytest.raises(TypeError, match=r"sleep\(\) is an async function: await it"):
            there_and_back(asyncio.sleep, 1)

    @pytest.fixture
    def main_module(self, monkeypatch, tmp_path):
        """A main module there and its file; here it is a stand-in whose functions can be sent."""
        (tmp_path / "program_of_a_case.py").write_text(
            "import sys\n"
            "def name(): return __name__\n"
            "if __name__ == '__main__': sys.exit('run again')\n"
        )
        here = ModuleType("__main__")
        exec("def name(): pass", vars(here))
        monkeypatch.setitem(sys.modules, "__main__", here)
        monkeypatch.setitem(sys.modules, "__mp_main__", None)
        monkeypatch.delitem(sys.modules, "__mp_main__")
        monkeypatch.syspath_prepend(tmp_path)
        yield here, str(tmp_path / "program_of_a_case.py")
        set_main(None, None)
        sys.modules.pop("__mp_main__", None)

    def test_functions_of_the_main_module_are_found_by_its_file(self, main_module):
        here, path = main_module
        here.__file__ = path
        assert describe_main() == (None, path)
        set_main(None, path)
        message = pack(here.name, (), {})
        for _ in range(2):  # the second time it is there already
            assert unpack(perform(message)) == "__mp_main__"

    def test_functions_of_the_main_module_are_found_by_its_name(self, main_module):
        here, _ = main_module
        here.__spec__ = SimpleNamespace(name="program_of_a_case")
        assert describe_main() == ("program_of_a_case", None)
        set_main("program_of_a_case", None)
        assert there_and_back(here.name) == "__mp_main__"

    def test_a_main_module_that_runs_the_program_there_is_told_how_not_to(self, main_module):
        here, path = main_module
        with open(path, "a") as file:
            file.write("from giambio._workers.remote import pack\npack(print, (), {})\n")
        set_main(None, path)
        with pytest.raises(RuntimeError, match="behind if __name__ == '__main__'"):
            there_and_back(here.name)
        pack(print, (), {})  # it is over

    def test_a_main_module_without_a_file_cannot_be_found(self, main_module):
        here, _ = main_module
        with pytest.raises(ImportError, match="was typed in"):
            there_and_back(here.name)


def test_a_worker_makes_one_call_after_the_other_until_the_other_side_hangs_up(monkeypatch):
    """Also one without any output of its own."""
    monkeypatch.setattr(sys, "stderr", None)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # as it comes out of the loop
    worker = threading.Thread(target=serve, args=(theirs.detach(), None, None))
    worker.start()
    with ours, ours.makefile("rwb") as stream:
        for n in (5, 6):
            message = pack(math.factorial, (n,), {})
            stream.write(len(message).to_bytes(HEADER) + message)
            stream.flush()
            reply = stream.read(int.from_bytes(stream.read(HEADER)))
            assert unpack(reply) == math.factorial(n)
        ours.shutdown(socket.SHUT_WR)
        assert stream.read() == b""
    worker.join()


class TestRunInProcess:
    def test_functions_are_called_in_a_process_that_is_used_again(self, run):
        async def main():
            limiter = CapacityLimiter(1)
            call = partial(run_in_process, limiter=limiter)
            pid = await call(os.getpid)
            assert pid != os.getpid()
            assert await call(operator.add, LARGE, b"y") == LARGE + b"y"
            assert await call(int, "ff", base=16) == 255
            with pytest.raises(ZeroDivisionError):
                await call(operator.truediv, 1, 0)
            with assert_checkpoints():
                assert await call(os.getpid) == pid
            assert await call(eval, "__import__('os').getpgrp()") == pid
            assert limiter.borrowed_tokens == 0

        run(main)

    def test_two_at_a_time_are_two_processes(self, run):
        async def main():
            giambio.default_process_limiter().total_tokens = 2
            pids = await giambio.gather(
                partial(run_in_process, os.getpid), partial(run_in_process, os.getpid)
            )
            assert len(set(pids)) == 2

        run(main)

    def test_a_cancelled_call_is_killed_with_what_it_has_started(self, tmp_path):
        """In the middle of something that does not listen."""
        path = tmp_path / "pids"
        code = (
            "import os, signal, subprocess\n"
            "child = subprocess.Popen(['sleep', '1000'])\n"
            f"with open({str(path)!r} + '~', 'w') as file: print(os.getpid(), child.pid, file=file)\n"
            f"os.rename({str(path)!r} + '~', {str(path)!r})\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
            "while True: signal.pause()\n"
        )

        async def main():
            with CancelScope() as scope:
                async with giambio.create_pool() as pool:
                    pool.spawn(run_in_process, exec, code)
                    while not await giambio.Path(path).exists():
                        pass
                    scope.cancel()
            assert scope.cancelled_caught

        giambio.run(main)
        worker, child = map(int, path.read_text().split())
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
        while alive(child):
            time.sleep(0.001)

    def test_a_call_that_is_cancelled_before_it_begins_starts_nothing(self, run, monkeypatch):
        async def main():
            with CancelScope() as scope:
                scope.cancel()
                await run_in_process(os.getpid)
            with giambio.skip_after(1) as scope:
                await run_in_process(os.getpid, limiter=CapacityLimiter(0))
            assert scope.timed_out

        monkeypatch.setattr("subprocess.Popen", None)
        run(main)

    def test_a_process_that_ends_is_an_error_and_replaced(self, run):
        async def main():
            pid = await run_in_process(os.getpid)
            with pytest.raises(ResourceBroken, match="has ended during the call, with 3"):
                await run_in_process(os._exit, 3)
            other = await run_in_process(os.getpid)
            assert other != pid
            # While it has nothing to do.
            os.kill(other, signal.SIGKILL)
            os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
            assert await run_in_process(os.getpid) not in {pid, other}

        run(main)

    def test_a_process_that_cannot_be_started_leaves_nothing_behind(self, run, monkeypatch):
        async def main():
            monkeypatch.setattr(sys, "executable", "/no/such/program")
            with pytest.raises(FileNotFoundError):
                await run_in_process(os.getpid)

        run(main)

    def test_when_the_loop_breaks_off_the_idle_ones_end_too(self):
        class Broken(giambio.AsyncScheduler):
            broken = False

            def _poll(self, timeout, *, tell=False):
                if self.broken:
                    raise OSError("broken")
                super()._poll(timeout, tell=tell)

        async def main():
            await run_in_process(os.getpid)
            giambio.lowlevel.current_scheduler().broken = True
            await giambio.sleep(0.001)

        with pytest.raises(OSError, match="broken"):
            Broken().start(main)

    def test_functions_of_the_program_itself_can_be_called(self, run, tmp_path):
        program = tmp_path / "program.py"
        program.write_text(
            "import giambio\n"
            "class Number(int): pass\n"
            "def double(n): return Number(2 * n)\n"
            "async def main():\n"
            "    doubled = await giambio.run_in_process(double, Number(4))\n"
            "    print(doubled, type(doubled) is Number)\n"
            "if __name__ == '__main__': giambio.run(main)\n"
        )

        async def main():
            return (await run_process([sys.executable, str(program)], stdout=PIPE)).stdout

        assert run(main) == b"8 True\n"

    def test_bad_use_is_an_error_at_once(self, run):
        async def main():
            with pytest.raises(TypeError, match="must stand in a module"):
                await run_in_process(lambda: 1)

        run(main)
        with pytest.raises(RuntimeError):
            run_in_process(os.getpid).send(None)


def alive(pid):
    """Whether a process runs. An orphan may remain as a zombie where nobody reaps orphans."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


class TestRunInInterpreter:
    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python has them")
    def test_without_them_the_error_names_the_way_out(self, run):
        async def main():
            with pytest.raises(RuntimeError, match=r"needs Python 3.14, and this is 3\.\d+; use"):
                await run_in_interpreter(math.factorial, 5)

        run(main)

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters came with Python 3.14")
    def test_functions_are_called_in_another_interpreter(self, run):
        async def main():
            code = "__import__('concurrent.interpreters').interpreters.get_current().id"
            assert await run_in_interpreter(eval, code) != eval(code)
            assert await run_in_interpreter(math.factorial, 5) == 120
            with pytest.raises(ZeroDivisionError):
                await run_in_interpreter(operator.truediv, 1, 0)

        run(main)

    def test_what_makes_the_calls_works_in_another_interpreter(self):
        """Python 3.13 has interpreters, too, but not yet for everybody."""
        interpreters = pytest.importorskip("_interpreters")
        interpreter = interpreters.create()
        code = (
            f"import math, sys; sys.path[:] = {sys.path!r}\n"
            "from giambio._workers.remote import pack, perform, set_main, unpack\n"
            "set_main(None, None)\n"
            "assert unpack(perform(pack(math.factorial, (5,), {}))) == 120\n"
        )
        assert interpreters.exec(interpreter, code) is None
        interpreters.destroy(interpreter)

    def test_an_interpreter_is_made_once_and_closed_with_the_run(self, run, monkeypatch):
        """On a stand-in for the module, which does in this one what it should do in another."""
        events = []

        class Interpreter:
            def __init__(self):
                events.append("create")

            def exec(self, code):
                events.append(code.partition(" = ")[0])

            def call(self, fn, *args):
                events.append(fn.__name__)
                return fn(*args)

            def close(self):
                events.append("close")

        module = ModuleType("concurrent.interpreters")
        module.create = Interpreter
        monkeypatch.setitem(sys.modules, "concurrent.interpreters", module)

        async def main():
            limiter = giambio.default_interpreter_limiter()
            assert limiter.total_tokens == os.cpu_count()
            with assert_checkpoints():
                assert await run_in_interpreter(math.factorial, 5) == 120
            with pytest.raises(ZeroDivisionError):
                await run_in_interpreter(operator.truediv, 1, 0, limiter=CapacityLimiter(1))
            assert limiter.borrowed_tokens == 0

        run(main)
        begin = ["create", "import sys; sys.path[:]", "set_main"]
        assert events == [*begin, "perform", "perform", "close"]
        set_main(None, None)
