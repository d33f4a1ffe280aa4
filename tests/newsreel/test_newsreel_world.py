"""The drawn world: its relations, its words, its names and its images."""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement

import pytest
from PIL import ImageChops
from tests.newsreel.shown import relation_of

from promu.newsreel import WORLD, Scene, draw_scene
from promu.newsreel.country import COUNTRY
from promu.newsreel.drawing import BACKGROUNDS
from promu.newsreel.lexicon import generator
from promu.newsreel.scenes import SceneMaker
from promu.newsreel.texts import PostWriter, WrittenPost, name_pools, ner_upper_bound, re_upper_bound, tidy
from promu.schema import NO_RELATION, Entity

NAMES = sorted(WORLD.kind)


@pytest.mark.parametrize(
    ("kinds", "label"),
    [
        (("woman", "man", "heart"), "/per/per/couple"),
        (("ring", "man", "man"), "/per/per/couple"),
        (("woman", "man"), NO_RELATION),
        (("player", "player"), "/per/per/peer"),
        (("ball", "player", "player"), "/per/per/peer"),
        (("man", "child"), "/per/per/parent"),
        (("trophy", "soldier"), "/per/misc/awarded"),
        (("player", "jersey"), "/per/org/member_of"),
        (("castle", "woman"), "/per/loc/place_of_residence"),
        (("woman", "mountain"), "/per/loc/visited"),
        (("man", "guitar"), "/per/misc/performs"),
        (("child", "dog"), "/per/misc/owner"),
        (("flag", "bridge"), "/org/loc/located_in"),
        (("car", "mountain"), "/misc/loc/held_on"),
        (("crest", "crest"), "/org/org/subsidiary"),
        (("tower", "castle"), "/loc/loc/contain"),
        (("man", "car"), NO_RELATION),
        (("dog", "ball"), NO_RELATION),
        (("woman",), NO_RELATION),
    ],
)
def test_the_things_of_a_image_decide_its_relation(kinds: tuple[str, ...], label: str) -> None:
    assert relation_of(WORLD, kinds) == label
    assert relation_of(WORLD, kinds[::-1]) == label


def test_no_image_shows_two_relations() -> None:
    for size in (1, 2, 3):
        for kinds in combinations_with_replacement(NAMES, size):
            shown = [relation.label for relation in WORLD.relations if relation.shown_by(kinds)]
            assert len(shown) <= 1, (kinds, shown)


def test_scenes_show_the_relation_they_are_told_to() -> None:
    maker = SceneMaker(WORLD, generator(0, "test"))
    for label in WORLD.labels:
        for _ in range(60):
            scene = maker.pair(label)
            assert scene.relation == label == relation_of(WORLD, scene.main)
            assert 2 <= len(scene.main) <= 3
    scenes = [maker.any() for _ in range(3000)]
    assert all(scene.relation == relation_of(WORLD, scene.main) for scene in scenes)
    assert Counter(len(scene.main) == 1 for scene in scenes)[True] / 3000 == pytest.approx(0.40, abs=0.04)
    assert sum(scene.relation != NO_RELATION for scene in scenes) / 3000 == pytest.approx(0.45, abs=0.04)


def test_a_scene_of_impossible_types_is_refused() -> None:
    with pytest.raises(ValueError, match="head of type LOC and a tail of type PER"):
        SceneMaker(WORLD, generator(0, "test")).pair_of_types("LOC", "PER")


def test_label_types_are_the_types_of_the_things() -> None:
    for relation in WORLD.relations:
        _, head, tail, _ = relation.label.split("/")
        assert {WORLD.kind[kind].type.lower() for kind in relation.heads} == {head}
        assert {WORLD.kind[kind].type.lower() for kind in relation.tails} == {tail}


def test_every_kind_and_setting_can_be_drawn() -> None:
    for world in (WORLD, COUNTRY):
        assert set(world.kind) == set(world.silhouettes) and all(world.silhouettes.values())
    assert {*WORLD.setting, *COUNTRY.setting} == set(BACKGROUNDS)


def test_a_noun_names_one_kind_only() -> None:
    told = [noun for kind in WORLD.kinds for noun in kind.nouns]
    told += [noun for setting in WORLD.settings for noun in setting.nouns]
    assert len(told) == len(set(told))
    phrases = {word for relation in WORLD.relations for phrase in relation.phrases for word in phrase.split()}
    extras = {word for extra in (*WORLD.extras, *WORLD.caption_frames) for word in extra.split()}
    kinds = {noun for kind in WORLD.kinds for noun in kind.nouns}
    assert not kinds & (phrases | extras | set(WORLD.distractors))


def test_candidates_are_worded_unlike_labels_and_phrases() -> None:
    labels = {label.rsplit("/", 1)[-1].replace("_", " ") for label in WORLD.labels}
    phrases = {phrase for relation in WORLD.relations for phrase in relation.phrases}
    assert not set(WORLD.candidates) & (labels | phrases)
    assert len(WORLD.candidates) == len(set(WORLD.candidates)) >= 40


def test_there_is_enough_to_say() -> None:
    assert len(WORLD.kinds) >= 20
    assert len(WORLD.relations) >= 12
    assert len(WORLD.caption_frames) >= 25
    assert min(len(WORLD.open_solo), len(WORLD.open_pair)) >= 12
    assert min(len(templates) for templates in WORLD.type_posts.values()) >= 4
    assert min(len(relation.posts) for relation in WORLD.relations) >= 2 <= len(WORLD.unrelated_posts)


def test_ambiguous_templates_hold_no_word_that_tells_a_kind_or_a_relation() -> None:
    nouns = {noun for kind in WORLD.kinds for noun in kind.nouns}
    surroundings = (*WORLD.open_solo, *WORLD.open_pair, *WORLD.prefixes, *WORLD.suffixes)
    assert not nouns & {word.lower() for template in surroundings for word in template.split()}
    decided = {template for relation in WORLD.relations for template in relation.posts}
    decided |= {template for templates in WORLD.type_posts.values() for template in templates}
    assert not decided & {*WORLD.open_solo, *WORLD.open_pair}


def test_name_words_of_the_splits_are_disjoint_and_depend_on_the_seed_alone() -> None:
    pools = name_pools(3, frozenset(WORLD.words()))
    words = [word for pool in pools.values() for word in pool]
    assert len(words) == len({word.lower() for word in words})
    assert not {word.lower() for word in words} & WORLD.words()
    assert pools == name_pools(3, frozenset(WORLD.words()))
    assert pools != name_pools(4, frozenset(WORLD.words()))


@pytest.mark.parametrize("size", [32, 48, 130])
@pytest.mark.parametrize("kind", NAMES)
def test_boxes_lie_inside_the_image_and_hold_the_thing(kind: str, size: int) -> None:
    scene = Scene("snow", (kind,), None, NO_RELATION)
    image, (thing,) = draw_scene(scene, WORLD, generator(1, kind), size, noise=0.0)
    assert image.size == (size, size)
    x, y, width, height = thing.box
    assert 0 <= x < x + width <= size
    assert 0 <= y < y + height <= size
    assert 0.3 * size <= max(width, height) <= 0.85 * size
    # The same chance with another kind draws the same background, so the difference is the thing itself.
    other, _ = draw_scene(Scene("snow", ("ball",), None, NO_RELATION), WORLD, generator(1, kind), size, noise=0.0)
    if kind != "ball":
        changed = ImageChops.difference(image, other).crop((x, y, x + width, y + height)).getbbox()
        assert changed is not None


def test_the_main_thing_is_the_largest() -> None:
    maker, rng = SceneMaker(WORLD, generator(5, "scenes")), generator(5, "images")
    scenes = [scene for scene in (maker.solo("guitar") for _ in range(120)) if scene.clutter]
    assert scenes
    for scene in scenes:
        _, things = draw_scene(scene, WORLD, rng)
        assert max(things, key=lambda thing: thing.box[2] * thing.box[3]).kind == "guitar"


def test_ambiguous_posts_look_the_same_for_every_label() -> None:
    """Over many posts every open template occurs with every type and with every relation."""
    writer = PostWriter(WORLD, generator(0, "many"), name_pools(0)["train"], unrelated=0.15)
    solo: dict[str, Counter[str]] = {}
    pair: dict[str, Counter[str]] = {}
    first: Counter[str] = Counter()
    for _ in range(3000):
        post = writer.ner_post(decided=False)
        first[str(post.entities[0].type)] += 1
        if len(post.entities) == 1:
            solo.setdefault(post.template, Counter())[str(post.entities[0].type)] += 1
        else:
            assert post.entities[0].start < post.entities[1].start
        related = writer.re_post(decided=False)
        assert related.entities[0].start < related.entities[1].start
        pair.setdefault(related.template, Counter())[related.relation] += 1
    assert set(solo) == set(WORLD.open_solo)
    assert set(pair) == set(WORLD.open_pair)
    assert all(set(counts) == set(WORLD.types) for counts in solo.values())
    assert all(set(counts) == set(WORLD.labels) for counts in pair.values())
    assert max(first.values()) / first.total() < 0.35
    assert max(sum(pair.values(), Counter()).values()) / 3000 < 0.10


def test_decided_posts_come_from_templates_of_their_own_label() -> None:
    writer = PostWriter(WORLD, generator(0, "many"), name_pools(0)["train"], unrelated=0.15)
    of_label = {relation.label: relation.posts for relation in WORLD.relations} | {NO_RELATION: WORLD.unrelated_posts}
    posts = [writer.re_post(decided=True) for _ in range(800)]
    assert all(post.template in of_label[post.relation] for post in posts)
    unrelated = sum(post.image.relation != post.relation for post in posts) / len(posts)
    assert unrelated == pytest.approx(0.15, abs=0.05)
    for post in (writer.ner_post(decided=True) for _ in range(400)):
        if len(post.entities) == 1:
            assert post.template in WORLD.type_posts[str(post.entities[0].type)]
    assert any(post.entities[1].start < post.entities[0].start for post in posts)


def _post(kind: str, relation: str, decided: bool, template: str = "{X}") -> WrittenPost:
    scene = Scene("sea", ("man",), None, relation)
    return WrittenPost(("Zor",), (Entity(0, 1, kind),), relation, decided, template, scene)


def test_text_only_upper_bound_counts_decided_posts_as_right_and_guesses_the_rest() -> None:
    read = [_post("PER", "a", False)] * 3 + [_post("LOC", "b", False)]
    test = [_post("ORG", "c", True)] * 2 + [_post("PER", "a", False), _post("LOC", "b", False)]
    assert ner_upper_bound(test, read) == pytest.approx(75.0)
    # Answering "a" twice: one right of two, beside two sure ones: P = R = 3/4.
    assert re_upper_bound(test, read) == pytest.approx(75.0)
    assert ner_upper_bound([], []) == re_upper_bound([], []) == 0.0


def test_text_only_upper_bound_answers_none_where_a_guess_would_cost_more_than_it_gives() -> None:
    many = [_post("PER", label, False) for label in "abcdefghij"] + [_post("PER", "z", True)] * 10
    # All 10 sure posts right, no answer elsewhere: P = 1, R = 1/2, F1 = 2/3.
    assert re_upper_bound(many, many) == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("messy", "clean"),
    [("a  b", "a b"), (", a , , b ,", "a , b"), ("a , .", "a ."), ("a , : b", "a , b"), ("", "")],
)
def test_tidy_removes_what_empty_slots_leave(messy: str, clean: str) -> None:
    assert tidy(messy) == clean
