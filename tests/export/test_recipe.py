import tomllib
from pathlib import Path

import pytest
from kwspot_export.distill_recipe import (
    read_distill_recipe,
    read_finetune_recipe,
    read_voice_recipe,
)
from kwspot_export.recipe import STUDENTS, Group, Recipe, RecipeError, Transformer, read_recipe
from toy import RECIPE, assert_one_sentence

from kwspot.modelfile import SENSITIVITIES

COMMITTED = sorted((Path(__file__).parents[2] / "export" / "recipes").glob("*.toml"))


def read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "changed.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_recipes_can_be_read_and_name_their_model(path: Path) -> None:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    if "teachers" in table:
        recipe = read_distill_recipe(path)
        assert not recipe.finetune or (path.parent / recipe.finetune).is_file()
    elif "known" in table:
        recipe = read_voice_recipe(path)
    else:
        recipe = read_finetune_recipe(path) if "sound" in table else read_recipe(path)
        assert set(SENSITIVITIES) <= set(recipe.false_alarms_per_hour)
    assert recipe.name == path.stem


def test_there_are_committed_recipes() -> None:
    assert "alexa" in [path.stem for path in COMMITTED]


def test_every_setting_of_the_file_is_in_the_recipe(recipe: Recipe) -> None:
    table = tomllib.loads(RECIPE)
    assert recipe.keyword == "beep boop"
    assert recipe.data.positives[0] == Group("wake/", 0.5)
    assert recipe.data.licences == table["data"]["licences"]
    assert recipe.student.dilations == (1, 2)
    assert recipe.schedule.mine_at == (0.25, 0.5)
    assert recipe.decision.smoothing == 2
    assert recipe.false_alarms_per_hour == {"low": 100.0, "medium": 300.0, "high": 600.0}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("seed = 5", "seed = 5\nsead = 6", "unknown setting 'sead'"),
        ("channels = 8", "chanels = 8", "student: unknown setting 'chanels'"),
        ('keyword = "beep boop"\n', "", "the setting 'keyword' is missing"),
        ('rooms = ["rooms/"]\n', "", "data: the setting 'rooms' is missing"),
        ("[data.licences]", "[data.licences2]", "unknown setting 'licences2'"),
        ("seed = 5", 'seed = "five"', "seed: 'five' is no int"),
        ("seed = 5", "seed = true", "seed: True is no int"),
        ("dilations = [1, 2]", 'dilations = [1, "2"]', "dilations: '2' is no int"),
        ("dilations = [1, 2]", "dilations = 2", "dilations: 2 is no"),
        ('"wake/" = 0.5', '"wake/" = "half"', "weight: 'half' is no float"),
        ('noises = ["noise/"]', 'noises = "noise/"', "noises: 'noise/' is no"),
        ("batch = 8", "batch = 8.5", "batch: 8.5 is no int"),
        ("medium = 300\n", "", "false_alarms_per_hour.*'medium'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert old in RECIPE
    with pytest.raises(RecipeError, match=reason) as refusal:
        read(tmp_path, RECIPE.replace(old, new))
    assert_one_sentence(refusal.value)
    assert "changed.toml" in str(refusal.value)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_can_be_named(tmp_path: Path, name: str) -> None:
    table = "[student]\nchannels = 8\ndilations = [1, 2]\n"
    named = f"student = {name!r}\n" + RECIPE.replace(table, "")
    assert read(tmp_path, named).student == STUDENTS[name]


def test_a_student_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path) -> None:
    table = "[student]\nchannels = 8\ndilations = [1, 2]\n"
    with pytest.raises(RecipeError, match="no student is called 'tiny'; known are small") as named:
        read(tmp_path, "student = 'tiny'\n" + RECIPE.replace(table, ""))
    with pytest.raises(RecipeError, match="256, must be a multiple of its heads, 3") as built:
        Transformer(heads=3)
    for refusal in (named, built):
        assert_one_sentence(refusal.value)


@pytest.mark.parametrize("line", ["data = 3", 'data = "x"', "[data]\npositives = ['wake/']"])
def test_a_part_that_is_no_table_is_refused_in_one_sentence(tmp_path: Path, line: str) -> None:
    with pytest.raises(RecipeError, match=r"expected a table") as refusal:
        read(tmp_path, f'name = "x"\nkeyword = "x"\nlicence = "x"\nseed = 1\n{line}\n')
    assert_one_sentence(refusal.value)


def test_files_that_are_no_recipes_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read .*gone.toml") as missing:
        read_recipe(tmp_path / "gone.toml")
    with pytest.raises(RecipeError, match="is not a TOML file") as prose:
        read(tmp_path, "This is a letter, not a recipe.")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="is not a TOML file") as binary:
        read_recipe(tmp_path / "binary.toml")
    for refusal in (missing, prose, binary):
        assert_one_sentence(refusal.value)
