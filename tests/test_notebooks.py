"""The notebooks stay thin, clean and numbered; their parameters take effect, and a failing cell is reported."""

import ast
import json
import re

import pytest
from nbclient.exceptions import DeadKernelError
from papermill import PapermillExecutionError

from gcnlab.errors import UserError
from gcnlab.study import notebooks, profiles, report, results, variants
from gcnlab.study.run import run_key

NOTEBOOKS = {path.name[:2]: path for path in sorted(notebooks.FOLDER.glob("*.ipynb"))}
START, OVERVIEW = min(NOTEBOOKS), max(NOTEBOOKS)
DEFAULTS = {"profile": "smoke", "seeds": 1, "jobs": 1, "data_root": None, "out": None}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS.values(), ids=list(NOTEBOOKS))


def content(path):
    return json.loads(path.read_text(encoding="utf-8"))


def sources(path, kind):
    return ["".join(cell["source"]) for cell in content(path)["cells"] if cell["cell_type"] == kind]


def parameters_cells(path):
    return [c for c in content(path)["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]


def code(text):
    """The syntax tree of a cell, without IPython's magics."""
    return ast.parse("\n".join(line for line in text.splitlines() if not line.startswith("%")))


# --- on disk -------------------------------------------------------------------------------------


def test_numbers_are_contiguous_and_the_overview_is_last():
    names = [path.name for path in notebooks.FOLDER.glob("*.ipynb")]
    assert all(re.fullmatch(r"\d\d_\w+\.ipynb", name) for name in names)
    assert len(names) == len(NOTEBOOKS), "one notebook per number"
    *numbers, last = map(int, NOTEBOOKS)
    assert numbers == list(range(len(numbers)))
    assert last >= len(numbers) and NOTEBOOKS[OVERVIEW].stem.endswith("side_by_side")


@each_notebook
def test_nothing_executed_is_committed(path):
    notebook = content(path)
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
        assert set(cell["metadata"]) <= {"tags"}, "no traces of an execution"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) and all(i.startswith(path.name[:2]) for i in ids)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@each_notebook
def test_one_cell_declares_the_parameters_and_their_defaults(path):
    (cell,) = parameters_cells(path)
    declared = {}
    exec("".join(cell["source"]), declared)
    assert {name: value for name, value in declared.items() if not name.startswith("__")} == DEFAULTS
    first = next(c for c in content(path)["cells"] if c["cell_type"] == "code")
    assert first == cell, "it is the first code cell"
    assert [parameters_cells(p)[0]["source"] for p in NOTEBOOKS.values()].count(cell["source"]) == len(NOTEBOOKS)


@each_notebook
def test_notebooks_are_thin(path):
    for text in sources(path, "code"):
        lines = [line for line in text.splitlines() if line.strip()]
        assert 1 <= len(lines) <= 8, text
        kinds = {type(node) for node in ast.walk(code(text))}
        assert not kinds & {ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.While, ast.Try}, text
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for text in sources(path, "code")
        for node in ast.walk(code(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= {"pandas", "IPython.display", "gcnlab", "gcnlab.study", "gcnlab.study.session",
                        "gcnlab.study.variants"}, "no training code"  # fmt: skip


@each_notebook
def test_every_notebook_says_what_it_is_about(path):
    first = sources(path, "markdown")[0]
    assert first.startswith("# ")
    assert content(path)["cells"][0]["cell_type"] == "markdown"
    if path.name[:2] not in (START, OVERVIEW):
        number, question, subject = re.match(r"# (\d+)\. (.+\?) \((.+)\)\n", first).groups()
        trained = {
            argument.value
            for text in sources(path, "code")
            for call in ast.walk(code(text))
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "train"
            for argument in call.args
        }
        assert int(number) == int(path.name[:2]) and question
        if "Table" not in subject:
            assert re.match(r"Fig\. \d|the question of section \d", subject), "else what it is about"
            return
        named = set(re.findall(r"\d+", re.match(r"Tables? ([\d and]+)", subject)[1]))
        beside = {report.TEST_SERVERS[name] for name in trained & report.TEST_SERVERS.keys()}
        assert named == trained | beside, "it trains the tables that its title names but those of test servers"


def test_the_tables_of_a_notebook_are_read_from_its_code():
    found = [notebooks.trained_tables(path) for path in NOTEBOOKS.values()]
    assert [found[1], found[3], found[-1]] == [["1"], ["3", "4"], list(variants.TABLES)]


def test_every_table_is_trained_by_the_overview():
    names = ", ".join(f'"{name}"' for name in variants.TABLES)
    assert f"session.train({names})" in sources(NOTEBOOKS[OVERVIEW], "code")


def test_the_start_lists_every_notebook():
    text = sources(NOTEBOOKS[START], "markdown")[0]
    assert re.findall(r"^\| `(\d\d)` \|", text, re.M) == list(NOTEBOOKS)


def test_the_readme_mentions_every_notebook():
    """By number, as ``--only`` takes it, or by file name."""
    text = (notebooks.FOLDER.parent / "README.md").read_text(encoding="utf-8")
    missing = [p.name for n, p in NOTEBOOKS.items() if not re.search(rf"--only [\d,]*{n}\b|{p.stem}|`{n}`", text)]
    assert missing == []


# --- choice and parameters -----------------------------------------------------------------------


@pytest.mark.parametrize(("only", "numbers"), [
    (None, list(NOTEBOOKS)), ("01,03", ["01", "03"]), ("03, 01", ["01", "03"]), ("02,02", ["02"]), ("00", ["00"]),
])  # fmt: skip
def test_pick(only, numbers):
    assert [path.name[:2] for path in notebooks.pick(only)] == numbers


@pytest.mark.parametrize("only", ["99", "1", "01,99", "", "01,", "01 02", "01_kernel_size"])
def test_pick_refuses_what_is_not_there(only, caught):
    with pytest.raises(UserError) as info:
        notebooks.pick(only)
    assert "--only" in caught(info) and ", ".join(NOTEBOOKS) in caught(info)


@each_notebook
def test_every_notebook_takes_the_parameters_of_the_command_line(path):
    notebooks.check_parameters(path, dict.fromkeys(DEFAULTS))


def test_an_unknown_parameter_is_refused(caught, tmp_path):
    """papermill itself only warns, and runs with the default."""
    path = NOTEBOOKS["01"]
    for act in (
        lambda: notebooks.check_parameters(path, {"profile": "smoke", "sedes": 3}),
        lambda: notebooks.execute(path, tmp_path / "executed", {"sedes": 3}),
    ):
        with pytest.raises(UserError) as info:
            act()
        message = caught(info)
        assert path.name in message and "'sedes'" in message and "profile, seeds, jobs, data_root, out" in message
    assert not (tmp_path / "executed").exists()


# --- executed ------------------------------------------------------------------------------------


@pytest.fixture
def one_thread(monkeypatch):
    """The kernel is a process of its own: on busy cores more threads only wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_parameters_take_effect(tmp_path, one_thread):
    parameters = {"profile": "smoke", "seeds": 2, "jobs": 1, "data_root": None, "out": str(tmp_path / "out")}
    before = NOTEBOOKS["01"].read_bytes()
    page = notebooks.execute(NOTEBOOKS["01"], tmp_path / "executed", parameters)
    assert NOTEBOOKS["01"].read_bytes() == before

    runs = variants.table_runs(["1"], profiles.get("smoke"), [0, 1])
    assert len(runs) == 2 * 8
    expected = {results.record_path(tmp_path / "out", "smoke", run.name, run_key(run)) for run in runs}
    made = set((tmp_path / "out" / "smoke" / "runs").glob("*.json"))
    assert expected < made and len(made - expected) == 1, "and the pre-training"

    executed = content(tmp_path / "executed" / NOTEBOOKS["01"].name)
    tags = {tag: cell for cell in executed["cells"] for tag in cell["metadata"].get("tags", [])}
    assert "seeds = 2" in "".join(tags["injected-parameters"]["source"])
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert all(output["output_type"] != "error" for output in outputs)
    assert "(n=2)" in json.dumps(outputs) and sum("image/png" in o.get("data", {}) for o in outputs) == 4
    assert page == tmp_path / "executed" / "01_kernel_size.html"
    html = page.read_text(encoding="utf-8")
    assert "Does a larger kernel help?" in html and "(n=2)" in html and "data:image/png;base64," in html


@pytest.mark.slow
def test_a_user_error_in_a_cell_is_one_here(tmp_path, one_thread, caught):
    with pytest.raises(UserError) as info:
        notebooks.execute(NOTEBOOKS["04"], tmp_path, {"profile": "nonsense", "out": str(tmp_path / "out")})
    assert "unknown profile 'nonsense'; choose one of smoke" in caught(info)
    executed = tmp_path / NOTEBOOKS["04"].name
    assert "nonsense" in executed.read_text(encoding="utf-8"), "kept up to there"
    assert not executed.with_suffix(".html").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("error", "named"), [
    (PapermillExecutionError("1", 3, "session.train('1')", "RuntimeError", "gcn-k3-s0: no", ["…"]),
     "RuntimeError: gcn-k3-s0: no"),
    (DeadKernelError("Kernel died"), "kernel was killed"),
])  # fmt: skip
def test_another_failure_names_the_notebook(error, named, tmp_path, monkeypatch, caught):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("papermill.execute_notebook", fail)
    with pytest.raises(notebooks.NotebookFailed) as info:
        notebooks.execute(NOTEBOOKS["01"], tmp_path, {"profile": "smoke"})
    assert "01_kernel_size.ipynb" in caught(info) and named in caught(info)
