"""The country world, for the study of transfer: nothing of the news is in it but the labels, and posts read slower."""

from __future__ import annotations

from promu.newsreel.lexicon import Kind, RelationKind, Setting, World, listed, read_silhouettes
from promu.newsreel.news import WORLD

COUPLES = ("farmer", "cook")
PERSONS = ("farmer", "cook", "clown", "diver", "nurse")
ORGS = ("pennant", "signboard", "logo")
PLACES = ("mill", "barn", "island", "lighthouse")

COUNTRY = World(
    name="country",
    # The order of the types is the order of mention: PER, ORG, MISC, LOC, as in the relation labels.
    kinds=(
        Kind("farmer", "PER", ("farmer", "peasant", "grower"), (70, 95, 150), 0.55),
        Kind("cook", "PER", ("cook", "chef"), (90, 175, 120), 0.56),
        Kind("clown", "PER", ("clown", "jester"), (150, 70, 190), 0.62),
        Kind("diver", "PER", ("diver", "frogman"), (40, 70, 85), 0.55),
        Kind("nurse", "PER", ("nurse", "matron"), (120, 175, 225), 0.5),
        Kind("pennant", "ORG", ("pennant", "streamer"), (215, 50, 120), 1.1),
        Kind("signboard", "ORG", ("signboard", "placard"), (45, 110, 75), 1.25),
        Kind("logo", "ORG", ("logo", "monogram"), (225, 110, 30), 1.0),
        Kind("cake", "MISC", ("cake", "gateau"), (240, 150, 175), 1.15),
        Kind("rosette", "MISC", ("rosette", "garland"), (40, 85, 205), 0.75),
        Kind("drum", "MISC", ("drum", "timpani"), (200, 45, 45), 1.1),
        Kind("horse", "MISC", ("horse", "mare", "pony"), (125, 75, 45), 1.15),
        Kind("fish", "MISC", ("fish", "trout", "carp"), (235, 140, 60), 1.6),
        Kind("kite", "MISC", ("kite", "glider"), (60, 190, 215), 0.7),
        Kind("bicycle", "MISC", ("bicycle", "tricycle"), (210, 215, 60), 1.5),
        Kind("apple", "MISC", ("apple", "pippin"), (215, 35, 50), 0.95),
        Kind("umbrella", "MISC", ("umbrella", "parasol"), (95, 60, 160), 1.0),
        Kind("mill", "LOC", ("mill", "windmill"), (175, 150, 125), 0.85),
        Kind("barn", "LOC", ("barn", "stable"), (165, 45, 40), 1.2),
        Kind("island", "LOC", ("island", "atoll"), (240, 215, 150), 1.2),
        Kind("lighthouse", "LOC", ("lighthouse", "beacon"), (205, 50, 45), 0.45),
    ),
    settings=(
        Setting("desert", ("desert", "dune", "sand"), ("amid the desert", "upon a dune", "far out in the sand")),
        Setting(
            "forest", ("forest", "woodland", "grove"), ("deep in the forest", "through the woodland", "in a grove")
        ),
        Setting(
            "kitchen", ("kitchen", "pantry", "tiles"), ("inside the kitchen", "by the pantry", "between the tiles")
        ),
        Setting("dusk", ("dusk", "sunset", "twilight"), ("towards dusk", "against the sunset", "in the twilight")),
        Setting(
            "orchard",
            ("orchard", "garden", "plantation"),
            ("within the orchard", "across the garden", "at the plantation"),
        ),
    ),
    relations=(
        RelationKind(
            "/per/per/couple",
            COUPLES,
            COUPLES,
            evidence=("cake",),
            phrases=listed("""
                gave a promise of love to | keeps house together with | has chosen for life | proposes to
            """),
            posts=listed("{H} proposed to {T} and she said yes | banns were read for {H} and {T}"),
        ),
        RelationKind(
            "/per/per/peer",
            ("clown",),
            ("clown",),
            evidence=("drum",),
            evidence_optional=True,
            phrases=listed("jokes on a bill alongside | shares the act of | tumbles before | takes turns with"),
            posts=listed("{H} and {T} do one act in the circus | {H} stood in for {T} at the matinee"),
        ),
        RelationKind(
            "/per/per/parent",
            ("nurse",),
            COUPLES,
            phrases=listed("raised | looks after her own | once rocked the cradle of | taught manners to"),
            posts=listed("{H} raised {T} all alone | {T} still obeys his mother {H}"),
        ),
        RelationKind(
            "/per/misc/awarded",
            PERSONS,
            ("rosette",),
            phrases=listed("was found worthy of | came first and got | proudly wears | carries off"),
            posts=listed("{H} came first and got {T} | the judges gave {T} to {H}"),
        ),
        RelationKind(
            "/per/org/member_of",
            PERSONS,
            ("pennant", "logo"),
            phrases=listed("has enrolled with | pays dues to | keeps the books of | volunteers for"),
            posts=listed("{H} has enrolled with {T} | {T} welcomes {H} as treasurer"),
        ),
        RelationKind(
            "/per/loc/place_of_residence",
            PERSONS,
            ("barn",),
            phrases=listed("""
                sleeps every night in | has made a nest of | was born and still is in | heats the stove of
            """),
            posts=listed("{H} has slept in {T} for years | you will find {H} at home in {T}"),
        ),
        RelationKind(
            "/per/loc/visited",
            PERSONS,
            ("island", "lighthouse"),
            phrases=listed("rowed all the way to | spent a while on | signed the guest book of | took the ferry for"),
            posts=listed("{H} took the ferry for {T} | {H} signed the guest book of {T}"),
        ),
        RelationKind(
            "/per/misc/performs",
            PERSONS,
            ("drum",),
            phrases=listed("keeps the beat on | makes noise with | practises all night on | marches behind"),
            posts=listed("{H} practised {T} all night | {H} knows {T} by heart"),
        ),
        RelationKind(
            "/per/misc/owner",
            PERSONS,
            ("horse", "fish"),
            phrases=listed("brushes and waters | would not sell | calls by its first name | bought from the pedlar"),
            posts=listed("{H} would not sell {T} for money | {H} waters {T} at six"),
        ),
        RelationKind(
            "/org/loc/located_in",
            ("signboard", "logo"),
            ("mill", "lighthouse"),
            phrases=listed("""
                hangs over the door of | has its meetings within | keeps its archive at | is registered under
            """),
            posts=listed("{H} has its meetings in {T} | {H} of {T} shut its door"),
        ),
        RelationKind(
            "/misc/loc/held_on",
            ("kite", "bicycle"),
            ("island", "mill"),
            phrases=listed("""
                is shown once a year at | has its gala on | opens the games near | ends in a parade round
            """),
            posts=listed("{H} has its gala at {T} | {H} opens in {T} come june"),
        ),
        RelationKind(
            "/org/org/subsidiary",
            ORGS,
            ORGS,
            phrases=listed("was swallowed by | answers to | lends its name to | pays the bills of"),
            posts=listed("{H} pays the bills of {T} | {T} was swallowed by {H}"),
        ),
        RelationKind(
            "/loc/loc/contain",
            PLACES,
            PLACES,
            phrases=listed("lies in the shadow of | is reached only through | counts as half of | goes round"),
            posts=listed("{T} is reached only through {H} | {H} has but one street , {T}"),
        ),
    ),
    unrelated=(
        (COUPLES, ("clown", "diver")),
        (("diver",), ("diver", "clown", "nurse")),
        (PERSONS, ("signboard",)),
        (PERSONS, ("kite", "bicycle", "umbrella")),
        (PERSONS, ("apple", "cake")),
        (PERSONS, ("mill",)),
        (ORGS, ("drum", "apple", "umbrella", "fish", "rosette")),
        (("pennant",), PLACES),
        (("signboard", "logo"), ("barn", "island")),
        (("horse", "fish"), ("apple", "umbrella", "drum")),
        (("cake", "rosette"), ("kite", "bicycle")),
        (("drum", "apple", "horse", "cake", "umbrella"), PLACES),
        (("kite", "bicycle"), ("barn", "lighthouse")),
    ),
    candidates=listed("""
        wedded to | beloved | fellow artist | troupe | twin | sibling | honour | ribbon won | belongs to society |
        volunteer of association | dwells in | farmhouse | excursion | sightseeing | percussion | musician |
        livestock | owned animal | seat of institution | registered place | outdoor contest | festival ground |
        owned by group | affiliate | neighbouring land | region | harvest | temperature | recipe | ingredient | soil |
        wood | craft | price of grain | bus line | opening hours | choir | dialect | tradition | holiday
    """),
    distractors=listed("""
        grandmother | village | valley | breeze | basket | fence | bench | letter | porridge | tractor | neighbour |
        mayor | chapel | market | lunch | supper | autumn | spring | rain | cloud | gravel | hedge | blanket | choir |
        dance | diary | postcard | afternoon | evening | sunshine
    """),
    extras=listed("""
        while grandmother packs a basket | long before supper | when the rain had stopped | beside the old fence |
        as the village remembers | under a passing cloud | to the joy of the mayor | after the dance in the valley |
        with a gentle breeze | for a postcard home | as the diary says | near the chapel bench | on market afternoon |
        every spring and autumn | over a warm blanket | to general sunshine
    """),
    caption_frames=listed("""
        it was {P} that {S} | dear diary , {P} {S} {X} | one could see {S} {P} | {X} one finds {S} |
        and so it came that {S} {P} {X} | our postcard shows {S} {X} | {S} , just as it should be {P} |
        let it be told : {S} {P} | {P} , {X} , {S} | there was once {S} {P} | {S} {X} , and all was well |
        a letter tells of {S} {P} | how lovely , {S} {X} | {S} indeed {P} | from the album : {S} | {X} and {P} , {S}
    """),
    type_posts={
        "PER": listed("""
            good old {X} turns ninety and sends her love | our neighbour {X} told me he was ill |
            {X} has been a dear friend since school | the {N} {X} lent us his ladder
        """),
        "ORG": listed("""
            the committee of {X} meets on thursday | {X} is looking for new volunteers | dues of {X} go up next year |
            we sewed the {N} for {X} by hand
        """),
        "MISC": listed("""
            grandfather polished {X} all afternoon | who has borrowed {X} this time | nobody mends {X} any more |
            our dear {N} by the name of {X}
        """),
        "LOC": listed("""
            the lane to {X} is muddy again | we walked as far as {X} before noon | fog lies over {X} every autumn |
            the {N} near {X} needs a roof
        """),
    },
    unrelated_posts=listed(
        "{H} and {T} have never heard of one another | whatever they say , {H} and {T} are strangers"
    ),
    open_solo=listed("""
        a word about {X} | do write us more about {X} | well well , {X} | we often speak of {X} here |
        yes , I do mean {X} | this morning , {X} | nothing new with {X} | you asked for {X} , here you are |
        it is {X} again , as ever | fondly , {X} | let us not forget {X} | {X} , of course
    """),
    open_pair=listed("""
        a word about {X} as well as {Y} | do write us more about {X} and about {Y} | well well , {X} , and even {Y} |
        we often speak of {X} and of {Y} here | yes , I do mean {X} and {Y} | this morning , {X} along with {Y} |
        nothing new with {X} , nor {Y} | you asked for {X} and {Y} , here they are |
        it is {X} and {Y} again , as ever | fondly , {X} , {Y} | let us not forget {X} , or {Y} |
        {X} , of course , and {Y}
    """),
    prefixes=("",) * 5 + listed("dear all , | as promised : | oh , | a note : | PS :"),
    suffixes=("",) * 5 + listed(", yours truly | ( see overleaf ) | , with regards | , more soon | xx"),
    silhouettes=read_silhouettes("country"),
)

WORLDS: dict[str, World] = {world.name: world for world in (WORLD, COUNTRY)}
