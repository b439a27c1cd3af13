from pathlib import Path

import pytest

from kwspot import ManifestError
from kwspot.manifest import read_data, read_manifest, read_manifests, spoken

HEADER = "path,seconds,text,speaker,role,source\n"


def manifest(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_become_clips_beside_the_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + 'a/b.flac,1.5,"Alexa, play",s1,train,src\n')
    (clip,) = read_manifest(path)
    assert clip.path == tmp_path / "a" / "b.flac"
    assert (clip.name, clip.seconds, clip.role) == ("a/b.flac", 1.5, "train")
    assert clip.mentions("alexa")
    assert not clip.says("alexa")


def test_manifests_join_in_order(tmp_path: Path) -> None:
    path = manifest(tmp_path, HEADER + "a,1,,,test,x\nb,1,,,test,x\n")
    assert [clip.name for clip in read_manifests([path, path])] == ["a", "b", "a", "b"]


def test_clips_of_a_data_folder_are_named_by_their_place(tmp_path: Path) -> None:
    manifest(tmp_path, HEADER + "a/b.flac,1,,,test,x\n")
    (tmp_path / "made").mkdir()
    manifest(tmp_path / "made", HEADER + "a/b.flac,1,,,test,x\n")
    name = next(tmp_path.glob("*.csv")).name
    clips = read_data(tmp_path, [name, f"made/{name}"])
    assert [clip.name for clip in clips] == ["a/b.flac", "made/a/b.flac"]
    assert [clip.path for clip in clips] == [tmp_path / clip.name for clip in clips]


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert spoken(" Alexa!? ") == "alexa"
    assert spoken("smart_mirror") == "smart mirror"
    assert spoken("don't") == "don't"


def test_a_word_inside_a_word_is_no_mention(tmp_path: Path) -> None:
    (clip,) = read_manifest(manifest(tmp_path, HEADER + "a,1,Alexander,,test,x\n"))
    assert not clip.mentions("alexa")


def test_a_word_that_ends_in_a_long_keyword_mentions_it(tmp_path: Path) -> None:
    (clip,) = read_manifest(manifest(tmp_path, HEADER + "a,1,heycomputer go,,test,x\n"))
    assert clip.mentions("computer")
    assert not clip.says("computer")
    (clip,) = read_manifest(manifest(tmp_path, HEADER + "a,1,a mango,,test,x\n"))
    assert not clip.mentions("go")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,seconds\n", "lacks the column 'text'"),
        ("", "lacks the column 'path'"),
        (HEADER + "a,1,,,dev,x\n", "line 2: role 'dev'"),
        (HEADER + "a,long,,,test,x\n", "line 2: seconds 'long' is no number"),
        (HEADER + "a,nan,,,test,x\n", "line 2: seconds 'nan' is no number from 0 up"),
        (HEADER + "a,-5,,,test,x\n", "line 2: seconds '-5' is no number from 0 up"),
        (HEADER + "a,1\n", "line 2: too few columns"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(manifest(tmp_path, text))


def test_a_missing_or_binary_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        read_manifest(tmp_path / "gone.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not a CSV file"):
        read_manifest(tmp_path / "binary.csv")
