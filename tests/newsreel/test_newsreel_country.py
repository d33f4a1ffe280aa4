"""The second drawn world: nothing of the first is in it, and it is as legal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from promu.corpora.conll import read_conll
from promu.corpora.mnre import read_mnre
from promu.errors import InputError
from promu.newsreel import WORLD, WORLDS, NewsreelSettings, write_newsreel
from promu.newsreel.country import COUNTRY
from promu.newsreel.lexicon import generator
from promu.newsreel.scenes import SceneMaker

FEW = NewsreelSettings(seed=7, pairs=40, ner_posts=(30, 10, 10), re_posts=(40, 10, 10))


def test_the_two_worlds_share_no_kind_no_noun_of_a_kind_and_no_way_of_writing() -> None:
    assert list(WORLDS) == ["news", "country"]
    assert not WORLD.kind.keys() & COUNTRY.kind.keys()
    nouns = [{noun for kind in world.kinds for noun in kind.nouns} for world in (WORLD, COUNTRY)]
    assert not nouns[0] & nouns[1]
    for part in ("caption_frames", "open_solo", "open_pair", "extras", "unrelated_posts", "candidates"):
        assert not set(getattr(WORLD, part)) & set(getattr(COUNTRY, part)), part
    phrases = [{phrase for one in world.arrangements for phrase in one.phrases} for world in (WORLD, COUNTRY)]
    assert not phrases[0] & phrases[1]
    assert {setting.name for setting in WORLD.settings}.isdisjoint(setting.name for setting in COUNTRY.settings)
    assert set(COUNTRY.labels) == set(WORLD.labels), "the same questions are asked in both"


def test_a_noun_names_one_kind_only() -> None:
    told = [noun for kind in COUNTRY.kinds for noun in kind.nouns]
    told += [noun for setting in COUNTRY.settings for noun in setting.nouns]
    assert len(told) == len(set(told))
    phrases = {word for phrase in COUNTRY.pair_phrases for word in phrase.split()}
    said = {word for text in (*COUNTRY.extras, *COUNTRY.caption_frames) for word in text.split()}
    assert not {noun for kind in COUNTRY.kinds for noun in kind.nouns} & (phrases | said | set(COUNTRY.distractors))


def test_ambiguous_posts_tell_no_kind() -> None:
    nouns = {noun for kind in COUNTRY.kinds for noun in kind.nouns}
    surroundings = (*COUNTRY.open_solo, *COUNTRY.open_pair, *COUNTRY.prefixes, *COUNTRY.suffixes)
    assert not nouns & {word.lower() for template in surroundings for word in template.split()}


def test_an_arrangement_means_another_relation_than_in_the_news() -> None:
    shown = {(rule.label.rsplit("/", 1)[0], name): rule.label for rule in WORLD.relations for name in rule.arrangements}
    for rule in COUNTRY.relations:
        for name in rule.arrangements:
            assert shown.get((rule.label.rsplit("/", 1)[0], name)) != rule.label
    maker, order = SceneMaker(COUNTRY, generator(0, "test")), list(COUNTRY.types)
    for first, head in enumerate(order):
        for tail in order[first:]:
            assert len(maker.pair_of_types(head, tail).main) == 2


def test_label_types_are_the_types_of_the_things() -> None:
    for relation in COUNTRY.relations:
        _, head, tail, _ = relation.label.split("/")
        assert {COUNTRY.kind[kind].type.lower() for kind in relation.heads} == {head}
        assert {COUNTRY.kind[kind].type.lower() for kind in relation.tails} == {tail}


def test_it_is_written_in_the_same_formats_and_is_not_taken_for_the_news(tmp_path: Path) -> None:
    folder = write_newsreel(tmp_path / "country", FEW, world=COUNTRY).path
    assert json.loads((folder / "newsreel.json").read_text(encoding="utf-8"))["world"] == "country"
    assert len(read_conll(folder / "ner" / "train.txt")) == 30
    relations = Counter(post.relations[0].type for post in read_mnre(folder / "re" / "mnre_train.txt"))
    assert relations.keys() <= set(COUNTRY.labels) and len(relations) > 5
    assert write_newsreel(folder, FEW, world=COUNTRY).reused
    with pytest.raises(InputError, match="holds a drawn corpus of other settings"):
        write_newsreel(folder, FEW)
