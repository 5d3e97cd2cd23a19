"""A study that is killed, at any moment and at any write, ends as one that was left in peace.

Table 5 of the smoke study is killed 25 times, and one process at the first and the last write of
each series of files; with more (``--kills 50``) it is every table, and every single write.
"""

import functools
import random
import re
import shutil
import signal
import sys
import time

import pytest
from kills import (
    EVERY,
    Program,
    attempt,
    begin,
    drawing,
    fields,
    finish,
    left_over,
    report,
    state,
    study,
    tree,
)

from gcnlab.cli.names import TABLES

MANY = 26  # kills from which on every write and every table take part
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]


@pytest.fixture(scope="module")
def kills(pytestconfig):
    return pytestconfig.getoption("kills")


# --- at every write ------------------------------------------------------------------------------


def series(writes, every):
    """Numbers of the writes: ``every`` one, or the first and the last of each series of files."""
    groups = {}
    for number, line in enumerate(writes, 1):
        groups.setdefault(re.sub(r"\d+", "#", line), []).append(number)
    return sorted(n for g in groups.values() for n in (g if every else {g[0], g[-1]}))


def test_a_run_that_is_killed_at_any_write_ends_the_same(kills, layout, tmp_path):
    work = functools.partial(study, layout=layout)
    writes, _ = attempt(work, tmp_path / "whole")
    expected = tree(tmp_path / "whole")
    assert {path.split("/")[1] for path in expected} == {"runs", "weights", "scores"}
    for number in series(writes, every=kills >= MANY):
        folder = tmp_path / f"killed-{number}"
        assert attempt(work, folder, number)[1] and not attempt(work, folder)[1]
        assert (tree(folder), left_over(folder)) == (expected, []), writes[number - 1]


def test_drawn_data_are_whole_or_not_there(tmp_path):
    """Killed over and over in one folder, which an attempt that is left in peace completes."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), folder.mkdir()
    writes, _ = attempt(drawing, whole)
    expected = tree(whole)
    for number, write in enumerate(writes, 1):
        assert attempt(drawing, folder, number)[1]
        present = {p: text for p, text in tree(folder).items() if not p.startswith(".writing-")}
        assert present.items() <= expected.items(), write
    assert not attempt(drawing, folder)[1]
    assert (tree(folder), left_over(folder)) == (expected, [])


@pytest.fixture(scope="module")
def trained(kills, smoke, tmp_path_factory):
    """The folder of a smoke study: Table 5, or from ``MANY`` kills on everything."""
    folder = tmp_path_factory.mktemp("trained")
    if kills < MANY:
        return smoke.out
    assert finish(folder, "run", *TABLES, "fields", "ablations") == 0
    return folder / "out"


@pytest.mark.parametrize("work", [fields, report])
def test_what_is_made_of_records_is_whole_or_not_there(work, kills, trained, tmp_path):
    """It takes long, so each write's kill is a copy of its folder, and some copies go on.

    In one more folder is what all kills have left.
    """
    whole, every = tmp_path / "whole", tmp_path / "every"
    shutil.copytree(trained, whole)
    if work is fields:
        shutil.rmtree(whole / "smoke" / "fields", ignore_errors=True)
    writes, _ = attempt(work, whole, EVERY)
    expected, numbers = tree(whole), range(1, len(writes) + 1)
    for number in numbers:
        left = tree(state(whole, number))
        shown = {path: text for path, text in left.items() if not path.endswith(".part")}
        assert shown.items() <= expected.items(), writes[number - 1]
        shutil.copytree(state(whole, number), every, dirs_exist_ok=True)
    assert len(left_over(every)) == sum(w.startswith("open ") for w in set(writes)) > 0
    tried = numbers[:: -(-len(numbers) // (kills if kills >= MANY else 2))]
    for folder in (every, *(state(whole, number) for number in tried)):
        assert not attempt(work, folder)[1]
        assert (tree(folder), left_over(folder)) == (expected, []), folder


# --- at any moment -------------------------------------------------------------------------------


def test_a_study_that_is_killed_at_any_moment_ends_the_same(kills, tmp_path, capsys):
    """From the drawing of the data to the report; ``kills`` times, then in peace."""
    rng, killed, studies = random.Random(kills), 0, [tmp_path / "killed-0"]
    tables, seconds = [] if kills >= MANY else ["5"], {}
    for command in (("run", *tables), ("report",)):
        started = time.monotonic()
        assert finish(tmp_path / "whole", *command) == 0
        seconds[command] = time.monotonic() - started
    expected = tree(tmp_path / "whole" / "out" / "smoke" / "runs")
    for command, wanted in zip(seconds, (kills - kills // 5, kills), strict=True):
        while killed < wanted:
            process = begin(studies[-1], *command)
            process.join(rng.uniform(0, 3 * seconds[command] / kills))
            if process.is_alive():
                process.kill()
                killed += 1
            elif command[0] == "run":  # it was faster: the next ones are killed in a new study
                studies.append(tmp_path / f"killed-{killed}")
            process.join()
        assert finish(studies[-1], *command) == 0
    assert tree(studies[-1] / "out" / "smoke" / "runs") == expected
    assert left_over(studies[-1]) == []
    assert (studies[-1] / "out" / "smoke" / "report.html").read_text().endswith("</html>")
    with capsys.disabled():
        print(f"\n{len(expected)} records, killed {killed} times, {len(studies)} studies", end=" ")


# --- whole programs ------------------------------------------------------------------------------

KEPT = "what is finished is kept, and the same command goes on from there"
RUN = ("run", "5", "--jobs", "2")
NOTEBOOKS = ("notebooks", "--only", "04,05", "--jobs", "2")


@pytest.mark.parametrize(("end", "command", "after", "code", "words"), [
    (signal.SIGTERM, RUN, " to train", 130, f"ended by SIGTERM: {KEPT}"),
    (signal.SIGINT, RUN, "training steps", 130, f"interrupted: {KEPT}"),
    (signal.SIGKILL, RUN, " to train", -9, ""),
    (signal.SIGKILL, RUN, "training steps", -9, ""),
    ("terminal", RUN, "training steps", 130, f"ended by SIGHUP: {KEPT}"),
    ("pipe", RUN, " to train", 1, f"nobody reads its output any more: {KEPT}"),
    ("pipe", ("status",), "", 0, ""),
    (signal.SIGTERM, NOTEBOOKS, "to execute", 130, f"ended by SIGTERM: {KEPT}"),
    (signal.SIGINT, NOTEBOOKS, "to execute", 130, f"interrupted: {KEPT}"),
    (signal.SIGKILL, NOTEBOOKS, "to execute", -9, ""),
])  # fmt: skip
def test_what_ends_a_program_is_told_leaves_no_process_and_loses_nothing(
    end, command, after, code, words, smoke, tmp_path
):
    number = signal.SIGHUP if end == "terminal" else end
    if isinstance(number, int) and signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("these tests were started with this signal ignored, as nohup does")
    folder = tmp_path / "study"
    if command == NOTEBOOKS:
        shutil.copytree(smoke.out, folder / "out")
    program = Program(folder, *command, output=end if isinstance(end, str) else "file")
    program.wait_for(after)
    time.sleep(0.5 * (command != ("status",)))  # its processes are starting, or at work
    if isinstance(end, str):
        program.hang_up()
    else:
        program.send(end, to_group=end == signal.SIGINT)
    assert program.wait() == code
    program.check_gone()
    if end != signal.SIGKILL:  # of which Python's tracker of semaphores tells, none of ours can
        told = program.errors().strip()
        assert words in told and "Traceback" not in told and len(told.splitlines()) <= 1
    if command == RUN:
        assert finish(folder, *RUN[:2]) == 0
        expected = tree(smoke.out / "smoke" / "runs")
        assert (tree(folder / "out" / "smoke" / "runs"), left_over(folder)) == (expected, [])
