"""The command line: quick help, one sentence for what goes wrong, JSON and nothing else with --json."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from promu import cli
from promu.cli import main
from promu.cli.console import as_options
from promu.cli.data import check
from promu.cli.help_examples import EXAMPLES
from promu.cli.own_data import convert
from promu.progress import mark_stored

GOLD = "IMGID:1\nAnn\tB-PER\nin\tO\nRome\tB-LOC\n\nIMGID:2\nBob\tB-PER\nLee\tI-PER\n\n"
PREDICTED = "IMGID:1\nAnn\tB-PER\nin\tO\nRome\tB-ORG\n\nIMGID:2\nBob\tB-PER\nLee\tI-PER\n\n"


def mnre(*labels: str) -> str:
    return "".join(
        "{'token': ['Ann', 'and', 'Bob'], 'h': {'name': 'Ann', 'pos': [0, 1]}, 't': {'name': 'Bob', 'pos': [2, 3]}, "
        f"'img_id': 'p{number}.jpg', 'relation': '{label}'}}\n"
        for number, label in enumerate(labels)
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "gold.txt").write_text(GOLD)
    (tmp_path / "predicted.txt").write_text(PREDICTED)
    (tmp_path / "groups.json").write_text('{"1": "text", "2": "image"}')
    return tmp_path


def promu(
    *words: object, code: str = "import sys; from promu.cli import main; sys.exit(main())"
) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = "import sys; from promu.cli import main; main(); print(*sys.modules, file=sys.stderr)"
    status, out, err = promu("--help", code=code)
    assert status == 0 and all(name in out for name in cli.COMMANDS)
    heavy = {"torch", "transformers", "numpy", "PIL", "matplotlib", "pydantic", "yaml", "pyarrow", "onnxruntime"}
    assert not heavy & {name.partition(".")[0] for name in err.split()}
    rooms = {name.split(".")[1] for name in err.split() if name.startswith("promu.")}
    assert rooms <= {"cli", "config", "cores", "errors", "files", "progress", "schema"}


@pytest.mark.parametrize("words", [[name, "--help"] for name in cli.COMMANDS] + [["score", "ner", "--help"]])
@pytest.mark.slow
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert f"Usage: promu {words[0]}" in capsys.readouterr().out


def test_entity_scores_as_table_and_as_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", "ner", "--gold", str(files / "gold.txt"), "--predictions", str(files / "predicted.txt")]
    words += ["--groups", str(files / "groups.json")]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert re.search(r"all +66\.67 +66\.67 +66\.67 +2 +3 +3", table) and re.search(r"image +100\.00", table)
    assert main([*words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["f1"] == pytest.approx(200 / 3)
    assert scores["spans"]["f1"] == 100.0 and scores["per_group"]["text"]["f1"] == 50.0


def test_relation_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold, predicted = tmp_path / "gold.txt", tmp_path / "predicted.txt"
    gold.write_text(mnre("/per/per/couple", "/per/per/peer", "None"))
    predicted.write_text(mnre("/per/per/couple", "None", "None"))
    words = ["score", "re", "--gold", str(gold), "--predictions", str(predicted)]
    assert main([*words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["precision"], scores["recall"]) == (100.0, 50.0)
    assert scores["accuracy"] == pytest.approx(200 / 3) and scores["macro"]["f1"] == 50.0
    assert main(words) == 0
    assert "/per/per/couple" in capsys.readouterr().out


def test_orphan_inside_tags_are_scored_both_ways(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orphan = files / "orphan.txt"
    orphan.write_text(PREDICTED.replace("B-ORG", "I-LOC"))
    words = ["score", "ner", "--gold", str(files / "gold.txt"), "--predictions", str(orphan)]
    assert main([*words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["f1"] == pytest.approx(80.0) and scores["default"]["f1"] == 100.0
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "(strict)" in out and "(default: a stray I- begins an entity)" in out
    # Gold that is wrong stays wrong.
    assert main(["score", "ner", "--gold", str(orphan), "--predictions", str(files / "gold.txt")]) == 2
    assert f"{orphan}:4: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "ner", "--gold", "{}/gold.txt", "--predictions", "{}/none.txt"], r"none\.txt: no such file"),
        (["score", "ner", "--gold", "{}/gold.txt"], r"--predictions .*see promu score ner --help"),
        (["score", "ner", "--gold", "{}/gold.txt", "--predictions", "{}/groups.json"], r"groups\.json:1: "),
        (
            ["score", "ner", "--gold", "{0}/gold.txt", "--predictions", "{0}/gold.txt", "--groups", "{0}/gold.txt"],
            r"gold\.txt:1: not JSON",
        ),
        (["scor"], r'"scor".*see promu --help'),
        (
            ["newsreel", "{}/world", "--pairs", "many"],
            "pairs should be a valid integer, found 'many'; see promu newsreel",
        ),
        (["newsreel", "{}/world", "--pairs", "-3"], "pairs should be greater than or equal to 0, found '-3'; see"),
        (["newsreel", "{}"], "not empty"),
        (["check", "{}/gold.txt", "--format", "csv"], "unknown format 'csv'"),
        (["doctor", "--jsno"], "--jsno"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    words: list[str], said: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(files) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert re.search(said, captured.err)
    assert sorted(path.name for path in files.iterdir()) == ["gold.txt", "groups.json", "predicted.txt"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"1": 2}', "null"])
def test_groups_that_are_no_groups(content: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "groups.json").write_text(content)
    gold = str(files / "gold.txt")
    assert main(["score", "ner", "--gold", gold, "--predictions", gold, "--groups", str(files / "groups.json")]) == 2
    assert "groups.json: " in capsys.readouterr().err


def test_check_counts_and_names_the_malformed_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(files / "gold.txt"), "--format", "conll"]) == 0
    assert "2 posts" in capsys.readouterr().out
    (files / "bad.txt").write_text(GOLD.replace("B-LOC", "LOC"))
    assert main(["check", str(files / "bad.txt"), "--format", "conll", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["files"][0]["problems"][0]["line"] == 4


def test_newsreel_is_drawn_once_and_scored_by_its_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = tmp_path / "world"
    words = ["newsreel", str(world), "--pairs", "4", "--ner-posts", "2", "2", "4", "--re-posts", "2", "2", "4"]
    assert main([*words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["counts"]["ner_test"] == 4 and 0 <= made["upper_bounds"]["re"]["text"] <= 100
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "already there" in printed
    bounds = ", ".join(f"{seen} {f1:.1f}" for seen, f1 in made["upper_bounds"]["re"].items())
    assert f"re   {bounds}" in printed and bounds.count("text") == 3
    for task, name in (("ner", "test.txt"), ("re", "mnre_test.txt")):
        gold, groups = str(world / task / name), str(world / task / "groups.json")
        assert main(["score", task, "--gold", gold, "--predictions", gold, "--groups", groups, "--json"]) == 0
        assert set(json.loads(capsys.readouterr().out)["per_group"]) <= {"text", "image"}


def test_what_the_help_says_agrees_with_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    from promu.corpora.formats import FORMATS
    from promu.newsreel import NewsreelSettings

    assert main(["newsreel", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')} " in shown for name in NewsreelSettings.model_fields)
    assert main(["newsreel", "world", "--falsified", "2"]) == 2
    sentence = "falsified should be less than or equal to 1, found '2'; see promu newsreel --help"
    assert sentence in capsys.readouterr().err
    assert f"One of {', '.join(FORMATS)}." in " ".join((check.__doc__ or "").split())
    posts = [name for name, entry in FORMATS.own.items() if entry.kind == "posts"]
    assert f"{', '.join(posts[:-1])} or {posts[-1]}." in " ".join((convert.__doc__ or "").split())


def test_an_interrupt_says_where_the_run_resumes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("promu.cli.doctor.diagnose", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"
    monkeypatch.setattr("promu.config.find_recipe", interrupted)
    assert main(["finetune", "newsreel-ner"]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n", "there is nothing yet to go on from"

    def stored(*words: object) -> None:
        mark_stored()
        raise KeyboardInterrupt

    monkeypatch.setattr("promu.config.find_recipe", stored)
    assert main(["finetune", "newsreel-ner"]) == 130
    again = "interrupted; started again with the same settings, the run resumes where it stopped\n"
    assert capsys.readouterr().err == f"\n{again}"
    monkeypatch.setattr("promu.config.find_recipe", interrupted)
    assert main(["finetune", "newsreel-ner"]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n", "each command line is a call of its own"


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    code = (
        "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); "
        "from promu.cli import main; sys.exit(main(['score', 'ner', '--help']))"
    )
    status, _, err = promu(code=code)
    assert "Traceback" not in err and status == 1


@pytest.mark.slow
def test_published_twitter_scores_100_against_itself(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, posts in (("twitter2015", 3257), ("twitter2017", 723)):
        gold = str(shared / "data" / name / "test.txt")
        assert main(["score", "ner", "--gold", gold, "--predictions", gold, "--json"]) == 0
        scores = json.loads(capsys.readouterr().out)
        assert scores["f1"] == 100.0 and scores["posts"] == posts


def commands(app: App, *path: str) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command that can be called, with the words that name it."""
    below = [name for name in app if not name.startswith("-")]
    if path and (not below or app.default_command is not None):
        yield path, app
    for name in below:
        yield from commands(app[name], *path, name)


LEAVES = dict(commands(cli.app))


def test_every_command_shows_an_example() -> None:
    assert {" ".join(path) for path in LEAVES} == set(EXAMPLES)


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line in lines])
def test_every_example_is_a_command_line_that_promu_takes(name: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "torchrun":
        words = words[words.index("promu.cli") :]
    function, _, _ = cli.app.parse_args(words[1:], exit_on_error=False, print_error=False)
    assert function is LEAVES[tuple(name.split())].default_command


def test_every_command_that_prints_a_result_prints_json_too() -> None:
    options = {
        path: {name for one in app.assemble_argument_collection() for name in one.names} for path, app in LEAVES.items()
    }
    # serve prints no result
    assert {path for path, names in options.items() if "--json" not in names} == {("serve",)}


@pytest.mark.parametrize(("words", "meant"), [("graph qery g.sqlite Ann", "query"), ("score nre --gold a", "re")])
def test_a_mistyped_command_of_a_group_is_named(words: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    group, typed, *_ = words.split()
    expected = f"error: no command {typed!r} of promu {group}; did you mean promu {group} {meant}?"
    assert capsys.readouterr().err.strip() == expected
    assert main(["recipes", "foo"]) == 2
    assert "error: no command 'foo' of promu recipes; there are show, copy" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "extract --model {models} --input {file} --out {file}",
        "graph {file} --to sqlite --out {file}",
        "candidates relations {file} --out {file}",
        "knowledge pool {file} --out {file}",
        "kecpm predict {models} {file} --out {file}",
        "evaluate ner {models} --data {file} --predictions {file}",
    ],
)
@pytest.mark.slow
def test_no_command_writes_over_what_it_reads(
    words: str, tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "posts.jsonl"
    record = {"id": "1", "text": "Ann met Bob", "tokens": ["Ann", "met", "Bob"], "entities": [], "relations": []}
    file.write_text(json.dumps(record) + "\n")
    before = file.read_bytes()
    assert main(words.format(models=tiny_models, file=file).split()) == 2
    assert file.read_bytes() == before
    assert f"{file}: this is what is read from; name another place to write to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("correct images=, or leave it out", "correct --images, or leave it out"),
        ("or leave them out: missing_images='skip'", "or leave them out: --missing-images skip"),
        ("batch_size= is 0", "--batch-size is 0"),
        ("runs/lr=0.1/model: no such folder", "runs/lr=0.1/model: no such folder"),
        ("'images= x' is no tag of the teacher's", "'images= x' is no tag of the teacher's"),
        ("give rename= OTHER=MISC", "give --rename OTHER=MISC"),
    ],
)
def test_arguments_of_python_are_printed_as_options(said: str, printed: str) -> None:
    assert as_options(said) == printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serve --model x --max-posts 0", "error: --max-posts should be greater than or equal to 1, found '0'; see"),
        ("extract --model x --text a --batch-size 0", "error: --batch-size should be greater than or equal to 1"),
        ("convert {gold} out --from conll --to posts --inside-word widen", "leave --inside-word out"),
        (
            "evaluate regions x --images nowhere --instances {gold}",
            "nowhere: no such folder of images; correct --images",
        ),
    ],
)
def test_an_error_names_the_option(words: str, said: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.format(gold=files / "gold.txt").split()) == 2
    assert said in capsys.readouterr().err
