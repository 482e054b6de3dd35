"""Notebooks as pages: their texts, code, and what the code has printed."""

import json
from pathlib import Path


def as_markdown(app, page, source):
    """Turn the JSON of a notebook into Markdown, in place; Sphinx calls it for each page."""
    if Path(app.env.doc2path(page)).suffix == ".ipynb":
        source[0] = "\n\n".join(part for cell in json.loads(source[0])["cells"] for part in _cell(cell))


def _cell(cell):
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
    elif cell["cell_type"] == "code" and text.strip():
        yield f"```python\n{text}\n```"
        printed = "".join(part for output in cell["outputs"] for part in _printed(output))
        if printed.strip():
            yield f"```text\n{printed.rstrip()}\n```"


def _printed(output):
    if output["output_type"] == "stream":
        yield from output["text"]
    elif "text/plain" in output.get("data", {}):
        yield from output["data"]["text/plain"]
        yield "\n"
