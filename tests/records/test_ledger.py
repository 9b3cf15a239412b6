"""Files of other origin survive whatever a ledger does; its own are recognised."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stitching.records.files import sha256_of
from stitching.records.ledger import ForeignFilesError, Ledger

NAMES = ["a.png", "b.csv", "sub/c.txt", "record.json"]


@pytest.fixture
def ledger(tmp_path):
    found = Ledger(tmp_path, "record.json", ours=("state",))
    found.save({"state": "running"})
    return found


def content(folder):
    """Return the content of all files below a folder by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_listed_with_its_hash(ledger):
    path = ledger.write("sub/a.png", b"one")
    assert ledger.listed() == {"sub/a.png": [sha256_of(path)]}
    assert ledger.read()["state"] == "running"


def test_a_listed_file_is_replaced_and_only_its_new_content_stays_listed(ledger):
    ledger.write("a.png", b"one")
    path = ledger.write("a.png", [b"t", b"wo"])
    assert path.read_bytes() == b"two"
    assert ledger.foreign(["a.png"]) == []
    ledger.remove(["a.png"])
    assert set(content(ledger.folder)) == {"record.json"}


def test_a_kill_between_record_and_file_leaves_the_old_content_recognised(ledger):
    path = ledger.write("a.png", b"one")
    ledger.claim({"a.png": "0" * 64, "b.png": "0" * 64})
    ledger.write("a.png", b"three")
    assert set(content(ledger.folder)) == {"record.json", "a.png"}
    assert path.read_bytes() == b"three"


@pytest.mark.parametrize("data", [b"theirs", b"ours"])
def test_a_file_of_other_origin_is_not_overwritten_even_with_equal_content(ledger, data):
    (ledger.folder / "a.png").write_bytes(data)
    with pytest.raises(ForeignFilesError, match=r"holds a\.png, which .* did not write"):
        ledger.write("a.png", b"ours")
    with pytest.raises(ForeignFilesError):
        ledger.write_all({"b.png": b"", "a.png": b"ours"})
    ledger.remove(["a.png"])
    assert content(ledger.folder)["a.png"] == data
    assert "b.png" not in content(ledger.folder)


def test_two_of_many_foreign_files_are_named_with_the_remedy(ledger):
    for name in "abcd":
        (ledger.folder / name).touch()
    with pytest.raises(ForeignFilesError, match=r"holds a and b and 2 more, .*: go elsewhere"):
        ledger.require_free("abcd", "go elsewhere")


def test_a_file_where_a_folder_must_be_and_a_dangling_link_are_foreign(ledger):
    (ledger.folder / "sub").touch()
    os.symlink("nowhere", ledger.folder / "a.png")
    assert ledger.foreign(["sub/c/d.txt", "a.png"]) == ["sub", "a.png"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"files": {}}', '{"name": "theirs"}'])
def test_a_record_of_other_origin_is_foreign_and_survives(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    ledger = Ledger(tmp_path, "record.json", ours=("state",))
    with pytest.raises(ForeignFilesError, match=r"holds record\.json"):
        ledger.require_free([], "")
    with pytest.raises(ForeignFilesError):
        ledger.save({"state": "running"})
    with pytest.raises(ForeignFilesError):
        ledger.write("a.png", b"")
    assert content(tmp_path) == {"record.json": text.encode()}


def test_an_edited_file_is_set_aside_with_one_warning(ledger, caplog):
    for name in ("a.png", "b.csv"):
        ledger.write(name, b"one").write_bytes(b"edited")
    (ledger.folder / "a.png.kept-1").write_bytes(b"theirs")
    ledger.remove(["a.png", "b.csv"])
    ledger.write("a.png", b"two").write_bytes(b"again")
    ledger.write("a.png", b"three")
    found = content(ledger.folder)
    found.pop("record.json")
    assert found == {
        "a.png": b"three",
        "a.png.kept-1": b"theirs",
        "a.png.kept-2": b"edited",
        "a.png.kept-3": b"again",
        "b.csv.kept-1": b"edited",
    }
    assert len(caplog.messages) == 2
    assert "held a.png and b.csv with other content" in caplog.messages[0]


def test_a_file_listed_without_hash_may_change(ledger):
    ledger.claim({"run.log": None})
    (ledger.folder / "run.log").write_text("a line")
    ledger.claim({"run.log": None})
    ledger.remove(["run.log"])
    assert set(content(ledger.folder)) == {"record.json"}


def test_what_a_record_of_an_earlier_version_does_not_list_is_set_aside(tmp_path):
    (tmp_path / "record.json").write_text('{"state": "failed"}')
    (tmp_path / "a.png").write_bytes(b"old")
    ledger = Ledger(tmp_path, "record.json", ours=("state",))
    ledger.require_free(["a.png"], "")
    ledger.write("a.png", b"new")
    assert content(tmp_path).items() >= {"a.png": b"new", "a.png.kept-1": b"old"}.items()


def test_a_record_that_names_files_elsewhere_does_not_reach_them(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"x")
    files = {"../theirs": None, str(theirs): None, "a.png": 3, "b.png": [None]}
    (folder / "record.json").write_text(json.dumps({"state": "done", "files": files}))
    (folder / "a.png").touch()
    ledger = Ledger(folder, "record.json", ours=("state",))
    assert ledger.listed() == {"a.png": [], "b.png": []}
    ledger.remove([*files])
    assert theirs.exists()
    assert (folder / "a.png.kept-1").exists()


def test_a_partial_file_of_a_killed_process_is_recognised(ledger, monkeypatch):
    def killed(name, partial):
        partial.write_bytes(b"half")
        monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger._put({"a.png": "0" * 64}, killed)
    monkeypatch.undo()
    assert len(content(ledger.folder)) == 2
    ledger.remove(ledger.listed())
    assert set(content(ledger.folder)) == {"record.json"}


def test_a_copy_of_what_has_changed_is_refused_and_leaves_nothing(ledger, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.png").write_bytes(b"x")
    ledger.copy(source, {"a.png": sha256_of(source / "a.png")})
    assert (ledger.folder / "a.png").read_bytes() == b"x"
    with pytest.raises(OSError, match="changed while it was copied"):
        ledger.copy(source, {"a.png": "0" * 64})
    assert not list(ledger.folder.glob(".*partial"))


def test_what_a_library_writes_is_listed_and_goes_with_the_rest(ledger):
    with ledger.writing("map.bin") as partial:
        partial.write_bytes(b"one")
    with pytest.raises(RuntimeError), ledger.writing("map.bin") as partial:
        raise RuntimeError
    assert (ledger.folder / "map.bin").read_bytes() == b"one"
    ledger.save({"state": "done"}, listing=["launch.log"])
    assert set(ledger.listed()) == {"map.bin", "launch.log"}


def test_removing_takes_along_folders_that_are_empty_then(ledger):
    ledger.write("x/y/a.png", b"")
    ledger.write("x/b.png", b"")
    ledger.remove(["x/y/a.png"])
    assert [path.name for path in (ledger.folder / "x").iterdir()] == ["b.png"]
    (ledger.folder / "x" / "theirs").touch()
    ledger.remove(["x/b.png"])
    assert [path.name for path in (ledger.folder / "x").iterdir()] == ["theirs"]


_step = st.tuples(
    st.sampled_from(["write", "remove", "claim", "save", "edit"]),
    st.sampled_from(NAMES[:3]),
    st.binary(max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*NAMES, "sub", "a.png.kept-1"]), st.binary(max_size=3)),
    st.lists(_step, max_size=8),
)
def test_every_file_of_other_origin_survives_any_sequence(tmp_path_factory, foreign, steps):
    folder = tmp_path_factory.mktemp("folder")
    for name, data in foreign.items():
        path = folder / name
        if not (name == "sub/c.txt" and "sub" in foreign):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    before, edits = content(folder), []
    ledger = Ledger(folder, "record.json", ours=("state",))
    for kind, name, data in steps:
        try:
            if kind == "edit" and ledger.listed().get(name) and (folder / name).is_file():
                edits.append((folder / name).read_bytes() + b"edited")
                (folder / name).write_bytes(edits[-1])
            elif kind == "save" or not ledger.read():
                ledger.save({"state": "running"})
            elif kind == "remove":
                ledger.remove([name])
            elif kind == "claim":
                ledger.claim({name: None if data else "0" * 64})
            else:
                ledger.write(name, data)
        except ForeignFilesError:
            pass
    after = content(folder)
    assert before.items() <= after.items()
    assert all(any(data.startswith(edit) for data in after.values()) for edit in edits)
    if "record.json" not in before and ledger.read():
        assert json.loads(after["record.json"])["state"] == "running"
