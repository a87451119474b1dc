"""Executing a notebook in this process, without Jupyter: its code cells, in order, with what they show.

``python -m support.notebooks FILE.ipynb`` executes a file in place, as Jupyter's "run all" does.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    found: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return found


def code_cells(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def execute(notebook: Notebook) -> dict[str, Any]:
    """Run the code cells; each gets its outputs. Returns the variables.

    Raises:
        Exception: what a cell raises, with the cell in its notes.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    variables: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), 1):
        source, printed = "".join(cell["source"]), io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                value = _run(source, variables)
        except Exception as error:
            error.add_note(source)
            raise
        text = printed.getvalue()
        outputs = [{"output_type": "stream", "name": "stdout", "text": text}] if text else []
        figures = [_figure(pyplot.figure(each)) for each in pyplot.get_fignums()]
        pyplot.close("all")
        if value is not None and not figures:
            data = {"text/plain": repr(value)}
            data |= {"text/html": value._repr_html_()} if hasattr(value, "_repr_html_") else {}
            outputs.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
        cell |= {"execution_count": number, "outputs": outputs + figures}
    return variables


def _run(source: str, variables: dict[str, Any]) -> Any:
    """The value of the last expression; None where a cell ends with another statement, or with a semicolon."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";") else None
    exec(compile(ast.Module(body, []), "cell", "exec"), variables)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), variables) if isinstance(last, ast.Expr) else None


def _figure(figure: Any) -> dict[str, Any]:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=72, bbox_inches="tight", metadata={"Software": None})
    data = {"image/png": base64.b64encode(content.getvalue()).decode()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    executed = read(path)
    execute(executed)
    written = json.dumps(executed, indent=1, ensure_ascii=False).replace(sys.executable, "python")
    path.write_text(written + "\n", encoding="utf-8")
