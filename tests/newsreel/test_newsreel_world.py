"""The drawn world: its relations, its words, its names and its images."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from PIL import ImageChops

from promu.newsreel import WORLD, WORLDS, Scene, draw_scene
from promu.newsreel.country import COUNTRY
from promu.newsreel.drawing import BACKGROUNDS
from promu.newsreel.lexicon import World, generator
from promu.newsreel.placing import ARRANGEMENTS, Box, Layout, lay_out
from promu.newsreel.scenes import SceneMaker
from promu.newsreel.texts import PostWriter, name_pools, tidy
from promu.schema import NO_RELATION

NAMES = sorted(WORLD.kind)


@pytest.mark.parametrize(
    ("head", "tail", "arrangement", "label"),
    [
        ("woman", "man", "touching", "/per/per/couple"),
        ("woman", "man", "cheering", "/per/per/peer"),
        ("woman", "man", "towering", "/per/per/parent"),
        ("woman", "man", "apart", NO_RELATION),
        ("woman", "man", "matching", NO_RELATION),
        ("child", "dog", "on a cord", "/per/misc/owner"),
        ("child", "dog", "held", "/per/misc/performs"),
        ("child", "dog", "raised", "/per/misc/awarded"),
        ("child", "dog", "distant", NO_RELATION),
        ("player", "castle", "inside", "/per/loc/place_of_residence"),
        ("player", "castle", "distant", "/per/loc/visited"),
        ("soldier", "flag", "worn", "/per/org/member_of"),
        ("soldier", "flag", "raised", NO_RELATION),
        ("flag", "bridge", "on top", "/org/loc/located_in"),
        ("car", "bridge", "inside", "/misc/loc/held_on"),
        ("car", "bridge", "on top", NO_RELATION),
        ("crest", "crest", "matching", "/org/org/subsidiary"),
        ("tower", "castle", "surrounding", "/loc/loc/contain"),
        ("dog", "ball", "held", NO_RELATION),
    ],
)
def test_kinds_and_arrangement_together_decide_the_relation(head: str, tail: str, arrangement: str, label: str) -> None:
    assert WORLD.shown(head, tail, arrangement) == label


def labels_by_kinds(world: World) -> dict[tuple[str, ...], set[str]]:
    """The relations in which two kinds can stand in a world, by the kinds."""
    found: dict[tuple[str, ...], set[str]] = {}
    for rule in world.relations:
        for head, tail in product(rule.heads, rule.tails):
            found.setdefault(tuple(sorted((head, tail))), set()).add(rule.label)
    for heads, tails, _ in world.unrelated:
        for head, tail in product(heads, tails):
            found.setdefault(tuple(sorted((head, tail))), set())
    return found


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_half_of_the_pairs_of_kinds_stand_in_several_relations(world: World) -> None:
    found = labels_by_kinds(world)
    assert sum(len(labels) > 1 for labels in found.values()) >= len(found) / 2
    unrelated = {tuple(sorted(pair)) for heads, tails, _ in world.unrelated for pair in product(heads, tails)}
    assert set(found) == unrelated, "and all of them in none"


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_no_image_shows_two_relations_and_every_scene_shows_its_own(world: World) -> None:
    for head, tail in product(world.kind, world.kind):
        for arrangement in world.arrangement:
            shown = [rule.label for rule in world.relations if rule.shown_by(head, tail, arrangement)]
            assert len(shown) <= 1, (head, tail, arrangement, shown)
    maker = SceneMaker(world, generator(0, "test"))
    for label in world.labels:
        for _ in range(60):
            scene = maker.pair(label)
            head, tail = scene.main
            assert scene.relation == label == world.shown(head, tail, str(scene.arrangement))
    scenes = [maker.any() for _ in range(3000)]
    assert Counter(len(scene.main) == 1 for scene in scenes)[True] / 3000 == pytest.approx(0.25, abs=0.04)
    assert sum(scene.relation != NO_RELATION for scene in scenes) / 3000 == pytest.approx(0.50, abs=0.04)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_every_arrangement_is_drawn_in_its_own_way_and_said_in_its_own_words(world: World) -> None:
    assert set(world.arrangement) <= set(ARRANGEMENTS)
    used = {name for rule in world.relations for name in rule.arrangements}
    used |= {name for _, _, names in world.unrelated for name in names}
    assert used == set(world.arrangement)
    assert len(world.pair_phrases) == len(set(world.pair_phrases))


def placed(arrangement: str, world: World, number: int) -> Layout:
    main = ("man", "car") if world is WORLD else ("nurse", "bicycle")
    return lay_out(Scene("", main, None, NO_RELATION, arrangement), world, generator(number, arrangement))


@pytest.mark.parametrize("number", range(8))
def test_what_an_arrangement_is_called_is_where_its_things_stand(number: int) -> None:
    def area(box: Box) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    def boxes(name: str) -> tuple[Box, Box]:
        head, tail = placed(name, WORLD, number).boxes
        assert all(-0.05 <= edge <= 1.05 for box in (head, tail) for edge in box), name
        return head, tail

    for name in ("apart", "matching", "cheering", "distant", "on a cord"):
        head, tail = boxes(name)
        assert head[2] <= tail[0] or tail[2] <= head[0], name
    for name in ("touching", "held", "worn"):
        head, tail = boxes(name)
        assert max(head[0], tail[0]) < min(head[2], tail[2]) and max(head[1], tail[1]) < min(head[3], tail[3]), name
    for name in ("raised", "on shoulders"):
        head, tail = boxes(name)
        assert tail[3] < head[1] + 0.1 and tail[0] < (head[0] + head[2]) / 2 < tail[2], name
    head, tail = boxes("on top")
    assert head[3] < tail[1] + 0.1 and tail[0] < (head[0] + head[2]) / 2 < tail[2]
    head, tail = boxes("inside")
    assert tail[0] < (head[0] + head[2]) / 2 < tail[2] and head[1] > tail[1] - 0.3 and tail[2] - tail[0] > 0.6
    head, tail = boxes("distant")
    assert tail[3] < head[3] - 0.2 and area(head) > 2 * area(tail)
    head, tail = boxes("towering")
    assert head[3] - head[1] > 2 * (tail[3] - tail[1]) and head[3] == pytest.approx(tail[3], abs=0.02)
    assert len(placed("cheering", WORLD, number).arms) == 4 and len(placed("raised", WORLD, number).arms) == 2
    assert placed("on a cord", WORLD, number).cords and placed("matching", WORLD, number).matching
    assert not placed("apart", WORLD, number).arms and not placed("apart", WORLD, number).matching


def test_two_of_one_kind_have_one_colour_only_where_they_match() -> None:
    def colours(arrangement: str) -> float:
        """Mean difference of the two boxes' mean colours."""
        scene, differences = Scene("snow", ("flag", "flag"), None, NO_RELATION, arrangement), []
        for number in range(6):
            image, things = draw_scene(scene, WORLD, generator(number, arrangement), 48, noise=0.0)
            means = []
            for thing in things:
                x, y, width, height = thing.box
                means.append(np.asarray(image.crop((x, y, x + width, y + height))).mean((0, 1)))
            differences.append(float(np.abs(means[0] - means[1]).mean()))
        return sum(differences) / len(differences)

    assert colours("apart") > 2 * colours("matching")


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
    phrases = {word for phrase in WORLD.pair_phrases for word in phrase.split()}
    extras = {word for extra in (*WORLD.extras, *WORLD.caption_frames) for word in extra.split()}
    kinds = {noun for kind in WORLD.kinds for noun in kind.nouns}
    assert not kinds & (phrases | extras | set(WORLD.distractors))


SAYS_A_LABEL = {
    "couple": "couple spouse marriage wedded engaged beloved love promise husband wife partner",
    "peer": "peer colleague opponent rival team mate training troupe fellow twin",
    "parent": "parent offspring relative child family mother father sibling cradle",
    "awarded": "awarded award prize honour medal victory ribbon won",
    "member_of": "member employer club society association sports belongs volunteer dues",
    "place_of_residence": "residence place home address dwelling inhabitant lives farmhouse nest",
    "visited": "visited visit destination trip tourist attraction travel excursion sightseeing guest ferry",
    "performs": "performs performer instrument recital repertoire musician percussion",
    "owner": "owner owned pet keeper guardian livestock",
    "located_in": "located location headquarters office branch based seat institution registered archive",
    "held_on": "held event venue race route contest festival gala",
    "subsidiary": "subsidiary company stake merger division business affiliate",
    "contain": "contain contains territory district border capital region land part",
}
"""For each label its own words and those of people who mean the same; a candidate with one of them says the label."""


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_candidates_are_a_broad_list_of_which_at_most_one_in_five_says_a_label(world: World) -> None:
    assert {label.rsplit("/", 1)[-1] for label in world.labels} - {NO_RELATION} == set(SAYS_A_LABEL)
    telling = {word for words in SAYS_A_LABEL.values() for word in words.split()}
    says = [one for one in world.candidates if telling & set(one.split())]
    assert len(says) <= len(world.candidates) / 5, says
    assert 60 <= len(world.candidates) == len(set(world.candidates)) <= 100
    assert not set(world.candidates) & set(world.pair_phrases)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_candidates_share_words_with_what_captions_say_of_arrangements(world: World) -> None:
    """So L_CIR can learn how things stand, from words that are no label's."""
    said = [{word for phrase in one.phrases for word in phrase.split()} for one in world.arrangements]
    words = {word for candidate in world.candidates for word in candidate.split()}
    without = [one.name for one, said_of in zip(world.arrangements, said, strict=True) if not words & said_of]
    assert without == []


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
    assert max(count for label, count in sum(pair.values(), Counter()).items() if label != NO_RELATION) / 3000 < 0.10


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


@pytest.mark.parametrize(
    ("messy", "clean"),
    [("a  b", "a b"), (", a , , b ,", "a , b"), ("a , .", "a ."), ("a , : b", "a , b"), ("", "")],
)
def test_tidy_removes_what_empty_slots_leave(messy: str, clean: str) -> None:
    assert tidy(messy) == clean
