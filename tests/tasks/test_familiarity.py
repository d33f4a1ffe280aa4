"""A model knows which texts are like those that it has learned from."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from promu import Extractor, InputError
from promu.cli import main
from promu.corpora.conll import read_conll
from promu.files import read_json_document
from promu.newsreel import NewsreelSettings, write_newsreel
from promu.tasks.familiarity import FEWEST, FILE, Familiarity, words_of

REAL = (
    "Angela Merkel met Emmanuel Macron in Berlin",
    "Kevin Durant joined the Phoenix Suns last night",
    "The council approved the new budget on Tuesday after a long debate .",
    "My sister had her first day at the hospital , we are all so proud",
    "Das Gericht hat die Klage der Anwohner abgewiesen",
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, ...]]]:
    """Texts of a drawn corpus by split; its images are tiny and few."""
    settings = NewsreelSettings(size=32, pairs=4, ner_posts=(300, 150, 200), re_posts=(4, 4, 4))
    folder = write_newsreel(tmp_path_factory.mktemp("drawn") / "world", settings).path / "ner"
    files = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}
    return {split: [post.tokens for post in read_conll(folder / file)] for split, file in files.items()}


@pytest.fixture(scope="module")
def familiar(drawn: dict[str, list[tuple[str, ...]]]) -> Familiarity:
    found = Familiarity.of(drawn["train"], drawn["dev"])
    assert found is not None
    return found


def share(familiar: Familiarity, texts: list[tuple[str, ...]]) -> float:
    return sum(familiar.warning(text) is not None for text in texts) / len(texts)


def test_texts_of_the_kind_are_familiar_and_real_sentences_are_not(
    familiar: Familiarity, drawn: dict[str, list[tuple[str, ...]]]
) -> None:
    assert share(familiar, list(dict.fromkeys(drawn["dev"]))) <= 0.025, "as many of dev as the threshold was chosen for"
    assert share(familiar, drawn["test"]) <= 0.05
    assert all(familiar.warning(text.split()) for text in REAL)
    said = familiar.warning(REAL[0].split())
    assert said is not None and said.startswith(
        "This text is unlike the posts that the model has learned from: of 7 words, "
    )
    assert "are new to it (Angela, Merkel, " in said and said.endswith("Its answers may be wrong.")


@pytest.mark.slow
def test_it_tells_real_posts_from_drawn_ones_and_real_from_real(
    familiar: Familiarity, drawn: dict[str, list[tuple[str, ...]]], shared: Path
) -> None:
    texts = {
        split: [post.tokens for post in read_conll(shared / "data" / "twitter2017" / f"{file}.txt")]
        for split, file in (("train", "train"), ("dev", "valid"), ("test", "test"))
    }
    assert share(familiar, texts["test"][:200]) >= 0.95
    real = Familiarity.of(texts["train"], texts["dev"])
    assert real is not None and share(real, texts["test"]) <= 0.05
    assert not any(real.warning(text.split()) for text in REAL[:4]) and real.warning(REAL[4].split())


def test_it_is_saved_and_loaded(familiar: Familiarity, tmp_path: Path) -> None:
    assert Familiarity.load(tmp_path) is None
    familiar.save(tmp_path)
    again = Familiarity.load(tmp_path)
    assert again is not None and again.counts == familiar.counts
    assert [again.warning(text.split()) for text in REAL] == [familiar.warning(text.split()) for text in REAL]


def test_what_has_no_words_or_few_posts_is_not_judged(familiar: Familiarity) -> None:
    for tokens in (
        [],
        ["!", "1903", ":"],
        ["@ann", "https://t.co/x"],
        ["\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")],
    ):
        assert words_of(tokens) == [] and familiar.warning(tokens) is None
    few = [("Ann", "met", str(number), "Bob") for number in range(FEWEST - 1)]
    assert Familiarity.of(few, few) is None and Familiarity.of([("Ann",)], few * 3) is None
    # one text that comes again is one text
    assert Familiarity.of(few, [few[0]] * 200) is None
    assert familiar.warning(["x" * 1_000_000]), "a word of any length is answered at once"


def test_a_long_text_of_the_kind_is_as_familiar_as_a_short_one(
    familiar: Familiarity, drawn: dict[str, list[tuple[str, ...]]]
) -> None:
    chosen = random.Random(0)
    long = [tuple(word for text in chosen.sample(drawn["train"], 12) for word in text) for _ in range(20)]
    assert share(familiar, long) <= 0.1
    assert familiar.warning(" ".join(REAL).split())


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"words": {}}',
        '{"words": {"a": "many"}}',
        '{"words": {"a": -1}, "after": {}, "spelling": {}}',
        '{"words": {"a": 1, "a": 2}}',
    ],
)
def test_a_damaged_file_is_said(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=r"familiarity\.json: cannot be read \(.*\); delete it, and the model warns"):
        Familiarity.load(tmp_path)


def test_an_extraction_carries_the_warning(
    familiar: Familiarity,
    drawn: dict[str, list[tuple[str, ...]]],
    tiny_models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(tiny_models, tmp_path / "model")
    assert Extractor.from_pretrained(tmp_path / "model", device="cpu")(REAL[0]).warnings == ()
    familiar.save(tmp_path / "model" / "ner")
    extractor = Extractor.from_pretrained(tmp_path / "model", device="cpu")
    result = extractor(REAL[0])
    assert len(result.warnings) == 1 and "Merkel" in result.warnings[0]
    assert result.to_dict()["warnings"] == list(result.warnings) and "Merkel, " in result._repr_html_()
    own = extractor(tokens=list(drawn["train"][0]))
    assert own.warnings == () and own.to_dict()["warnings"] == []
    words = ["extract", "--model", str(tmp_path / "model")]
    assert main([*words, "--text", REAL[0]]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["warnings"] == list(result.warnings) and result.warnings[0] in err
    lines = [{"text": REAL[0]}, {"tokens": drawn["train"][0]}]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for suffix in ("jsonl", "csv", "parquet"):
        assert main([*words, "--input", str(tmp_path / "posts.jsonl"), "--out", str(tmp_path / f"out.{suffix}")]) == 0
        assert "with a warning (warnings in the output): 1 of 2 posts" in capsys.readouterr().err
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [len(line["warnings"]) for line in written] == [1, 0]
    assert main(["check", str(tmp_path / "out.jsonl"), "--format", "posts"]) == 0, "what comes out goes in again"
    # what lies in the folder of both models is of both
    Familiarity.of([text.split() for text in REAL] * 2, drawn["dev"]).save(tmp_path / "model")  # type: ignore[union-attr]
    assert Extractor.from_pretrained(tmp_path / "model", device="cpu")(REAL[0]).warnings == ()
    assert read_json_document(tmp_path / "model" / FILE)["words"]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **how: str(tmp_path / "model"))
    assert Extractor.from_pretrained("someone/something", device="cpu")(REAL[0]).warnings == (), "of the hub too"
