"""The default drawn world: news of people, clubs, places and things."""

from __future__ import annotations

from promu.corpora.newsreel.lexicon import Kind, RelationKind, Setting, World
from promu.corpora.newsreel.sentences import (
    CANDIDATES,
    CAPTION_FRAMES,
    DISTRACTORS,
    EXTRAS,
    OPEN_PAIR,
    OPEN_SOLO,
    PREFIXES,
    SUFFIXES,
    TYPE_POSTS,
    UNRELATED_POSTS,
)

ADULTS = ("woman", "man")
PERSONS = ("woman", "man", "child", "player", "soldier")
ORGS = ("crest", "jersey", "flag")
PLACES = ("tower", "mountain", "bridge", "castle")

# The order of the types is the order of mention: PER, ORG, MISC, LOC, as in the relation labels.
KINDS = (
    Kind("woman", "PER", ("woman", "lady"), (205, 60, 150), 0.52),
    Kind("man", "PER", ("man", "gentleman"), (60, 80, 165), 0.46),
    Kind("child", "PER", ("child", "kid", "toddler"), (245, 165, 45), 0.66),
    Kind("player", "PER", ("player", "athlete", "striker"), (225, 40, 40), 0.60),
    Kind("soldier", "PER", ("soldier", "trooper"), (85, 110, 50), 0.50),
    Kind("crest", "ORG", ("crest", "emblem", "badge"), (105, 50, 180), 0.85),
    Kind("jersey", "ORG", ("jersey", "shirt"), (30, 180, 195), 1.10),
    Kind("flag", "ORG", ("flag", "banner"), (235, 95, 40), 1.05),
    Kind("trophy", "MISC", ("trophy", "cup"), (235, 190, 45), 0.82),
    Kind("medal", "MISC", ("medal", "medallion"), (205, 205, 215), 0.62),
    Kind("ring", "MISC", ("ring", "jewel"), (240, 195, 70), 0.80),
    Kind("heart", "MISC", ("heart", "valentine"), (230, 40, 85), 1.05),
    Kind("guitar", "MISC", ("guitar", "ukulele"), (225, 130, 20), 0.45),
    Kind("ball", "MISC", ("ball", "football"), (240, 240, 240), 1.0),
    Kind("book", "MISC", ("book", "novel"), (35, 125, 100), 1.35),
    Kind("ship", "MISC", ("ship", "boat", "vessel"), (135, 40, 50), 1.1),
    Kind("car", "MISC", ("car", "automobile", "vehicle"), (55, 125, 225), 1.9),
    Kind("dog", "MISC", ("dog", "hound", "puppy"), (150, 85, 25), 1.25),
    Kind("cat", "MISC", ("cat", "kitten"), (50, 45, 65), 0.78),
    Kind("tower", "LOC", ("tower", "spire"), (70, 160, 150), 0.48),
    Kind("mountain", "LOC", ("mountain", "peak"), (105, 95, 125), 1.45),
    Kind("bridge", "LOC", ("bridge", "viaduct"), (150, 190, 50), 1.8),
    Kind("castle", "LOC", ("castle", "fortress"), (200, 175, 115), 1.1),
)

SETTINGS = (
    Setting("field", ("field", "meadow", "lawn"), ("on a green field", "in the meadow", "out on the lawn")),
    Setting("sea", ("sea", "ocean", "coast"), ("by the sea", "near the ocean", "on the coast")),
    Setting("night", ("night", "darkness", "moonlight"), ("late at night", "in the darkness", "under the moonlight")),
    Setting("street", ("street", "road", "avenue"), ("on a city street", "beside the road", "located on the avenue")),
    Setting("stage", ("stage", "spotlight", "theatre"), ("on the stage", "in the spotlight", "at the theatre")),
    Setting("snow", ("snow", "frost", "winter"), ("on a morning of snow", "in the frost", "in deep winter")),
)

RELATIONS = (
    RelationKind(
        "/per/per/couple",
        ADULTS,
        ADULTS,
        evidence=("heart", "ring"),
        phrases=(
            "ties the knot with",
            "makes a marriage vow to",
            "is the new spouse of",
            "dances as life partner with",
            "is engaged to",
        ),
        posts=(
            "{H} and {T} are finally married",
            "wedding bells for {H} and {T}",
        ),
    ),
    RelationKind(
        "/per/per/peer",
        ("player",),
        ("player",),
        evidence=("ball",),
        evidence_optional=True,
        phrases=(
            "plays alongside colleague",
            "faces the opponent",
            "passes to team mate",
            "shares a training drill with",
            "challenges the rival",
        ),
        posts=(
            "{H} passes to {T} and scores",
            "{H} and {T} up front , what a duo",
        ),
    ),
    RelationKind(
        "/per/per/parent",
        ADULTS,
        ("child",),
        phrases=(
            "is the proud parent of",
            "brings up the offspring",
            "is the closest relative of",
            "spends a family day with",
            "tells a bedtime story to",
        ),
        posts=(
            "{H} picks up little {T} from school",
            "{T} is so like his mum {H}",
        ),
    ),
    RelationKind(
        "/per/misc/awarded",
        PERSONS,
        ("trophy", "medal"),
        phrases=("is honoured with", "received the award", "wins the prize", "celebrates victory with", "takes home"),
        posts=(
            "{H} wins the {T}",
            "the {T} award goes to {H}",
        ),
    ),
    RelationKind(
        "/per/org/member_of",
        PERSONS,
        ("jersey", "crest"),
        phrases=(
            "signs for",
            "joins the sports team",
            "is a new member of",
            "announces an employer change to",
            "represents the club",
        ),
        posts=(
            "{H} signs a two year deal with {T}",
            "{T} sign {H} on a free transfer",
        ),
    ),
    RelationKind(
        "/per/loc/place_of_residence",
        PERSONS,
        ("castle",),
        phrases=(
            "lives at the home address",
            "moves into the dwelling",
            "is an inhabitant of",
            "settles down at",
            "keeps the keys of",
        ),
        posts=(
            "{H} lives in {T} now",
            "{H} bought a house in {T}",
        ),
    ),
    RelationKind(
        "/per/loc/visited",
        PERSONS,
        ("mountain", "tower"),
        phrases=(
            "travels to the destination",
            "takes a long trip to",
            "is a tourist at the attraction",
            "climbs",
            "admires the view of",
        ),
        posts=(
            "{H} is on holiday in {T}",
            "{H} flew to {T} for the weekend",
        ),
    ),
    RelationKind(
        "/per/misc/performs",
        PERSONS,
        ("guitar", "book"),
        phrases=(
            "gives a recital with",
            "entertains with the instrument",
            "is the performer of",
            "adds to the repertoire",
            "rehearses with",
        ),
        posts=(
            "{H} sings {T} live",
            "{H} performed {T} for the first time",
        ),
    ),
    RelationKind(
        "/per/misc/owner",
        PERSONS,
        ("dog", "cat"),
        phrases=("adopts the pet", "is the keeper of", "feeds", "cuddles", "is the guardian of"),
        posts=(
            "{H} adopted {T} from the shelter",
            "{H} takes {T} to the vet",
        ),
    ),
    RelationKind(
        "/org/loc/located_in",
        ("crest", "flag"),
        ("tower", "bridge"),
        phrases=(
            "has its headquarters at",
            "moves the office to",
            "opens a branch in",
            "is based at",
            "rents a location near",
        ),
        posts=(
            "{H} opens its head office in {T}",
            "{H} , based in {T} , is hiring",
        ),
    ),
    RelationKind(
        "/misc/loc/held_on",
        ("ship", "car"),
        ("bridge", "mountain"),
        phrases=(
            "joins the race at",
            "is the main event at",
            "finds a venue at",
            "follows the route over",
            "draws spectators to",
        ),
        posts=(
            "{H} takes place in {T} this year",
            "{H} will be held at {T}",
        ),
    ),
    RelationKind(
        "/org/org/subsidiary",
        ORGS,
        ORGS,
        phrases=(
            "buys a company stake in",
            "announces a merger with",
            "sets up a business division with",
            "takes control of",
            "signs a contract with",
        ),
        posts=(
            "{H} buys {T} for two billion",
            "{T} is now owned by {H}",
        ),
    ),
    RelationKind(
        "/loc/loc/contain",
        PLACES,
        PLACES,
        phrases=(
            "shares a border with",
            "lies in the territory of",
            "is part of the district",
            "overlooks",
            "stands across from",
        ),
        posts=(
            "{T} is a town in {H}",
            "{H} , and its capital {T}",
        ),
    ),
)

UNRELATED = (
    (ADULTS, ADULTS),
    (ADULTS, ("soldier", "player")),
    (("soldier",), ("soldier", "child", "player")),
    (PERSONS, ("flag",)),
    (PERSONS, ("car", "ship")),
    (PERSONS, ("ball", "heart", "ring")),
    (PERSONS, ("bridge",)),
    (ORGS, ("guitar", "ball", "car", "book", "cat", "trophy")),
    (("jersey",), PLACES),
    (("crest", "flag"), ("mountain", "castle")),
    (("dog", "cat"), ("ball", "book", "car", "ring")),
    (("guitar", "trophy", "medal"), ("heart", "ship", "ball", "car")),
    (("guitar", "ball", "dog", "cat", "book", "medal"), PLACES),
    (("ship", "car"), ("tower", "castle")),
)

WORLD = World(
    kinds=KINDS,
    settings=SETTINGS,
    relations=RELATIONS,
    unrelated=UNRELATED,
    candidates=CANDIDATES,
    distractors=DISTRACTORS,
    extras=EXTRAS,
    caption_frames=CAPTION_FRAMES,
    type_posts=TYPE_POSTS,
    unrelated_posts=UNRELATED_POSTS,
    open_solo=OPEN_SOLO,
    open_pair=OPEN_PAIR,
    prefixes=PREFIXES,
    suffixes=SUFFIXES,
)
"""The default world."""
