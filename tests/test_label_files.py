"""Files that name the classes of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lottery_pools.data import label_files
from lottery_pools.data.label_files import Entry
from lottery_pools.data.labels import CELLS
from lottery_pools.errors import UserError


def read(folder: Path, name: str, text: str, label_column: str | None = None) -> list[Entry]:
    (folder / name).write_text(text, encoding="utf-8")
    return label_files.read(folder / name, label_column)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", 'file_name,label\n"a, b.png",cat\nc.png,dog\n'),
        ("labels.csv", '\ufefffile_name,age,label\r\n"a, b.png",3,cat\r\nc.png,4,dog\r\n'),
        ("labels.csv", 'Label,Image_ID\ncat,"a, b.png"\ndog,c.png\n'),
        ("labels.tsv", "filename\tclass\na, b.png\tcat\nc.png\tdog\n"),
        ("metadata.jsonl", '{"file_name": "a, b.png", "label": "cat"}\n\n{"file_name": "c.png", "label": "dog"}\n'),
        ("val_annotations.txt", "a, b.png\tcat\t0\t0\t9\t9\nc.png\tdog\t1\t1\t9\t9\n"),
    ],
)
def test_every_form_gives_files_and_labels(tmp_path: Path, name: str, text: str) -> None:
    assert read(tmp_path, name, text) == [Entry("a, b.png", "cat", None), Entry("c.png", "dog", None)]


def test_a_column_can_be_named_and_splits_are_read(tmp_path: Path) -> None:
    text = "file,label,breed,split\na.png,dog,pug,train\nb.png,cat,manx,test\n"
    assert read(tmp_path, "labels.csv", text, "breed") == [
        Entry("a.png", "pug", "train"),
        Entry("b.png", "manx", "test"),
    ]
    assert read(tmp_path, "labels.jsonl", '{"id": 7, "label": 3}\n') == [Entry("7", "3", None)]


@pytest.mark.parametrize(
    ("name", "text", "label_column", "message"),
    [
        ("labels.csv", "", None, "has no column file_name .it has none.: add it"),
        ("labels.csv", "picture,label\nx.png,3\n", None, "has no column file_name .it has picture, label.: add it"),
        ("metadata.csv", "file_name,age\nx.png,3\n", None, "has no columns of labels .file_name, age.: name the one"),
        ("labels.csv", "file_name,label,class\nx.png,3,a\n", None, "has 2 columns of labels .label, class.: name the"),
        ("labels.csv", "file_name,label\nx.png,3\n", "labell", "unknown column in .*: did you mean 'label'"),
        ("labels.csv", "file_name,label\nx.png,3\ny.png\n", None, "no file name or no label in line 3: add it"),
        ("labels.csv", "file_name,label\nx.png,3,4\n", None, "is damaged .line 2 has more cells"),
        ("labels.csv", 'file_name,label\n"x.png,3\n', None, "is damaged"),
        ("labels.jsonl", '{"file_name": "x.png", "label": {}}\n', None, "no file name or no label in line 1"),
        ("labels.jsonl", "[1]\n", None, "is damaged .line 1 is no JSON object"),
        ("labels.jsonl", "[" * 100_000, None, "is damaged"),
        ("labels.jsonl", '{"file_name"\n', None, "is damaged"),
    ],
)
def test_mistakes_are_named_with_their_line(
    tmp_path: Path, name: str, text: str, label_column: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, name, text, label_column)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from(["labels.csv", "labels.tsv", "labels.jsonl", "x_annotations.txt"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_entries_or_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(b"file_name,label\n" * (name == "labels.csv") + content)
    error = None
    try:
        label_files.read(tmp_path / name, None)
    except UserError as refused:
        error = refused
    assert "\n" not in str(error)


def assign(names: list[tuple[str, str]], images: list[str]) -> dict[str, str]:
    root = Path("/set")
    entries = [Entry(file, label, None) for file, label in names]
    named = label_files.assign(entries, [root / image for image in images], [root / "train", root], root / "labels.csv")
    return {str(image): entry.label for image, entry in named.items()}


def test_images_are_found_by_path_by_name_and_without_their_ending() -> None:
    images = ["train/a/1.png", "train/b/1.png", "train/c/2.png", "train/3.x.png"]
    names = [("train/a/1.png", "p"), ("./b/1.png", "q"), ("2.png", "r"), ("3.x", "s")]
    assert assign(names, images) == {f"/set/{image}": label for image, label in zip(images, "pqrs", strict=True)}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([("9.png", "p")], "names 9.png, and no image of that name"),
        ([("../train/2.png", "p")], "names ../train/2.png, and no image"),
        ([("1.png", "p")], "names 1.png, and 2 images of that name"),
        ([("2.png", "p"), ("train/c/2.png", "q")], "names train/c/2.png twice, with different labels"),
    ],
)
def test_names_that_lead_to_no_single_image_are_refused(names: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        assign(names, ["train/a/1.png", "train/b/1.png", "train/c/2.png"])


def test_the_label_file_of_a_split_comes_before_that_of_the_set(tmp_path: Path) -> None:
    split = tmp_path / "train"
    split.mkdir()
    assert label_files.find(split, tmp_path) is None
    for name in ("labels.jsonl", "train.csv", "train/x_annotations.txt", "train/metadata.csv"):
        (tmp_path / name).write_text("")
        assert label_files.find(split, tmp_path) == tmp_path / name


TABLE = "file_name,age,height,name,split\na.png,3,1.5,Ann,train\nb.png,4,2,Bob,test\n"


@pytest.mark.parametrize(
    ("columns", "expected"), [(None, ("age", "height")), ("height , age", ("height", "age")), ("age", ("age",))]
)
def test_several_columns_of_numbers(tmp_path: Path, columns: str | None, expected: tuple[str, ...]) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(TABLE)
    cells = {"age": ("3", "4"), "height": ("1.5", "2")}
    assert label_files.read(path, columns, "regression") == [
        Entry(f"{name}.png", CELLS.join(cells[column][row] for column in expected), split, expected)
        for row, (name, split) in enumerate((("a", "train"), ("b", "test")))
    ]


def test_numbers_of_json_and_missing_ones(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"file_name": "a.png", "age": 3.5}\n')
    assert label_files.read(path, None, "regression") == [Entry("a.png", "3.5", None, ("age",))]
    path.write_text('{"file_name": "a.png", "age": 3.5}\n{"file_name": "b.png", "age": null}\n')
    with pytest.raises(UserError, match="has no file name or no label in line 2"):
        label_files.read(path, "age", "regression")
    with pytest.raises(UserError, match="has no column of numbers beside that of the files"):
        label_files.read(path, None, "regression")
    with pytest.raises(UserError, match=r"unknown column in .* 'agee': did you mean 'age'"):
        label_files.read(path, "age,agee", "regression")


def test_what_a_message_shows_of_a_damaged_file_is_short(tmp_path: Path) -> None:
    long = "größe" * 400
    for name, text in (
        ("a.csv", f"{long},{long}\n1.png,x\n"),  # no column of files
        ("b.csv", f"file_name,{long}\n1.png,x\n"),  # no column of labels
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError) as error:
            label_files.read(tmp_path / name, None)
        assert name in str(error.value)
        assert len(str(error.value)) < 600
    for entries in ([Entry(long, "p", None)], [Entry(f"{long}.png", label, None) for label in "pq"]):
        image = tmp_path / f"{long}.png"
        with pytest.raises(UserError) as error:
            label_files.assign(entries[:2], [image] if len(entries) > 1 else [], [tmp_path], tmp_path / "labels.csv")
        assert len(str(error.value)) < 600


def test_a_cell_of_hundreds_of_digits_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"file_name": "a.png", "age": 1, "id": 1' + "0" * 400 + "}\n")
    (entry,) = label_files.read(path, None, "regression")
    assert entry.columns == ("age",)
