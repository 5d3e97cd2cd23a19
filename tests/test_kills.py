"""A study that is killed, at any moment and at any write, ends as one that was left in peace.

``--kills 25`` kills Table 5 of the smoke study 25 times, and one process at every single write;
with more it is the whole study.
"""

import functools
import random
import re
import shutil
import signal
import sys
import time

import pytest
from kills import Program, attempt, begin, drawing, finish, left_over, report, study, tree

MANY = 25  # kills from which on every write, and beyond which every table takes part
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


@pytest.mark.parametrize(("work", "shown"), [
    (drawing, r"(?!\.writing-|.*\.lock)"), (report, r"smoke/(?!.*\.part$)"),
])  # fmt: skip
def test_data_and_report_are_whole_or_not_there(work, shown, kills, smoke, tmp_path):
    """Killed over and over in one folder, which an attempt that is left in peace completes."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    for copy in (whole, folder):
        copy.mkdir()
        if work is report:
            shutil.copytree(smoke.out / "smoke" / "runs", copy / "smoke" / "runs")
    writes, _ = attempt(work, whole)
    expected = tree(whole)
    numbers = list(range(1, len(writes) + 1))
    if work is report and kills < MANY:  # it draws figures, which takes seconds
        numbers = numbers[:: len(numbers) // 4]
    for number in numbers:
        assert attempt(work, folder, number)[1]
        present = {path: text for path, text in tree(folder).items() if re.match(shown, path)}
        assert present.items() <= expected.items(), writes[number - 1]
    assert not attempt(work, folder)[1]
    assert (tree(folder), left_over(folder)) == (expected, [])


# --- at any moment -------------------------------------------------------------------------------


def test_a_study_that_is_killed_at_any_moment_ends_the_same(kills, tmp_path, capsys):
    """From the drawing of the data to the report; ``kills`` times, then in peace."""
    rng, killed, studies = random.Random(kills), 0, [tmp_path / "killed-0"]
    tables, seconds = [] if kills > MANY else ["5"], {}
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
NOTEBOOK = ("notebooks", "--only", "04")


@pytest.mark.parametrize(("end", "command", "after", "code", "words"), [
    (signal.SIGTERM, RUN, " to train", 130, f"ended by SIGTERM: {KEPT}"),
    (signal.SIGINT, RUN, "training steps", 130, f"interrupted: {KEPT}"),
    (signal.SIGKILL, RUN, " to train", -9, ""),
    (signal.SIGKILL, RUN, "training steps", -9, ""),
    ("terminal", RUN, "training steps", 130, f"ended by SIGHUP: {KEPT}"),
    ("pipe", RUN, " to train", 1, f"nobody reads its output any more: {KEPT}"),
    ("pipe", ("status",), "", 0, ""),
    (signal.SIGTERM, NOTEBOOK, "notebook 1 of 1", 130, f"ended by SIGTERM: {KEPT}"),
    (signal.SIGKILL, NOTEBOOK, "notebook 1 of 1", -9, ""),
])  # fmt: skip
def test_what_ends_a_program_is_told_leaves_no_process_and_loses_nothing(
    end, command, after, code, words, smoke, tmp_path
):
    folder = tmp_path / "study"
    if command == NOTEBOOK:
        shutil.copytree(smoke.out, folder / "out")
    program = Program(folder, *command, output=end if isinstance(end, str) else "file")
    program.wait_for(after)
    time.sleep(2 * (command != ("status",)))  # its processes are starting, or at work
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
