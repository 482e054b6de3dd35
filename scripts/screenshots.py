"""Make the pictures of the documents: pages about runs of generated data, as a browser shows them.

    python scripts/screenshots.py [FOLDER]      FOLDER: docs/images;  needs chromium on the PATH, and deshpc[report]

Two models are trained on one process, for half a minute.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parents[1]
CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 200_000, valid_rows = 20_000, test_rows = 20_000 }
[model]
dim = 8
[train]
global_batch_samples = 1024
epochs = 2
evaluate_every_steps = 40
[run]
report_interval_s = 0.05
"""
WIDTH = 1300
RUNS = {
    "fm": ["model.name=fm"],
    "deepfm": ["model.name=deepfm", "model.hidden=[32,16]", "optimizer.dense_name=adam", "optimizer.dense_learning_rate=1e-3"],
}
PICTURES = {"report.png": (0, 1010), "curves.png": (1010, 1085)}
"""{file: (first line of pixels, number of lines) of the page about both runs}"""
_COLOURS = 128


def main(target):
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "click.toml").write_text(CONFIG, encoding="utf-8")
        for run, options in RUNS.items():
            deshpc(folder, "train", "click.toml", *(part for option in [*options, f"run.directory=runs/{run}"] for part in ("--set", option)))
        deshpc(folder, "report", *(f"runs/{run}" for run in RUNS), "--out", "page.html")
        shoot(folder / "page.html", folder / "page.png", max(top + height for top, height in PICTURES.values()))
        for picture, (top, height) in PICTURES.items():
            cut = Image.open(folder / "page.png").convert("RGB").crop((0, top, WIDTH, top + height))
            cut.quantize(_COLOURS).save(target / picture, optimize=True)
            print(f"{target / picture}: {(target / picture).stat().st_size:,} bytes")


def deshpc(folder, *arguments):
    subprocess.run([sys.executable, "-m", "deshpc", *arguments], cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(HERE / "src")})


def shoot(page, picture, height):
    """Save what a browser shows of a page, from its top on."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{height}", f"--screenshot={picture}"]
    subprocess.run(["chromium", *flags, page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else HERE / "docs/images")
