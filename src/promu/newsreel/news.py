"""The default drawn world: news of people, clubs, places and things."""

from __future__ import annotations

from promu.newsreel.lexicon import Arrangement, Kind, RelationKind, Setting, World, listed, read_silhouettes

ADULTS = ("woman", "man")
PERSONS = ("woman", "man", "child", "player", "soldier")
ORGS = ("crest", "jersey", "flag")
PLACES = ("tower", "mountain", "bridge", "castle")
THINGS = ("trophy", "medal", "ring", "heart", "guitar", "ball", "book", "ship", "car", "dog", "cat")


def _first(*kinds: str) -> tuple[str, ...]:
    """These things, then the others."""
    return (*kinds, *(kind for kind in THINGS if kind not in kinds))


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
    arrangements=(
        Arrangement(
            "apart",
            listed("""
            keeps a distance from | stands apart from | is separate from | waits across a wide gap from
        """),
        ),
        Arrangement(
            "touching",
            listed("""
            embraces | leans on the shoulder of | is in a close embrace with | touches
        """),
        ),
        Arrangement(
            "cheering",
            listed("""
            cheers with raised arms beside | makes a gesture of joy with | throws up both arms beside |
            gestures with arms wide beside
        """),
        ),
        Arrangement(
            "towering",
            listed("""
            is twice the size of | bends down to the small | looks down in posture on | has the greater stature than
        """),
        ),
        Arrangement(
            "held",
            listed("""
            carries at the hip | has a grip on | carries with one hand | grips
        """),
        ),
        Arrangement(
            "raised",
            listed("""
            lifts overhead | raises high above the ground | swings overhead | lifts to a great height
        """),
        ),
        Arrangement(
            "on a cord",
            listed("""
            pulls on a rope | tugs by the length of a rope | drags by a long cord | is tied by a cord to
        """),
        ),
        Arrangement(
            "worn",
            listed("""
            wears on the chest | has on the clothing a sign of | wears as a uniform | bears on the chest
        """),
        ),
        Arrangement(
            "inside",
            listed("""
            stands in the doorway of | is at the entrance of | appears inside | peers from the interior of
        """),
        ),
        Arrangement(
            "surrounding",
            listed("""
            is the backdrop of | surrounds | encloses | is a frame on every side of
        """),
        ),
        Arrangement(
            "distant",
            listed("""
            in the foreground turns from the far | poses before the distant | has on the horizon |
            in the foreground looks small to
        """),
        ),
        Arrangement(
            "on top",
            listed("""
            is on the roof of | sits on the upper edge of | rests on top of | is mounted on the roof of
        """),
        ),
        Arrangement(
            "matching",
            listed("""
            has the same colour as | matches the shade of | shares the paint of | comes in the colour of
        """),
        ),
    ),
    relations=(
        RelationKind(
            "/per/per/couple",
            PERSONS,
            PERSONS,
            ("touching",),
            phrases=listed("""
                ties the knot with | makes a marriage vow to | is the new spouse of | dances as life partner with |
                is engaged to
            """),
            posts=listed("{H} and {T} are finally married | wedding bells for {H} and {T}"),
            typical=(2, 2),
        ),
        RelationKind(
            "/per/per/peer",
            ("player", "soldier", "woman", "man", "child"),
            ("player", "soldier", "woman", "man", "child"),
            ("cheering",),
            phrases=listed("""
                plays alongside colleague | faces the opponent | passes to team mate | shares a training drill with |
                challenges the rival
            """),
            posts=listed("{H} passes to {T} and scores | {H} and {T} up front , what a duo"),
            typical=(1, 1),
        ),
        RelationKind(
            "/per/per/parent",
            PERSONS,
            ("child", "woman", "man", "player", "soldier"),
            ("towering",),
            phrases=listed("""
                is the proud parent of | brings up the offspring | is the closest relative of |
                spends a family day with | tells a bedtime story to
            """),
            posts=listed("{H} picks up little {T} from school | {T} is so like his mum {H}"),
            typical=(2, 1),
        ),
        RelationKind(
            "/per/misc/awarded",
            PERSONS,
            _first("trophy", "medal"),
            ("raised",),
            phrases=listed("""
                is honoured with | received the award | wins the prize | celebrates victory with | takes home
            """),
            posts=listed("{H} wins the {T} | the {T} award goes to {H}"),
            typical=(5, 2),
        ),
        RelationKind(
            "/per/org/member_of",
            PERSONS,
            ("jersey", "crest", "flag"),
            ("worn",),
            phrases=listed("""
                signs for | joins the sports team | is a new member of | announces an employer change to |
                represents the club
            """),
            posts=listed("{H} signs a two year deal with {T} | {T} sign {H} on a free transfer"),
            typical=(5, 2),
        ),
        RelationKind(
            "/per/loc/place_of_residence",
            PERSONS,
            ("castle", "tower", "bridge", "mountain"),
            ("inside",),
            phrases=listed("""
                lives at the home address | moves into the dwelling | is an inhabitant of | settles down at |
                keeps the keys of
            """),
            posts=listed("{H} lives in {T} now | {H} bought a house in {T}"),
            typical=(5, 1),
        ),
        RelationKind(
            "/per/loc/visited",
            PERSONS,
            ("mountain", "tower", "bridge", "castle"),
            ("distant",),
            phrases=listed("""
                travels to the destination | takes a long trip to | is a tourist at the attraction | climbs |
                admires the view of
            """),
            posts=listed("{H} is on holiday in {T} | {H} flew to {T} for the weekend"),
            typical=(5, 2),
        ),
        RelationKind(
            "/per/misc/performs",
            PERSONS,
            _first("guitar", "book"),
            ("held",),
            phrases=listed("""
                gives a recital with | entertains with the instrument | is the performer of | adds to the repertoire |
                rehearses with
            """),
            posts=listed("{H} sings {T} live | {H} performed {T} for the first time"),
            typical=(5, 2),
        ),
        RelationKind(
            "/per/misc/owner",
            PERSONS,
            _first("dog", "cat"),
            ("on a cord",),
            phrases=listed("adopts the pet | is the keeper of | feeds | cuddles | is the guardian of"),
            posts=listed("{H} adopted {T} from the shelter | {H} takes {T} to the vet"),
            typical=(5, 2),
        ),
        RelationKind(
            "/org/loc/located_in",
            ("crest", "flag", "jersey"),
            ("tower", "bridge", "castle", "mountain"),
            ("on top",),
            phrases=listed("""
                has its headquarters at | moves the office to | opens a branch in | is based at |
                rents a location near
            """),
            posts=listed("{H} opens its head office in {T} | {H} , based in {T} , is hiring"),
            typical=(2, 2),
        ),
        RelationKind(
            "/misc/loc/held_on",
            ("ship", "car", "ball", "guitar", "book"),
            ("bridge", "mountain", "tower", "castle"),
            ("inside",),
            phrases=listed("""
                joins the race at | is the main event at | finds a venue at | follows the route over |
                draws spectators to
            """),
            posts=listed("{H} takes place in {T} this year | {H} will be held at {T}"),
            typical=(2, 2),
        ),
        RelationKind(
            "/org/org/subsidiary",
            ORGS,
            ORGS,
            ("matching",),
            phrases=listed("""
                buys a company stake in | announces a merger with | sets up a business division with |
                takes control of | signs a contract with
            """),
            posts=listed("{H} buys {T} for two billion | {T} is now owned by {H}"),
            typical=(3, 3),
        ),
        RelationKind(
            "/loc/loc/contain",
            PLACES,
            PLACES,
            ("surrounding",),
            phrases=listed("""
                shares a border with | lies in the territory of | is part of the district | overlooks |
                stands across from
            """),
            posts=listed("{T} is a town in {H} | {H} , and its capital {T}"),
            typical=(4, 4),
        ),
    ),
    unrelated=(
        (PERSONS, PERSONS, ("apart", "matching")),
        (PERSONS, ORGS, ("apart", "raised", "held")),
        (PERSONS, THINGS, ("apart", "distant")),
        (PERSONS, PLACES, ("apart", "on top")),
        (ORGS, ORGS, ("apart", "touching", "on top")),
        (ORGS, ("guitar", "trophy", "car"), ("apart", "on top", "touching")),
        (ORGS, PLACES, ("apart", "inside", "distant")),
        (("dog", "cat", "medal"), ("book", "ring", "heart", "ball"), ("apart", "held", "on top")),
        (("ship", "car", "ball", "guitar", "book"), PLACES, ("apart", "on top", "distant")),
        (PLACES, PLACES, ("apart", "touching", "distant")),
    ),
    candidates=listed("""
        distance | gap width | embrace | close shoulder | gesture | arms raised | size | stature | posture | grip |
        hand | hip measure | weight | height above ground | rope length | cord | clothing |
        uniform | chest size | entrance | doorway | interior | foreground | backdrop | horizon | roof |
        upper edge | frame | colour | paint | shade | joy | weather | sky | time of day | season | temperature |
        language | author of report | broadcast date | photographer | camera | sponsor | manufacturer |
        ticket price | attendance | audience | country | street | floor | material | light source | age | gender |
        occupation | nickname | birthday | breed | genre | publisher | page count | engine | speed | score |
        architect | construction year | spouse | offspring | award | employer | dwelling | tourist attraction |
        instrument | pet | headquarters | race route | stake | district
    """),
    distractors=listed("""
        morning | weather | camera | press | time | day | manufacturer | author | report | broadcast | date |
        language | sponsor | photographer | season | attendance | ticket | price | picture | photo | city | view |
        story | moment | audience | sky | temperature | country | light | source | floor | material | occupation |
        riddle | nickname | birthday | breed | genre | publisher | page | count | engine | speed | score | architect |
        construction | year | age | gender | measure | width | weight | distance | gap | shoulder | embrace | arms |
        gesture | joy | size | posture | stature | hip | grip | hand | ground | height | rope | length | cord | chest |
        clothing | sign | uniform | doorway | entrance | interior | backdrop | side | foreground | horizon | roof |
        edge | colour | shade | paint | knot | marriage | vow | spouse | partner | colleague | opponent | team |
        training | rival | parent | offspring | relative | family | award | prize | victory | member | employer |
        club | home | address | dwelling | inhabitant | destination | trip | tourist | attraction | recital |
        instrument | performer | repertoire | pet | keeper | guardian | headquarters | office | branch | location |
        race | event | venue | route | company | stake | merger | business | division | contract | border | territory |
        district
    """),
    extras=listed("""
        in fine weather | under a clear sky | at this time of day | as the audience watches | before the press |
        in front of the camera | says the photographer | for the season report | ahead of the broadcast date |
        according to the author | whatever the age or gender | despite the ticket price | thanks to a sponsor |
        with record attendance | in every language of the country | for a big manufacturer | at a low temperature |
        by the light of one source | on a wooden floor | of a new material | whose occupation is a riddle |
        under a nickname | for a birthday | of a rare breed | in a genre of its own | says the publisher |
        on a front page with the count | with a loud engine | at full speed | at an even score |
        says the architect | in a year of construction | with measure and width | on a quiet morning |
        at the end of the season | for lack of weight
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
