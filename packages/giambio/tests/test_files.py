# SPDX-License-Identifier: Apache-2.0
"""Files, paths, and temporary ones of both."""

from __future__ import annotations

import inspect
import io
import os
import pathlib
import pickle
import sys
import threading

import pytest

import giambio
from giambio import (
    AsyncFile,
    CancelScope,
    Path,
    TemporaryDirectory,
    open_file,
    open_temporary_file,
    wrap_file,
)
from giambio.testing import assert_checkpoints, cancel_sweep


class TestFile:
    def test_text_is_written_and_read(self, run, tmp_path):
        async def main():
            async with await open_file(tmp_path / "file", "w", encoding="latin-1") as file:
                assert await file.write("grüß\n") == 5
                await file.writelines(["b\n", "c"])
                await file.flush()
                assert (tmp_path / "file").read_bytes() == b"gr\xfc\xdf\nb\nc"
            assert file.closed
            async with await open_file(tmp_path / "file", encoding="latin-1") as file:
                assert await file.readline() == "grüß\n"
                assert await file.read(1) == "b"
                assert await file.readlines() == ["\n", "c"]
                assert await file.read() == ""

        run(main)

    def test_bytes_positions_and_sizes(self, run, tmp_path):
        async def main():
            async with await open_file(tmp_path / "file", "w+b") as file:
                await file.write(b"0123456789")
                assert await file.seek(-4, os.SEEK_END) == await file.tell() == 6
                assert (await file.peek())[:2] == b"67"
                assert await file.read1(1) == b"6"
                buffer = bytearray(2)
                assert await file.readinto(buffer) == 2
                assert buffer == b"78"
                assert await file.truncate(4) == 4
                await file.seek(0)
                assert await file.readinto1(buffer) == 2
                assert buffer == b"01"
                await file.seek(0)
                assert await file.read() == b"0123"
            async with await open_file(tmp_path / "file", "rb", buffering=0) as file:
                assert await file.readall() == b"0123"

        run(main)

    @pytest.mark.parametrize(("mode", "buffering"), [("r", -1), ("rb", -1), ("w+b", -1), ("rb", 0)])
    def test_no_method_of_the_standard_ones_is_forgotten(self, tmp_path, mode, buffering):
        """Except those that take the file apart."""
        (tmp_path / "file").touch()
        with open(tmp_path / "file", mode, buffering) as file:
            theirs = {
                name
                for name in dir(file)
                if not name.startswith("_") and callable(getattr(file, name))
            }
        assert theirs - {"detach", "reconfigure"} <= set(dir(AsyncFile))

    def test_lines_are_iterated_over(self, run, tmp_path):
        (tmp_path / "file").write_text("a\nb\nc")

        async def main():
            async with await open_file(tmp_path / "file") as file:
                assert [line async for line in file] == ["a\n", "b\n", "c"]

        run(main)

    def test_it_tells_of_itself_what_the_standard_one_tells(self, run, tmp_path):
        async def main():
            async with await open_file(tmp_path / "file", "wb") as file:
                assert file.name == str(tmp_path / "file")
                assert file.mode == "wb"
                assert file.fileno() == file.wrapped.fileno()
                assert not file.isatty()
                assert not file.readable()
                assert file.writable()
                assert file.seekable()
                assert not file.closed
                assert repr(file) == f"<AsyncFile of {file.wrapped!r}>"

        run(main)

    def test_errors_are_the_standard_ones(self, run, tmp_path):
        async def main():
            with pytest.raises(FileNotFoundError):
                await open_file(tmp_path / "none")
            async with await open_file(tmp_path / "file", "w") as file:
                with pytest.raises(io.UnsupportedOperation):
                    await file.read()
                with pytest.raises(AttributeError, match="no attribute 'read1'"):
                    await file.read1()
            await file.close()  # twice is fine
            with pytest.raises(ValueError, match="closed file"):
                await file.write("x")

        run(main)

    def test_tasks_take_turns(self, run):
        """Objects for text are not made for several threads."""

        class Slow(io.StringIO):
            inside = 0

            def write(self, text):
                self.inside += 1
                assert self.inside == 1
                release.acquire()
                self.inside -= 1
                return super().write(text)

        release = threading.Semaphore(0)

        async def main():
            file = wrap_file(Slow())
            async with giambio.create_pool() as pool:
                for letter in "abc":
                    pool.spawn(file.write, letter)
                for _ in range(10):
                    await giambio.checkpoint()
                release.release(3)
            assert file.wrapped.getvalue() == "abc"

        run(main)

    def test_what_has_begun_has_its_effect_although_it_is_cancelled(self, run):
        class Slow(io.BytesIO):
            def write(self, data):
                begun.set()
                release.wait(10)
                return super().write(data)

        begun, release = threading.Event(), threading.Event()

        async def main():
            file = wrap_file(Slow())
            with CancelScope() as scope:
                async with giambio.create_pool() as pool:
                    writes = [pool.spawn(file.write, b"one"), pool.spawn(file.write, b"two")]
                    await giambio.run_in_thread(begun.wait, 10)
                    scope.cancel()
                    release.set()
            assert file.wrapped.getvalue() == b"one"
            assert writes[0].result() == 3
            assert writes[1].cancelled()

        run(main)

    def test_it_is_closed_also_when_that_is_cancelled(self, run, tmp_path):
        async def main():
            with CancelScope() as scope:
                async with await open_file(tmp_path / "file", "w") as file:
                    await file.write("x")
                    scope.cancel()
            assert scope.cancelled_caught
            assert file.closed
            assert (tmp_path / "file").read_text() == "x"

        run(main)

    def test_every_cancellation_is_survived(self, tmp_path):
        async def main():
            async with await open_file(tmp_path / "file", "w") as file:
                await file.write("x")

        cancel_sweep(main)

    def test_every_operation_is_a_checkpoint(self, run, tmp_path):
        async def main():
            with assert_checkpoints():
                file = await open_file(tmp_path / "file", "w")
            for operation in (file.flush, file.tell, file.aclose, file.close):
                with assert_checkpoints():
                    await operation()

        run(main)

    def test_only_files_are_wrapped(self):
        class Closeable:
            def close(self):
                pass

        for bad in ("path", Closeable(), 3):
            with pytest.raises(TypeError, match="expected a file object"):
                wrap_file(bad)


class TestPath:
    def test_it_is_a_path_as_any_other(self):
        path = Path("a") / "b.txt"
        assert type(path) is type(path.parent) is type(path.with_suffix(".py")) is Path
        assert path == pathlib.Path("a/b.txt")
        assert hash(path) == hash(pathlib.Path("a/b.txt"))
        assert isinstance(path, pathlib.PurePath)
        assert not isinstance(path, pathlib.Path)
        assert os.fspath(path) == str(path) == "a/b.txt"
        assert repr(path) == "Path('a/b.txt')"
        assert pickle.loads(pickle.dumps(path)) == path

    def test_content(self, run, tmp_path):
        async def main():
            path = Path(tmp_path) / "file"
            assert await path.write_text("grüß\n", "latin-1") == 5
            assert await path.read_text("latin-1") == "grüß\n"
            assert await path.write_bytes(b"bytes") == 5
            assert await path.read_bytes() == b"bytes"
            await path.write_bytes(b"line\r\n")
            assert await path.read_text() == "line\n"
            assert await path.read_text(newline="") == "line\r\n"
            await path.write_bytes(b"bytes")
            async with await path.open("a") as file:
                await file.write("!")
            async with await path.open("rb") as file:
                assert await file.read() == b"bytes!"

        run(main)

    def test_what_is_there(self, run, tmp_path):
        owner, group = tmp_path.owner(), tmp_path.group()

        async def main():
            path = Path(tmp_path) / "file"
            assert not await path.exists()
            await path.touch()
            with pytest.raises(FileExistsError):
                await path.touch(exist_ok=False)
            link = path.with_name("link")
            await link.symlink_to(path)
            assert await path.exists() and await path.is_file() and await link.is_symlink()
            assert await Path(tmp_path).is_dir() and not await path.is_dir()
            folder_link = path.with_name("folder link")
            await folder_link.symlink_to(tmp_path)
            for question in (path.is_file, link.is_file, folder_link.is_dir):
                follows, does_not = await question(), await question(follow_symlinks=False)
                assert (follows, does_not) == (True, question == path.is_file)
            assert (await path.stat()).st_size == 0
            assert (await link.stat()).st_ino == (await path.stat()).st_ino
            assert (await link.lstat()).st_ino != (await path.stat()).st_ino
            assert (await link.stat(follow_symlinks=False)) == await link.lstat()
            assert await link.samefile(path)
            assert (await path.owner(), await path.group()) == (owner, group)
            for question in (
                "is_mount", "is_socket", "is_fifo", "is_block_device", "is_char_device",
            ):  # fmt: skip
                assert await getattr(path, question)() is False
            if sys.version_info >= (3, 12):
                assert not await path.is_junction()
            if sys.version_info >= (3, 13):
                assert await link.owner(follow_symlinks=False) == owner
                assert await link.group(follow_symlinks=False) == group
            await path.unlink()
            await path.unlink(missing_ok=True)
            assert not await link.exists()
            assert await link.exists(follow_symlinks=False)

        run(main)

    def test_where_it_leads_to(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))

        async def main():
            here = await Path.cwd()
            assert here == tmp_path
            assert await Path.home() == tmp_path
            assert await Path("~/x").expanduser() == tmp_path / "x"
            assert await Path("x").absolute() == tmp_path / "x"
            await Path("link").symlink_to("target")
            assert await Path("link").readlink() == Path("target")
            assert await Path("link").resolve() == tmp_path / "target"
            with pytest.raises(FileNotFoundError):
                await Path("link").resolve(strict=True)
            for path in (here, await Path("x").absolute(), await Path("link").readlink()):
                assert type(path) is Path

        run(main)

    def test_names_and_permissions(self, run, tmp_path):
        async def main():
            path = Path(tmp_path) / "file"
            await path.touch(0o600)
            await path.chmod(0o640)
            assert (await path.stat()).st_mode & 0o777 == 0o640
            moved = await path.rename(path.with_name("other"))
            assert moved == path.with_name("other") and type(moved) is Path
            assert await (await moved.replace(path)).exists()
            await path.with_name("again").hardlink_to(path)
            assert (await path.stat()).st_nlink == 2
            try:
                await path.lchmod(0o600)
            except NotImplementedError:
                pass  # Linux cannot

        run(main)

    def test_folders(self, run, tmp_path):
        async def main():
            root = Path(tmp_path)
            await (root / "a" / "b").mkdir(parents=True)
            await (root / "a").mkdir(exist_ok=True)
            for name in ("x.py", "a/y.py", "a/z.txt", "a/b/w.py"):
                await (root / name).touch()
            assert sorted([path async for path in root.iterdir()]) == [root / "a", root / "x.py"]
            assert [path async for path in root.glob("*.py")] == [root / "x.py"]
            found = [path async for path in root.rglob("*.py")]
            assert sorted(found) == [root / "a/b/w.py", root / "a/y.py", root / "x.py"]
            assert {type(path) for path in found} == {Path}
            with pytest.raises(OSError):
                await (root / "a").rmdir()
            with pytest.raises(FileNotFoundError):
                async for _ in (root / "none").iterdir():
                    pass
            seen = []
            async for folder, folders, files in root.walk():
                seen.append((folder, folders[:], sorted(files)))
                if "b" in folders:
                    folders.remove("b")
            assert seen == [(root, ["a"], ["x.py"]), (root / "a", ["b"], ["y.py", "z.txt"])]
            up = [folder async for folder, _, _ in root.walk(top_down=False)]
            assert up == [root / "a/b", root / "a", root]
            errors = []
            assert [_ async for _ in (root / "none").walk(on_error=errors.append)] == []
            assert isinstance(errors[0], FileNotFoundError)

        run(main)

    def test_a_large_folder_is_fetched_in_portions(self, run, tmp_path):
        for number in range(250):
            (tmp_path / str(number)).touch()

        async def main():
            entries = Path(tmp_path).iterdir()
            with CancelScope() as scope:
                async for _ in entries:
                    scope.cancel()
            rest = [path async for path in entries]
            assert len(set(rest)) == len(rest) == 249

        run(main)

    def test_every_step_is_a_checkpoint(self, run, tmp_path):
        (tmp_path / "one").touch()
        (tmp_path / "other").touch()

        async def main():
            entries = Path(tmp_path).iterdir()
            for _ in range(2):
                with assert_checkpoints():
                    await anext(entries)
            with assert_checkpoints(), pytest.raises(StopAsyncIteration):
                await anext(entries)
            with assert_checkpoints():
                await Path(tmp_path).exists()

        run(main)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="an option since Python 3.12")
    def test_options_are_handed_on(self, run, tmp_path):
        (tmp_path / "FILE").touch()

        async def main():
            found = Path(tmp_path).glob("file", case_sensitive=False)
            assert [path.name async for path in found] == ["FILE"]

        run(main)

    def test_nothing_that_pathlib_does_is_forgotten(self):
        """Except what is deprecated, and ``info``, whose questions would be asked in the loop."""
        theirs = {name for name in dir(pathlib.Path) if not name.startswith("_")}
        assert theirs - {"link_to", "info"} <= set(dir(Path))

    def test_nor_is_an_argument_that_it_takes(self):
        for name in dir(pathlib.Path):
            theirs, ours = getattr(pathlib.Path, name), getattr(Path, name, None)
            if name.startswith("_") or not (callable(theirs) and callable(ours)):
                continue
            parameters = inspect.signature(ours).parameters
            if inspect.Parameter.VAR_KEYWORD in {each.kind for each in parameters.values()}:
                continue
            assert set(inspect.signature(theirs).parameters) <= set(parameters), name

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="a method since Python 3.13")
    def test_one_is_made_of_a_uri(self):
        path = Path.from_uri("file:///some/where")
        assert type(path) is Path and path == Path("/some/where")

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="methods since Python 3.14")
    def test_copying_and_moving(self, run, tmp_path):
        async def main():
            path = Path(tmp_path) / "file"
            await path.write_text("content")
            folder = Path(tmp_path) / "folder"
            await folder.mkdir()
            copy = await path.copy(folder / "copy")
            assert type(copy) is Path and copy == folder / "copy"
            assert await copy.read_text() == await path.read_text() == "content"
            assert await path.copy_into(folder) == folder / "file"
            moved = await folder.move(path.with_name("moved"))
            assert type(moved) is Path and not await folder.exists()
            assert await (moved / "copy").move_into(tmp_path) == path.with_name("copy")
            assert [entry.name async for entry in moved.iterdir()] == ["file"]

        run(main)


class TestTemporary:
    def test_a_file_disappears(self, run, tmp_path):
        async def main():
            async with await open_temporary_file(dir=tmp_path) as file:
                await file.write(b"x")
                await file.seek(0)
                assert await file.read() == b"x"
            async with await open_temporary_file(
                "w", named=True, dir=tmp_path, suffix=".txt", encoding="latin-1"
            ) as file:
                await file.write("ü")
                await file.flush()
                assert await Path(file.name).read_bytes() == b"\xfc"
                assert file.name.endswith(".txt")
            assert os.listdir(tmp_path) == []

        run(main)

    def test_a_folder_is_removed_with_its_content(self, run, tmp_path):
        async def main():
            with CancelScope() as scope:
                async with TemporaryDirectory("end", "begin", tmp_path) as path:
                    assert type(path) is Path
                    assert path.name.startswith("begin") and path.name.endswith("end")
                    await (path / "file").touch()
                    scope.cancel()
            assert scope.cancelled_caught
            assert os.listdir(tmp_path) == []

        run(main)

    def test_every_cancellation_is_survived(self, tmp_path):
        async def main():
            async with TemporaryDirectory(dir=tmp_path) as path:
                await (path / "file").touch()
            async with await open_temporary_file(named=True, dir=tmp_path):
                pass

        def check():
            assert os.listdir(tmp_path) == []

        cancel_sweep(main, check=check)
