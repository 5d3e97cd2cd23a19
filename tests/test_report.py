"""Notebooks in batch: which are run, with what, and how a failing cell is told."""

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError
from papermill import PapermillExecutionError

from gcnlab.errors import UserError
from gcnlab.report import notebooks

NUMBERS = [path.name[:2] for path in notebooks.pick(None)]
FIRST = notebooks.pick("01")[0]


@pytest.mark.parametrize(("only", "numbers"), [
    (None, NUMBERS), ("01,03", ["01", "03"]), ("03, 01", ["01", "03"]), ("02,02", ["02"]),
])  # fmt: skip
def test_pick(only, numbers):
    assert [path.name[:2] for path in notebooks.pick(only)] == numbers


@pytest.mark.parametrize("only", ["99", "1", "01,99", "", "01,", "01 02", "01_kernel_size"])
def test_pick_refuses_what_is_not_there(only):
    with pytest.raises(UserError, match="there is no notebook") as info:
        notebooks.pick(only)
    assert ", ".join(NUMBERS) in str(info.value)


def test_the_tables_of_a_notebook_are_read_from_its_code(tmp_path):
    path = tmp_path / "notebook.ipynb"
    path.write_text(
        "session.train('3', '4'); session.train_variant('gcn', k=15); session.train('7')"
    )
    assert notebooks.trained_tables(path) == ["3", "4", "7"]


@pytest.mark.parametrize(("error", "kind", "words"), [
    (PapermillExecutionError("1", 3, "", "RuntimeError", "gcn-k3-s0: no", [""]),
     notebooks.NotebookFailed, "RuntimeError: gcn-k3-s0: no"),
    (PapermillExecutionError("1", 3, "", "UserError", "unknown profile", [""]), UserError,
     "unknown profile"),
    (DeadKernelError("Kernel died"), notebooks.NotebookFailed, "kernel was killed"),
])  # fmt: skip
def test_a_failing_cell_is_told_in_a_line(error, kind, words, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("papermill.execute_notebook", fail)
    with pytest.raises(kind) as info:
        notebooks.execute(FIRST, tmp_path, {"profile": "smoke"})
    assert words in str(info.value) and "\n" not in str(info.value)
    assert (FIRST.name in str(info.value)) == (kind is not UserError)


def test_a_published_page_names_no_folder_and_links_pages(tmp_path):
    cells = [
        nbformat.v4.new_markdown_cell("[next](02_heads.ipynb)"),
        nbformat.v4.new_code_cell("1"),
    ]
    cells[1].metadata["tags"] = ["injected-parameters"]
    cells[1].source = f"out = {str(tmp_path)!r}"
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["papermill"] = {"output_path": str(tmp_path)}
    nbformat.write(notebook, tmp_path / "01.ipynb")
    html = notebooks.as_html(tmp_path / "01.ipynb")
    assert 'href="02_heads.html"' in html and str(tmp_path) not in html
