"""The default drawn world: news of people, clubs, places and things."""

from __future__ import annotations

from promu.newsreel.lexicon import Kind, RelationKind, Setting, World, listed, read_silhouettes

ADULTS = ("woman", "man")
PERSONS = ("woman", "man", "child", "player", "soldier")
ORGS = ("crest", "jersey", "flag")
PLACES = ("tower", "mountain", "bridge", "castle")

WORLD = World(
    name="news",
    # The order of the types is the order of mention: PER, ORG, MISC, LOC, as in the relation labels.
    kinds=(
        Kind("woman", "PER", ("woman", "lady"), (205, 60, 150), 0.52),
        Kind("man", "PER", ("man", "gentleman"), (60, 80, 165), 0.46),
        Kind("child", "PER", ("child", "kid", "toddler"), (245, 165, 45), 0.66),
        Kind("player", "PER", ("player", "athlete", "striker"), (225, 40, 40), 0.6),
        Kind("soldier", "PER", ("soldier", "trooper"), (85, 110, 50), 0.5),
        Kind("crest", "ORG", ("crest", "emblem", "badge"), (105, 50, 180), 0.85),
        Kind("jersey", "ORG", ("jersey", "shirt"), (30, 180, 195), 1.1),
        Kind("flag", "ORG", ("flag", "banner"), (235, 95, 40), 1.05),
        Kind("trophy", "MISC", ("trophy", "cup"), (235, 190, 45), 0.82),
        Kind("medal", "MISC", ("medal", "medallion"), (205, 205, 215), 0.62),
        Kind("ring", "MISC", ("ring", "jewel"), (240, 195, 70), 0.8),
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
    ),
    settings=(
        Setting("field", ("field", "meadow", "lawn"), ("on a green field", "in the meadow", "out on the lawn")),
        Setting("sea", ("sea", "ocean", "coast"), ("by the sea", "near the ocean", "on the coast")),
        Setting(
            "night", ("night", "darkness", "moonlight"), ("late at night", "in the darkness", "under the moonlight")
        ),
        Setting(
            "street", ("street", "road", "avenue"), ("on a city street", "beside the road", "located on the avenue")
        ),
        Setting("stage", ("stage", "spotlight", "theatre"), ("on the stage", "in the spotlight", "at the theatre")),
        Setting("snow", ("snow", "frost", "winter"), ("on a morning of snow", "in the frost", "in deep winter")),
    ),
    relations=(
        RelationKind(
            "/per/per/couple",
            ADULTS,
            ADULTS,
            evidence=("heart", "ring"),
            phrases=listed("""
                ties the knot with | makes a marriage vow to | is the new spouse of | dances as life partner with |
                is engaged to
            """),
            posts=listed("{H} and {T} are finally married | wedding bells for {H} and {T}"),
        ),
        RelationKind(
            "/per/per/peer",
            ("player",),
            ("player",),
            evidence=("ball",),
            evidence_optional=True,
            phrases=listed("""
                plays alongside colleague | faces the opponent | passes to team mate | shares a training drill with |
                challenges the rival
            """),
            posts=listed("{H} passes to {T} and scores | {H} and {T} up front , what a duo"),
        ),
        RelationKind(
            "/per/per/parent",
            ADULTS,
            ("child",),
            phrases=listed("""
                is the proud parent of | brings up the offspring | is the closest relative of |
                spends a family day with | tells a bedtime story to
            """),
            posts=listed("{H} picks up little {T} from school | {T} is so like his mum {H}"),
        ),
        RelationKind(
            "/per/misc/awarded",
            PERSONS,
            ("trophy", "medal"),
            phrases=listed("""
                is honoured with | received the award | wins the prize | celebrates victory with | takes home
            """),
            posts=listed("{H} wins the {T} | the {T} award goes to {H}"),
        ),
        RelationKind(
            "/per/org/member_of",
            PERSONS,
            ("jersey", "crest"),
            phrases=listed("""
                signs for | joins the sports team | is a new member of | announces an employer change to |
                represents the club
            """),
            posts=listed("{H} signs a two year deal with {T} | {T} sign {H} on a free transfer"),
        ),
        RelationKind(
            "/per/loc/place_of_residence",
            PERSONS,
            ("castle",),
            phrases=listed("""
                lives at the home address | moves into the dwelling | is an inhabitant of | settles down at |
                keeps the keys of
            """),
            posts=listed("{H} lives in {T} now | {H} bought a house in {T}"),
        ),
        RelationKind(
            "/per/loc/visited",
            PERSONS,
            ("mountain", "tower"),
            phrases=listed("""
                travels to the destination | takes a long trip to | is a tourist at the attraction | climbs |
                admires the view of
            """),
            posts=listed("{H} is on holiday in {T} | {H} flew to {T} for the weekend"),
        ),
        RelationKind(
            "/per/misc/performs",
            PERSONS,
            ("guitar", "book"),
            phrases=listed("""
                gives a recital with | entertains with the instrument | is the performer of | adds to the repertoire |
                rehearses with
            """),
            posts=listed("{H} sings {T} live | {H} performed {T} for the first time"),
        ),
        RelationKind(
            "/per/misc/owner",
            PERSONS,
            ("dog", "cat"),
            phrases=listed("adopts the pet | is the keeper of | feeds | cuddles | is the guardian of"),
            posts=listed("{H} adopted {T} from the shelter | {H} takes {T} to the vet"),
        ),
        RelationKind(
            "/org/loc/located_in",
            ("crest", "flag"),
            ("tower", "bridge"),
            phrases=listed("""
                has its headquarters at | moves the office to | opens a branch in | is based at |
                rents a location near
            """),
            posts=listed("{H} opens its head office in {T} | {H} , based in {T} , is hiring"),
        ),
        RelationKind(
            "/misc/loc/held_on",
            ("ship", "car"),
            ("bridge", "mountain"),
            phrases=listed("""
                joins the race at | is the main event at | finds a venue at | follows the route over |
                draws spectators to
            """),
            posts=listed("{H} takes place in {T} this year | {H} will be held at {T}"),
        ),
        RelationKind(
            "/org/org/subsidiary",
            ORGS,
            ORGS,
            phrases=listed("""
                buys a company stake in | announces a merger with | sets up a business division with |
                takes control of | signs a contract with
            """),
            posts=listed("{H} buys {T} for two billion | {T} is now owned by {H}"),
        ),
        RelationKind(
            "/loc/loc/contain",
            PLACES,
            PLACES,
            phrases=listed("""
                shares a border with | lies in the territory of | is part of the district | overlooks |
                stands across from
            """),
            posts=listed("{T} is a town in {H} | {H} , and its capital {T}"),
        ),
    ),
    unrelated=(
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
    ),
    candidates=listed("""
        spouse | partner in marriage | colleague | opponent in training | offspring | relative in family |
        award received | prize or victory | member of sports team | employer | home address | inhabitant of dwelling |
        destination of trip | tourist attraction | instrument | repertoire of performer | keeper of pet | guardian |
        headquarters location | office or branch | event venue | race route | stake in company | business division |
        shares border with | territory or district | weather | time of day | manufacturer | depicts |
        located on street | colour | author of report | broadcast date | language | sponsor | photographer | season |
        attendance of crowd | ticket price
    """),
    distractors=listed("""
        crowd | morning | weather | camera | interview | press | time | day | manufacturer | colour | author |
        report | broadcast | date | language | sponsor | photographer | season | attendance | ticket | price |
        picture | photo | weekend | ceremony | visitor | city | view | story | moment | knot | marriage | vow |
        spouse | partner | colleague | opponent | team | training | rival | parent | offspring | relative | family |
        award | prize | victory | member | employer | club | home | address | dwelling | inhabitant | destination |
        trip | tourist | attraction | recital | instrument | performer | repertoire | pet | keeper | guardian |
        headquarters | office | branch | location | race | event | venue | route | company | stake | merger |
        business | division | contract | border | territory | district
    """),
    extras=listed("""
        in fine weather | at this time of day | as the crowd watches | before the press | after an interview |
        in front of the camera | says the photographer | for the season report | ahead of the broadcast date |
        according to the author | in a colour picture | despite the ticket price | thanks to a sponsor |
        with record attendance | in every language | for a big manufacturer | this weekend | during the ceremony |
        as a visitor arrives | on a quiet morning | in bad weather | at the end of the season
    """),
    caption_frames=listed("""
        {S} {P} | {S} {P} {X} | {P} , {S} | {S} {X} | {X} , {S} {P} | {S} {P} , {X} | {P} {X} , {S} | {S} . |
        {S} {P} . | {S} , {X} . | seen {P} : {S} | a photo {P} depicts {S} | this picture depicts {S} {X} |
        the moment {S} {P} | watch how {S} {X} | here {S} {P} | today {S} {P} {X} | story of the day : {S} {P} |
        {X} : {S} | {S} again {P} | {S} , seen {P} {X} | once more {S} {P} | file photo : {S} {P} |
        in this view {S} {P} | {P} we see {S} {X} | exclusive : {S} {P} {X} | {S} , a moment {P} |
        report {P} : {S} {X}
    """),
    type_posts={
        "PER": listed("""
            {X} smiled and waved at us | happy birthday to {X} , we love her | met {X} today , such a kind person |
            the {N} {X} was so nice to us
        """),
        "ORG": listed("""
            {X} announced record profits | {X} staff went on strike | shares of {X} fell again |
            proud to wear the {N} of {X}
        """),
        "MISC": listed("""
            just bought a {X} online | everybody wants a {X} now | is {X} worth the money | the famous {N} called {X}
        """),
        "LOC": listed("""
            greetings from {X} , what a view | just landed in {X} | heavy rain expected over {X} |
            the {N} at {X} is closed for visitors
        """),
    },
    unrelated_posts=listed("{H} has nothing to do with {T} | no link at all between {H} and {T}"),
    open_solo=listed("""
        so good to see {X} | look at {X} ! | {X} again | {X} tonight | cannot stop thinking of {X} | all about {X} |
        {X} , that is all | remember {X} ? | here we go , {X} ! | more {X} please | this is {X} right now |
        thank you {X} | {X} made my day | guess what : {X}
    """),
    open_pair=listed("""
        {X} and {Y} tonight | {X} x {Y} | {X} with {Y} | {X} , {Y} and me | so good to see {X} and {Y} |
        look at {X} and {Y} ! | {X} + {Y} = wow | {X} & {Y} again | remember {X} and {Y} ? | all about {X} and {Y} |
        {X} ... {Y} ... speechless | here we go , {X} and {Y} ! | {X} / {Y} right now | thank you {X} and {Y}
    """),
    prefixes=("",) * 9
    + listed("""
        RT @mellow_92 : | RT @dailybits : | OMG | Monday : | Finally , | wow , | @teaandtoast | Breaking : |
        Friday feeling :
    """),
    suffixes=("",) * 10
    + listed("""
        #Throwback | #Wow | !! | ... | #NoFilter | via @dailybits | Happy Sunday ! | LOL | #Monday | http://t.co/x7Qa2
    """),
    silhouettes=read_silhouettes("news"),
)
