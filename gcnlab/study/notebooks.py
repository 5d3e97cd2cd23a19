"""Executing the notebooks in batch."""

import re
import sys
from pathlib import Path
from typing import Any

from gcnlab.errors import UserError


class NotebookFailed(RuntimeError):
    """A cell of a notebook failed, and not for bad input."""


FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def pick(only: str | None) -> list[Path]:
    """The notebooks in order, or those whose numbers ``only`` lists, such as ``01,03``; ``UserError`` for others."""
    found = {path.name[:2]: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))}
    if only is None:
        return list(found.values())
    wanted = [number.strip() for number in only.split(",")]
    unknown = [number for number in wanted if number not in found]
    if unknown:
        raise UserError(f"--only {only}: there is no notebook {unknown[0]!r}; there are {', '.join(found)}")
    return [found[number] for number in sorted(set(wanted))]


def trained_tables(notebook: Path) -> list[str]:
    """The tables that ``notebook`` trains: the arguments of its ``session.train(…)``."""
    calls = re.findall(r"session\.train\(([^)]*)\)", notebook.read_text(encoding="utf-8"))
    return re.findall(r"\d+", " ".join(calls))


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Refuse a parameter that ``notebook`` does not declare: papermill would ignore it without a word."""
    import papermill

    known = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        if name not in known:
            raise UserError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(known)}")


def execute(notebook: Path, folder: Path, parameters: dict[str, Any]) -> Path:
    """Run ``notebook`` with ``parameters``; write it executed, and as HTML, into ``folder``.

    Returns the path of the HTML page. If a cell fails the notebook up to there is kept, and the error is raised as
    ``UserError`` if the cell's was one, else as :class:`NotebookFailed`.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from nbconvert import HTMLExporter

    check_parameters(notebook, parameters)
    folder.mkdir(parents=True, exist_ok=True)
    executed = folder / notebook.name
    try:
        papermill.execute_notebook(
            str(notebook),
            str(executed),
            parameters=parameters,
            kernel_name="python3",
            stdout_file=sys.stdout,
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(error.evalue) from None
        raise NotebookFailed(f"{notebook.name}: {error.ename}: {error.evalue}; see {executed}") from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{notebook.name}: its kernel was killed, perhaps for lack of memory; the same command goes on from there"
        ) from None
    page = executed.with_suffix(".html")
    page.write_text(HTMLExporter(exclude_input_prompt=True).from_filename(str(executed))[0], encoding="utf-8")
    return page
