"""Patterns: which files of a folder they find, and what their placeholders match."""

from pathlib import Path

from odkd.data.video.patterns import fill, find_files


def test_patterns_find_matching_files_that_are_not_hidden(tmp_path: Path) -> None:
    for name in (
        "a/train/x/1_p.png",
        "a/val/2_p.png",
        "a/val/y/z/3_p.png",
        "a/train/.4_p.png",
        "b/val/5_p.png",
        "6.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = dict(find_files(tmp_path, "a/{split}/{image}_p.png"))
    assert found == {
        "a/train/x/1_p.png": {"split": "train", "image": "x/1"},
        "a/val/2_p.png": {"split": "val", "image": "2"},
        "a/val/y/z/3_p.png": {"split": "val", "image": "y/z/3"},
    }
    found = dict(find_files(tmp_path, "a/{split}/{city}/{image}_p.png"))
    assert found.keys() == {"a/train/x/1_p.png", "a/val/y/z/3_p.png"}  # {city} matches exactly one folder
    assert found["a/val/y/z/3_p.png"] == {"split": "val", "city": "y", "image": "z/3"}
    assert dict(find_files(tmp_path, "{image}.*")).keys() >= {"6.png"}
    assert fill("l/{split}/{image}.png", {"split": "val", "image": "y/z/3"}) == "l/val/y/z/3.png"


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    for folder in ("data/a", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "0.png").touch()
    (tmp_path / "data" / "b").symlink_to("../elsewhere")
    (tmp_path / "data" / "a" / "again").symlink_to("..")
    found = sorted(name for name, _ in find_files(tmp_path / "data", "{image}.png"))
    assert found == ["a/0.png", "b/0.png"]
