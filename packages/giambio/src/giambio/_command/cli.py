# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m giambio``.

python -m giambio                        a prompt with top-level await
python -m giambio run script.py          run a program with tools attached
python -m giambio ps                     which processes are monitored
python -m giambio tree|where|watch PID   look into one of them
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        arguments: The command line without the name of the program; that of this process if omitted.

    Returns:
        The exit status.
    """
    args = _make_parser().parse_args(arguments)
    if args.command is None:
        from .repl import Prompt

        return Prompt().interact()
    if args.command == "run":
        return _run(args)
    from giambio.debug._client import NoMonitor

    try:
        _look(args)
    except (NoMonitor, PermissionError) as error:
        print(f"giambio: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _make_parser() -> ArgumentParser:
    from argparse import REMAINDER, ArgumentParser

    parser = ArgumentParser(
        prog="python -m giambio",
        description="Without a command: a prompt with top-level await.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    run = commands.add_parser(
        "run",
        parents=[_make_tools_parser()],
        usage="%(prog)s [tools] (script.py | -m module) [tools] [arguments] [-- arguments]",
        help="run a program with tools attached",
        description="Run a program with tools attached. They may be named before or after it; what "
        "is not the name of a tool, or comes after --, is for the program.",
    )
    # All the rest, because what follows the module, --help for example, is the module's.
    run.add_argument(
        "-m", nargs=REMAINDER, dest="module", metavar="module", help="run a module, not a file"
    )
    run.add_argument("program", nargs=REMAINDER, help="the program and its arguments")

    ps = commands.add_parser("ps", help="list monitored processes, or the tasks of one")
    tree = commands.add_parser("tree", help="show the tasks of a process as a tree")
    where = commands.add_parser("where", help="show where the tasks of a process are")
    watch = commands.add_parser("watch", help="show the tasks of a process live, until you press q")
    if_one = "; may be omitted if only one is monitored"
    ps.add_argument("pid", type=int, nargs="?", metavar="PID", help="the process")
    for command in (tree, watch):
        command.add_argument("pid", type=int, nargs="?", metavar="PID", help="the process" + if_one)
    # Not a number yet: with one process only, it may be the task.
    where.add_argument("pid", nargs="?", metavar="PID", help="the process" + if_one)
    where.add_argument("task", nargs="?", metavar="TASK", help="the name, or #number, of a task")
    tree.add_argument(
        "--all", action="store_true", help="a line for every task, even if many are alike"
    )
    watch.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="how often to look, in seconds"
    )
    return parser


def _version() -> str:
    from platform import python_version

    from giambio import __version__

    return f"giambio {__version__}, Python {python_version()}"


def _make_tools_parser() -> ArgumentParser:
    from argparse import ArgumentParser

    tools = ArgumentParser(add_help=False, allow_abbrev=False)
    tools.add_argument("--trace", metavar="FILE", help="write a trace for ui.perfetto.dev")
    tools.add_argument(
        "--monitor", action="store_true", help="let ps, tree, where and watch look in"
    )
    tools.add_argument(
        "--watchdog", type=float, metavar="S", help="show steps that take longer than S seconds"
    )
    tools.add_argument("--busy-waits", action="store_true", help="show tasks that wait busily")
    tools.add_argument("--print", action="store_true", help="print what happens")
    tools.add_argument("--dump", action="store_true", help="print all tasks when SIGUSR1 comes")
    return tools


# Running a program


def _run(args: Namespace) -> int:
    import runpy

    is_module = args.module is not None
    what: list[str] = args.module if is_module else args.program
    if not what or what[0].startswith("-"):
        return _complain(f"expected a program, not {what[0]}" if what else "no program is given")
    name, *program = what
    if not is_module and not os.path.exists(name):
        return _complain(f"there is no file {name!r}")
    if is_module and not _is_there(name):
        return _complain(f"there is no module {name!r}")
    ours, theirs = program, []
    if "--" in program:
        position = program.index("--")
        ours, theirs = program[:position], program[position + 1 :]
    args, rest = _make_tools_parser().parse_known_args(ours, args)
    sys.argv[1:] = [*rest, *theirs]
    with _attached(args):
        if is_module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            # As a whole, so that whoever looks in from elsewhere finds the source.
            path = os.path.abspath(name)
            sys.path[0] = os.path.dirname(path)
            runpy.run_path(path, run_name="__main__")
    return 0


def _is_there(module: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(module) is not None
    except ModuleNotFoundError as error:
        # A package around it is missing; otherwise something that one of these needs, as will be shown.
        return not f"{module}.".startswith(f"{error.name}.")


def _complain(text: str) -> int:
    print(f"python -m giambio run: {text}", file=sys.stderr)
    return 2


def _attached(args: Namespace) -> ExitStack:
    """Attach the tools that were asked for to all runs, until the stack is closed."""
    from giambio import debug
    from giambio._run import attachments

    debuggers: list[object] = []
    stack = ExitStack()
    if args.trace is not None:
        tracer = debug.ChromeTracer()
        debuggers.append(tracer)
        stack.callback(_save, tracer, args.trace)
    if args.watchdog is not None:
        debuggers.append(debug.SlowStepWatchdog(args.watchdog))
    if args.busy_waits:
        debuggers.append(debug.BusyWaitDetector())
    if args.print:
        debuggers.append(debug.PrintDebugger())

    def attach(scheduler: Any) -> None:
        for debugger in debuggers:
            scheduler.add_debugger(debugger)

    attachments.append(attach)
    stack.callback(attachments.remove, attach)
    if args.monitor:
        stack.enter_context(debug.Monitor())
    if args.dump:
        stack.enter_context(debug.dump_on_signal())
    return stack


def _save(tracer: Any, path: str) -> None:
    tracer.save(path)
    dropped = f" ({tracer.dropped} older events were dropped)" if tracer.dropped else ""
    print(f"giambio: open {path} in https://ui.perfetto.dev{dropped}", file=sys.stderr)


# Looking into processes


def _look(args: Namespace) -> None:
    from giambio.debug import _client as client

    if args.command == "ps" and args.pid is None:
        processes = client.monitored()
        if not processes:
            raise client.NoMonitor(client.NONE_IS_MONITORED)
        _print(client.format_processes(processes))
        return
    if args.command == "where" and args.pid is not None:
        if args.pid.isdecimal():
            args.pid = int(args.pid)
        elif args.task is None:
            args.pid, args.task = None, args.pid
        else:
            raise client.NoMonitor(f"{args.pid!r} is not the number of a process")
    pid = client.only_one() if args.pid is None else args.pid
    commands: dict[str, Callable[[], object]] = {
        "ps": lambda: _print(client.format_table(client.ask(pid))),
        "tree": lambda: _print(client.format_trees(client.ask(pid), fold=not args.all)),
        "where": lambda: _print(client.format_stacks(client.ask(pid, stacks=True), args.task)),
        "watch": lambda: _watch(pid, args.interval),
    }
    commands[args.command]()


def _watch(pid: int, interval: float) -> None:
    from giambio.debug._client import NoMonitor, ask
    from giambio.debug._watch import Watch

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NoMonitor("watch needs a terminal; 'tree' and 'where' do not")
    ask(pid)  # better to say now, and on this screen, that nobody answers
    Watch(pid, interval=interval).run()


def _print(lines: Iterable[str]) -> None:
    from giambio.debug._tree import encodable

    print(encodable("\n".join(lines), sys.stdout), flush=True)
