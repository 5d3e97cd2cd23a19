"""Files that are whole or not there, by whomever and on however small a disk they are written."""

import errno
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from gcnlab import files
from gcnlab.experiments import resources

MB = 1 << 20


def test_a_file_is_replaced_and_what_a_killed_process_left_is_gone(tmp_path):
    path = tmp_path / "new" / "a.json"
    for left, content in (("", "é" * 5000), ("x" * 90_000, "new"), ("", b"\0\1")):
        if left:
            (path.parent / "a.json.part").write_text(left)
        files.write(content, path)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_writers_of_one_file_wait_for_each_other(tmp_path):
    path, contents = tmp_path / "a", [bytes([number]) * MB for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(files.write, contents, [path] * 40))
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOSPC, r"No space left on device \(it needs 3\.00 MB, [\d.]+ MB are free\)"),
    (errno.EDQUOT, r"quota exceeded \(it needs 3\.00 MB"), (errno.EIO, "Input/output error"),
])  # fmt: skip
def test_an_error_leaves_the_old_file_and_says_what_a_full_disk_lacks(number, words, tmp_path,
                                                                     monkeypatch):  # fmt: skip
    class Full:
        def truncate(self, size):
            pass

        def write(self, content):
            if len(content) < 3_000_000:  # after a part of it
                raise OSError(number, {errno.EIO: "Input/output error"}.get(number, "?"))
            return 4000

    @contextmanager
    def alone(path):
        path.touch()
        yield Full()

    path = tmp_path / "run.pt"
    path.write_text("old")
    monkeypatch.setattr(files, "_alone", alone)
    with pytest.raises(OSError, match=words) as info:
        files.write(bytes(3_000_000), path)
    assert files.is_full(info.value) == (number != errno.EIO)
    assert not files.is_full(info.value) or info.value.filename == str(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(bytes)``: a file system of that size; called again, it is as large as that."""
    folder, mounted = tmp_path / "disk", []
    folder.mkdir()

    def sized(size):
        options = ["-o", f"{'remount,' * bool(mounted)}size={size}"]
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
            pytest.skip("only root can mount a small disk")
        mounted.append(folder)
        return folder

    yield sized
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("command", "size"), [
    (["run", "pretraining"], 0.3), (["run", "pretraining"], 1.5), (["report"], 0.1),
])  # fmt: skip
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(command, size, call, smoke,
                                                              small_disk, monkeypatch):  # fmt: skip
    monkeypatch.setattr(resources, "disk_needed", lambda *_: 0)  # others have filled it since
    runs = smoke.out / "smoke" / "runs"
    present = sum(path.stat().st_size + 8192 for path in runs.iterdir()) * (command == ["report"])
    folder = small_disk(present + int(size * MB))
    if present:
        shutil.copytree(runs, folder / "smoke" / "runs")
    command = [*command, "--profile", "smoke", "--out", folder]
    code, _, err = call(*command)
    assert code == 2 and len(err.splitlines()) == 1, err
    assert err.startswith(f"gcnlab: {folder}/smoke/") and ": free some space; " in err
    assert "No space left on device (it needs" in err and not list(folder.rglob("*.part"))
    small_disk(60 * MB)
    assert call(*command)[0] == 0
