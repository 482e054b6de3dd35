"""Join the movies' year and genres to the implicit-feedback splits of MovieLens ml-latest-small.

    python examples/movielens/prepare.py SOURCE [TARGET]

SOURCE holds movies.csv.gz and implicit_{train,valid,test}.csv.gz (columns userId, movieId, label); TARGET (default
examples/movielens/data) gets {train,valid,test}.csv.gz with userId, movieId, year, genres, label.  Ratings come from
GroupLens (https://grouplens.org/datasets/movielens/) under their own licence: research use, no redistribution with
this project.
"""

import csv
import gzip
import re
import sys
from pathlib import Path

YEAR = re.compile(r"\((\d{4})\)\s*$")
NO_GENRE = "(no genres listed)"


def read(path):
    """Rows of a gzip CSV file as dictionaries."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def movie_columns(source):
    """{movieId: (year or "", genres joined by |)}."""
    movies = {}
    for row in read(source / "movies.csv.gz"):
        year = YEAR.search(row["title"])
        movies[row["movieId"]] = (year.group(1) if year else "", "" if row["genres"] == NO_GENRE else row["genres"])
    return movies


def main(source, target):
    target.mkdir(parents=True, exist_ok=True)
    movies = movie_columns(source)
    for part in ("train", "valid", "test"):
        count = 0
        with gzip.open(target / f"{part}.csv.gz", "wt", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["userId", "movieId", "year", "genres", "label"])
            for row in read(source / f"implicit_{part}.csv.gz"):
                writer.writerow([row["userId"], row["movieId"], *movies[row["movieId"]], row["label"]])
                count += 1
        print(f"{target / f'{part}.csv.gz'}: {count} rows")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent / "data")
