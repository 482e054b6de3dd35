"""Files and folders that appear under their names."""

import os

from deshpc.storage import whole_file


def test_a_folder_that_is_renamed_as_soon_as_its_last_file_is_there(tmp_path, monkeypatch):
    """As a checkpoint's is by rank 0, which waits for the other ranks' files."""
    folder, renamed = tmp_path / "step.partial", tmp_path / "step"
    folder.mkdir()
    (folder / "rows.partial").write_bytes(b"rows")
    replace = os.replace

    def seen_at_once(temporary, final):
        replace(temporary, final)
        folder.rename(renamed)

    monkeypatch.setattr(whole_file.os, "replace", seen_at_once)
    whole_file.publish(folder / "rows.partial", folder / "rows")
    assert os.listdir(tmp_path) == ["step"] and os.listdir(renamed) == ["rows"]
    assert (renamed / "rows").read_bytes() == b"rows"


def test_a_text_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "text"
    for text in ("one", "two and more"):
        whole_file.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text and os.listdir(tmp_path) == ["text"]
