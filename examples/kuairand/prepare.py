"""Join users, videos and histories to the impressions of a cut of KuaiRand-Pure (README.md says which).

    python examples/kuairand/prepare.py SOURCE [TARGET]

SOURCE holds {train,valid,test,users,videos,history}.csv.gz; TARGET (default examples/kuairand/data) gets
{train,valid,test}.csv.gz: 33 columns of one value, the bag `tag`, 6 numbers, the bags `history_shown` and
`history_long_view` of videos that the user was shown, and viewed at length, before the first training day, and the
label `is_click`.  Values of a bag are separated by |.  No other outcome of an impression is copied.
"""

import csv
import gzip
import sys
from datetime import datetime
from pathlib import Path

IMPRESSION = ("user_id", "video_id", "tab")
VIDEO = ("author_id", "video_type", "upload_type", "music_type")
USER = (
    "user_active_degree", "is_live_streamer", "is_video_author", "follow_user_num_range", "fans_user_num_range",
    "friend_user_num_range", "register_days_range", *(f"onehot_feat{i}" for i in range(18)),
)  # fmt: skip
USER_NUMBERS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
HISTORY = ("shown", "long_view")
COLUMNS = (
    *IMPRESSION, "hour", *VIDEO, *USER, "tag", "duration_ms", *USER_NUMBERS, "age_days",
    *(f"history_{name}" for name in HISTORY), "is_click",
)  # fmt: skip


def read(path):
    """Rows of a gzip CSV file as dictionaries."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def by(column, path):
    """{value of `column`: row} of a file in which each occurs once."""
    return {row[column]: row for row in read(path)}


def age_days(date, upload_date):
    """Days from 2022-04-10 to 20220425, as text; empty where the upload is not known."""
    if not upload_date:
        return ""
    return str((datetime.strptime(date, "%Y%m%d") - datetime.strptime(upload_date, "%Y-%m-%d")).days)


def joined(row, user, video, history):
    """The cells of one impression, in the order of COLUMNS.  A user or video without a row of its own has empty cells."""
    return [
        *(row[name] for name in IMPRESSION),
        str(int(row["hourmin"]) // 100),
        *(video.get(name, "") for name in VIDEO),
        *(user.get(name, "") for name in USER),
        video.get("tag", "").replace(",", "|"),
        row["duration_ms"],
        *(user.get(name, "") for name in USER_NUMBERS),
        age_days(row["date"], video.get("upload_dt", "")),
        *(history.get(name, "").replace(" ", "|") for name in HISTORY),
        row["is_click"],
    ]


def main(source, target):
    target.mkdir(parents=True, exist_ok=True)
    users, videos = by("user_id", source / "users.csv.gz"), by("video_id", source / "videos.csv.gz")
    histories = by("user_id", source / "history.csv.gz")
    for part in ("train", "valid", "test"):
        count = 0
        with gzip.open(target / f"{part}.csv.gz", "wt", compresslevel=1, encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in read(source / f"{part}.csv.gz"):
                user, video = users.get(row["user_id"], {}), videos.get(row["video_id"], {})
                writer.writerow(joined(row, user, video, histories.get(row["user_id"], {})))
                count += 1
        print(f"{target / f'{part}.csv.gz'}: {count} rows")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent / "data")
