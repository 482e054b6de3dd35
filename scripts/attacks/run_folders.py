"""What a run's folder holds: whether it is sound, and whether it is what another run has made, bit for bit."""

import json


class Wrong(Exception):
    """What the program is to find."""


def check_sound(run):
    """Every folder that counts is whole."""
    from deshpc.checkpoint.folders import model_folder, step_folders
    from deshpc.checkpoint.load import verify
    from deshpc.errors import DataError

    folders = [folder for _, folder in step_folders(run)]
    if (run / "model").exists() or (run / "model.old").exists():
        folders.append(model_folder(run))
    for folder in folders:
        try:
            verify(folder)
        except DataError as error:
            raise Wrong(str(error)) from None


def unfinished(run):
    """Whether a folder was being written or replaced."""
    return any(run.rglob("*.partial")) or any(run.rglob("*.old"))


def model_of(run):
    """Steps and content of a run's model, and its evaluations."""
    from deshpc.storage.container import Container

    manifest = json.loads((run / "model" / "manifest.json").read_bytes())
    files = {path.name: Container(path) for path in (run / "model").iterdir() if path.name != "manifest.json"}
    content = {name: {part: one.read(part).tobytes() for part in one.names} for name, one in files.items()}
    return {"steps": manifest["steps"], "rows": manifest["rows"], **content, "evaluations": evaluations(run)}


def evaluations(run):
    """{steps: metrics} of all evaluations that were recorded; one that was repeated has to be the same."""
    found = {}
    for line in lines_of(run):
        if line["event"] == "valid":
            metrics = {name: value for name, value in line.items() if name != "time_s"}
            if found.setdefault(line["step"], metrics) != metrics:
                raise Wrong(f"the evaluation after {line['step']} steps was repeated with another result")
    return found


def compare(run, expected):
    found = model_of(run)
    wrong = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if wrong:
        raise Wrong(f"the model at the end differs in {', '.join(wrong)}")
    check_sound(run)
    if unfinished(run):
        raise Wrong("something unfinished was left in the folder")


def lines_of(run):
    """The whole lines of a run's record."""
    path = run / "record.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def count_of(run, event):
    return sum(line["event"] == event for line in lines_of(run))
