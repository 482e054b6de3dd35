"""Make the two tasks of MovieLens ml-latest-small: implicit feedback, and ratings of 4 and above.

    python examples/movielens/prepare.py SOURCE [TARGET]

SOURCE holds movies.csv.gz, ratings.csv.gz and implicit_{train,valid,test}.csv.gz (columns userId, movieId, label).
TARGET (default examples/movielens/data) gets {implicit,rating}_{train,valid,test}.csv.gz with userId, movieId, year,
genres, label.  A rated pair's part depends on the pair alone, see `fold`.  Ratings come from GroupLens
(https://grouplens.org/datasets/movielens/) under their own licence: research use, no redistribution with this project.
"""

import csv
import gzip
import re
import sys
import zlib
from pathlib import Path

PARTS = ("train", "valid", "test")
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


def fold(user, movie):
    """The part of a rated pair: by CRC-32 of `user,movie` modulo 10, 0 to 7 train, 8 valid, 9 test."""
    number = zlib.crc32(f"{user},{movie}".encode()) % 10
    return PARTS[max(number - 7, 0)]


def implicit(source, part):
    """(userId, movieId, label) of each row: 1 for a rated movie, 0 for one that was drawn."""
    for row in read(source / f"implicit_{part}.csv.gz"):
        yield row["userId"], row["movieId"], row["label"]


def rating(source, part):
    """(userId, movieId, label) of each rating of the part: 1 from four stars on."""
    for row in read(source / "ratings.csv.gz"):
        if fold(row["userId"], row["movieId"]) == part:
            yield row["userId"], row["movieId"], int(float(row["rating"]) >= 4)


def main(source, target):
    target.mkdir(parents=True, exist_ok=True)
    movies = movie_columns(source)
    for task in (implicit, rating):
        for part in PARTS:
            path, count = target / f"{task.__name__}_{part}.csv.gz", 0
            with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["userId", "movieId", "year", "genres", "label"])
                for user, movie, label in task(source, part):
                    writer.writerow([user, movie, *movies[movie], label])
                    count += 1
            print(f"{path}: {count} rows")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent / "data")
