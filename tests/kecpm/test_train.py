"""KECPM from raw file to scored model, at tiny size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from promu.cli import main
from promu.config import load_recipe
from promu.corpora.jmere import read_jmere
from promu.errors import InputError
from promu.evaluation.joint_scores import score_joint
from promu.kecpm.decoding import load_seq2seq
from promu.kecpm.kecpm_model import KecpmModel
from promu.kecpm.kecpm_recipe import KecpmRecipe
from promu.kecpm.prompts import read_split
from promu.kecpm.train_kecpm import train_seed
from promu.newsreel.joint_world import DECIDERS, write_joint
from promu.newsreel.settings import JointSettings
from promu.schema import Post
from promu.training.tokenizers import train_text_to_text

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TINY = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
QUICK = ["training.epochs=1", "training.batch_size=4", "decoding.limit=64", "training.precision=fp32"]


def overrides(more: list[str]) -> list[str]:
    return [word for setting in (*QUICK, *more) for word in ("--set", setting)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joint") / "world"
    write_joint(folder, JointSettings(size=32, posts=(8, 4, 4)))
    return folder


def drawn_settings(drawn: Path, out: Path) -> list[str]:
    settings = [
        f"data.{split}={drawn}/{name}.json" for split, name in (("train", "train"), ("dev", "val"), ("test", "test"))
    ]
    size = [f"model.name.{name}={value}" for name, value in TINY.items()]
    return [*settings, *size, f"data.groups={drawn}/groups.json", f"out={out}", "seeds=[3]", "model.tokenizer.size=500"]


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kecpm") / "run"
    assert main(["kecpm", "train", "newsreel-kecpm", *overrides(drawn_settings(drawn, out))]) == 0
    return out


def test_a_run_leaves_a_scored_model(run: Path, drawn: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    result = json.loads((run / "seed-3" / "result.json").read_text())
    assert summary["runs"]["3"] == result and summary["test"]["f1"]["n"] == 1
    assert result["dev"]["parsed"] == result["test"]["parsed"] == 1.0
    unreachable = result["unreachable_quintuples"]
    assert result["test_unconstrained"]["parsed"] <= 1.0 and unreachable["train"]["inexpressible"] == 0
    assert set(unreachable) == {"train", "dev", "test"}
    assert unreachable["train"]["of"] == sum(len(post.relations) for post in read_jmere(drawn / "train.json"))
    assert set(result["test"]["per_group"]) <= set(DECIDERS)
    gold = read_jmere(drawn / "test.json")
    predicted = read_jmere(run / "seed-3" / "predictions" / "test.json")
    assert score_joint(gold, predicted).micro.f1 == result["test"]["f1"]
    scored = [json.loads(line)["split"] for line in (run / "seed-3" / "evaluations.jsonl").read_text().splitlines()]
    validated = [line for line in (run / "seed-3" / "log.jsonl").read_text().splitlines() if "eval_f1" in line]
    assert scored == [*["dev"] * len(validated), "dev", "test"] and validated


def test_a_finished_run_is_not_repeated(run: Path, drawn: Path, capsys: Any) -> None:
    before = (run / "seed-3" / "result.json").read_bytes()
    words = ["kecpm", "train", "newsreel-kecpm", *overrides(drawn_settings(drawn, run)), "--json"]
    assert main(words) == 0 and json.loads(capsys.readouterr().out)["seeds"] == [3]
    assert (run / "seed-3" / "result.json").read_bytes() == before
    assert main([*words, "--set", "prompt.mode=text"]) == 2
    assert "this folder holds a run with other settings (prompt)" in capsys.readouterr().err


def test_predicting_gives_what_training_scored(run: Path, drawn: Path, tmp_path: Path, capsys: Any) -> None:
    """Also where the file's own labels are gone: they are not looked at."""
    bare = tmp_path / "bare.json"
    records = json.loads((drawn / "test.json").read_text())
    bare.write_text(json.dumps([{**record, "label_list": []} for record in records]))
    out = tmp_path / "predicted.json"
    assert main(["kecpm", "predict", str(run / "seed-3/model"), str(bare), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parsed"] == 1.0
    assert read_jmere(out) == read_jmere(run / "seed-3" / "predictions" / "test.json")
    assert main(["score", "joint", "--gold", str(drawn / "test.json"), "--predictions", str(out)]) == 0
    assert main(["kecpm", "predict", str(drawn), str(bare), "--out", str(out)]) == 2


def test_a_target_is_read_back(run: Path, drawn: Path) -> None:
    from promu.kecpm.decoding import decode_answer
    from promu.schema import quintuples

    model = KecpmModel.load(run / "seed-3" / "model")
    posts = read_jmere(drawn / "train.json")
    targets = model.targets(posts)
    assert model.unreachable(posts)["inexpressible"] == 0
    for post, one, ids in zip(posts, model.grammars(posts), targets, strict=True):
        assert list(decode_answer(one, ids).quintuples) == quintuples(post)


@pytest.mark.slow
def test_a_model_learns_the_posts_it_is_shown(drawn: Path, tmp_path: Path) -> None:
    """With the grammar it then finds them all, without it most of them."""
    file = tmp_path / "six.json"
    file.write_text(json.dumps(json.loads((drawn / "train.json").read_text())[:6]))
    epochs = ["training.epochs=180", "training.validate_every=180", "training.batch_size=6", "training.lr=5e-3"]
    size = [
        f"model.name.{name}={value}"
        for name, value in {**TINY, "d_model": 64, "d_ff": 128, "d_kv": 16, "num_heads": 4}.items()
    ]
    settings = [f"data.{split}={file}" for split in ("train", "dev", "test")]
    more = ["prompt.mode=text", "data.groups=null", "model.name.dropout_rate=0.0", "model.tokenizer.size=700"]
    recipe = load_recipe(
        RECIPES / "newsreel-kecpm.yaml",
        KecpmRecipe,
        [*settings, *size, *epochs, *more, f"out={tmp_path / 'run'}"],
    )
    result = train_seed(recipe, 0)
    assert result["test"]["f1"] > 90 and result["test"]["parsed"] == 1.0
    assert result["test_unconstrained"]["parsed"] > 0.5


def test_recorded_knowledge_takes_the_place_of_the_file_s(drawn: Path, tmp_path: Path) -> None:
    posts = read_jmere(drawn / "val.json")
    lines = [{"id": post.id, "text": " ".join(post.tokens), "knowledge": [f"fact {post.id}"]} for post in posts]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    split = read_split(drawn / "val.json", tmp_path)
    assert [each.knowledge for each in split.background] == [(f"fact {post.id}",) for post in posts]
    with pytest.raises(InputError, match="no such file"):
        read_split(drawn / "train.json", tmp_path)


@pytest.mark.slow
def test_the_published_files(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The recipe for them, with a tiny model in a folder in the place of T5, on the first posts of each file."""
    monkeypatch.setenv("PROMU_DATA", str(published))
    assert load_recipe(RECIPES / "jmere-kecpm.yaml", KecpmRecipe).seeds == [0, 1, 2]
    folder = published / "jmere-fewshot" / "seed_17"
    settings = []
    for split, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        lines = (folder / f"{name}_ofa_knowledge.json").read_text(encoding="utf-8").splitlines()[:6]
        (tmp_path / f"{name}.json").write_text("\n".join(lines), encoding="utf-8")
        settings.append(f"data.{split}={tmp_path / name}.json")
    tokenizer = train_text_to_text(["the relation between a person and an organization is"], 400, 1)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "vocab_size": len(tokenizer)}
    load_seq2seq({"model_type": "t5", **TINY}, **ids).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    settings += [f"model.name={tmp_path / 't5'}", f"out={tmp_path / 'run'}", "seeds=[0]", "decoding.limit=200"]
    assert main(["kecpm", "train", "jmere-kecpm", *overrides(settings), "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"]["0"]
    assert run["posts"] == {"train": 6, "dev": 6, "test": 6} and run["test"]["parsed"] == 1.0
    assert run["unreachable_quintuples"]["train"]["inexpressible"] == 0


@pytest.mark.slow
def test_every_published_quintuple_can_be_expressed(shared: Path) -> None:
    from promu.kecpm.decoding import decode_answer, encode_answer
    from promu.kecpm.grammar import Grammar, GrammarTokenizer, Phrases
    from promu.modeling.inventory import Inventory
    from promu.schema import quintuples

    posts: list[Post] = []
    for seed in (17, 67, 97):
        for split in ("train", "val", "test"):
            posts += read_jmere(shared / "data" / "jmere_fewshot" / f"seed_{seed}" / f"{split}.json")
    tokenizer = GrammarTokenizer(train_text_to_text([" ".join(post.tokens) for post in posts], 2000))
    phrases = Phrases(tokenizer, Inventory.of(posts))
    for post in posts:
        one = Grammar(phrases, post.tokens, 12)
        ids, left_out = encode_answer(one, quintuples(post))
        assert left_out == 0 and list(decode_answer(one, ids).quintuples) == quintuples(post)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["model.name=/no/such/folder", "model.tokenizer=null"],
            "tokenizer '/no/such/folder' cannot be loaded (there is no such folder)",
        ),
        (["model.tokenizer=null"], "model.tokenizer is missing; a model from random weights needs one by name"),
        (["prompt.mode=image"], "Input should be 'text', 'text+caption', 'text+knowledge' or 'all'"),
        (["decoding.limit=1"], "answers of at most 1 tokens were asked for, but the shortest has"),
        (["seeds=[]"], "recipe key 'seeds'"),
    ],
)
def test_bad_settings(settings: list[str], sentence: str, drawn: Path, tmp_path: Path, capsys: Any) -> None:
    words = overrides([*drawn_settings(drawn, tmp_path / "run"), *settings])
    if settings[0].startswith("model."):  # a name has no settings within
        words = [word for word in words if not word.startswith("model.name.")]
        words = overrides([s for s in drawn_settings(drawn, tmp_path / "run") if not s.startswith("model.")] + settings)
    assert main(["kecpm", "train", "newsreel-kecpm", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run" / "seed-3" / "result.json").exists()


def test_each_recipe_is_a_recipe() -> None:
    names = sorted(path.stem for path in RECIPES.glob("*kecpm.yaml"))
    assert names == ["jmere-kecpm", "newsreel-kecpm"], "a new one needs a run here"
    for name in names:
        assert "task" not in yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
