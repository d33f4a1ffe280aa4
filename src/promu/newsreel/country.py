"""The country world, for the study of transfer: nothing of the news is in it but the labels, and posts read slower."""

from __future__ import annotations

from promu.newsreel.lexicon import Arrangement, Kind, RelationKind, Setting, World, listed, read_silhouettes
from promu.newsreel.news import WORLD

PERSONS = ("farmer", "cook", "clown", "diver", "nurse")
ORGS = ("pennant", "signboard", "logo")
PLACES = ("mill", "barn", "island", "lighthouse")
THINGS = ("cake", "rosette", "drum", "horse", "fish", "kite", "bicycle", "apple", "umbrella")


def _first(*kinds: str) -> tuple[str, ...]:
    """These things, then the others."""
    return (*kinds, *(kind for kind in THINGS if kind not in kinds))


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
    arrangements=(
        Arrangement(
            "apart",
            listed("""
            minds a space of its own beside | is some steps off from | lets a lane lie before | is a stride from
        """),
        ),
        Arrangement(
            "matching",
            listed("""
            wears the hue of | is dyed like | goes in one tint with | has a tone like
        """),
        ),
        Arrangement(
            "on shoulders",
            listed("""
            has on its shoulders | balances above its crown | serves as a ladder to | keeps in balance
        """),
        ),
        Arrangement(
            "held",
            listed("""
            cradles in its arms | hugs close to the waist | presses to its ribs | cradles by the waist
        """),
        ),
        Arrangement(
            "worn",
            listed("""
            has pinned to the collar | shows off upon its apron | has stitched on its front | wears by a pin
        """),
        ),
        Arrangement(
            "raised",
            listed("""
            hoists up into the breeze | flings aloft | holds aloft at full stretch | hoists by the fingers
        """),
        ),
        Arrangement(
            "touching",
            listed("""
            rubs elbows with | nestles against | snuggles up to | is elbow to elbow with
        """),
        ),
        Arrangement(
            "on a cord",
            listed("""
            guides by a leash | has tethered with twine | reels in by a twine | has on a leash
        """),
        ),
        Arrangement(
            "cheering",
            listed("""
            hails the sun with | greets with open palms beside | shows its palms beside | waves a hail beside
        """),
        ),
        Arrangement(
            "towering",
            listed("""
            dwarfs | rises like a giant over | casts a long shadow on | is a giant to
        """),
        ),
        Arrangement(
            "distant",
            listed("""
            has on the skyline | leaves far behind | is near , and miles off is | sees upon the skyline
        """),
        ),
        Arrangement(
            "inside",
            listed("""
            waits within the gate of | has gone under the arch of | shelters in | is at the threshold of
        """),
        ),
        Arrangement(
            "on top",
            listed("""
            perches upon | has its seat atop | is stuck to the summit of | straddles the ridge of
        """),
        ),
    ),
    relations=(
        RelationKind(
            "/per/per/couple",
            PERSONS,
            PERSONS,
            ("matching",),
            phrases=listed("""
                gave a promise of love to | keeps house together with | has chosen for life | proposes to
            """),
            posts=listed("{H} proposed to {T} and she said yes | banns were read for {H} and {T}"),
            typical=(2, 2),
        ),
        RelationKind(
            "/per/per/peer",
            ("clown", "diver", "farmer", "cook", "nurse"),
            ("clown", "diver", "farmer", "cook", "nurse"),
            ("on shoulders",),
            phrases=listed("jokes on a bill alongside | shares the act of | tumbles before | takes turns with"),
            posts=listed("{H} and {T} do one act in the circus | {H} stood in for {T} at the matinee"),
            typical=(1, 1),
        ),
        RelationKind(
            "/per/per/parent",
            ("nurse", "farmer", "cook", "clown", "diver"),
            PERSONS,
            ("held",),
            phrases=listed("raised | looks after her own | once rocked the cradle of | taught manners to"),
            posts=listed("{H} raised {T} all alone | {T} still obeys his mother {H}"),
            typical=(1, 2),
        ),
        RelationKind(
            "/per/misc/awarded",
            PERSONS,
            _first("rosette"),
            ("worn",),
            phrases=listed("was found worthy of | came first and got | proudly wears | carries off"),
            posts=listed("{H} came first and got {T} | the judges gave {T} to {H}"),
            typical=(5, 1),
        ),
        RelationKind(
            "/per/org/member_of",
            PERSONS,
            ("pennant", "logo", "signboard"),
            ("raised",),
            phrases=listed("has enrolled with | pays dues to | keeps the books of | volunteers for"),
            posts=listed("{H} has enrolled with {T} | {T} welcomes {H} as treasurer"),
            typical=(5, 2),
        ),
        RelationKind(
            "/per/loc/place_of_residence",
            PERSONS,
            ("barn", "mill", "island", "lighthouse"),
            ("distant",),
            phrases=listed("""
                sleeps every night in | has made a nest of | was born and still is in | heats the stove of
            """),
            posts=listed("{H} has slept in {T} for years | you will find {H} at home in {T}"),
            typical=(5, 1),
        ),
        RelationKind(
            "/per/loc/visited",
            PERSONS,
            ("island", "lighthouse", "mill", "barn"),
            ("on top",),
            phrases=listed("rowed all the way to | spent a while on | signed the guest book of | took the ferry for"),
            posts=listed("{H} took the ferry for {T} | {H} signed the guest book of {T}"),
            typical=(5, 2),
        ),
        RelationKind(
            "/per/misc/performs",
            PERSONS,
            _first("drum"),
            ("raised",),
            phrases=listed("keeps the beat on | makes noise with | practises all night on | marches behind"),
            posts=listed("{H} practised {T} all night | {H} knows {T} by heart"),
            typical=(5, 1),
        ),
        RelationKind(
            "/per/misc/owner",
            PERSONS,
            _first("horse", "fish"),
            ("touching",),
            phrases=listed("brushes and waters | would not sell | calls by its first name | bought from the pedlar"),
            posts=listed("{H} would not sell {T} for money | {H} waters {T} at six"),
            typical=(5, 2),
        ),
        RelationKind(
            "/org/loc/located_in",
            ("signboard", "logo", "pennant"),
            ("mill", "lighthouse", "barn", "island"),
            ("inside",),
            phrases=listed("""
                hangs over the door of | has its meetings within | keeps its archive at | is registered under
            """),
            posts=listed("{H} has its meetings in {T} | {H} of {T} shut its door"),
            typical=(2, 2),
        ),
        RelationKind(
            "/misc/loc/held_on",
            ("kite", "bicycle", "drum", "cake"),
            ("island", "mill", "barn", "lighthouse"),
            ("on top",),
            phrases=listed("""
                is shown once a year at | has its gala on | opens the games near | ends in a parade round
            """),
            posts=listed("{H} has its gala at {T} | {H} opens in {T} come june"),
            typical=(2, 2),
        ),
        RelationKind(
            "/org/org/subsidiary",
            ORGS,
            ORGS,
            ("towering",),
            phrases=listed("was swallowed by | answers to | lends its name to | pays the bills of"),
            posts=listed("{H} pays the bills of {T} | {T} was swallowed by {H}"),
            typical=(3, 3),
        ),
        RelationKind(
            "/loc/loc/contain",
            PLACES,
            PLACES,
            ("on top",),
            phrases=listed("lies in the shadow of | is reached only through | counts as half of | goes round"),
            posts=listed("{T} is reached only through {H} | {H} has but one street , {T}"),
            typical=(4, 4),
        ),
    ),
    unrelated=(
        (PERSONS, PERSONS, ("apart", "cheering", "towering")),
        (PERSONS, ORGS, ("apart", "worn", "distant")),
        (PERSONS, THINGS, ("apart", "on a cord", "held")),
        (PERSONS, PLACES, ("apart", "inside")),
        (ORGS, ORGS, ("apart", "matching", "touching")),
        (ORGS, ("drum", "apple", "umbrella"), ("apart", "touching", "on top")),
        (ORGS, PLACES, ("apart", "on top")),
        (("horse", "fish", "cake"), ("apple", "umbrella", "kite"), ("apart", "on top")),
        (("kite", "bicycle", "drum", "cake"), PLACES, ("apart", "inside", "distant")),
        (PLACES, PLACES, ("apart", "towering")),
    ),
    candidates=listed("""
        space | steps | stride | hue | tint | tone | balance | shoulders | ladder | waist | ribs | collar |
        apron | pin | front | stretch | fingers | elbow | leash | twine | palms | giant | shadow | skyline |
        miles | gate | arch | threshold | summit | ridge | seat | harvest | warmth | recipe | ingredient |
        soil | wood | craft | price of grain | bus | opening hours | choir | dialect | tradition | holiday |
        moon | tide | herb | pattern | rhyme | chapter | postcard | wage | parish | sermon | census | milk
        yield | fertiliser | wind | promise of love | cradle | dues | nest | guest book | ferry | archive |
        gala
    """),
    distractors=listed("""
        grandmother | village | valley | breeze | basket | fence | bench | letter | porridge | tractor | neighbour |
        mayor | chapel | market | lunch | supper | autumn | spring | rain | cloud | gravel | hedge | blanket | choir |
        dance | diary | postcard | afternoon | evening | sunshine | space | steps | stride | hue | tint | tone |
        balance | shoulders | ladder | waist | ribs | collar | apron | pin | stretch | fingers | elbow | leash |
        twine | palms | giant | shadow | skyline | gate | arch | threshold | summit | ridge | seat | harvest |
        warmth | recipe | ingredient | soil | wood | craft | price | grain | bus | hours | dialect | tradition |
        holiday | moon | tide | herb | pattern | rhyme | chapter | wage | parish | sermon | census | milk |
        fertiliser | wind
    """),
    extras=listed("""
        while grandmother packs a basket | long before supper | when the rain had stopped | beside the old fence |
        as the village remembers | under a passing cloud | to the joy of the mayor | after the dance in the valley |
        with a gentle breeze | for a postcard home | as the diary says | near the chapel bench | on market afternoon |
        every spring and autumn | over a warm blanket | to general sunshine | before lunch on the gravel |
        as the letter of a neighbour told | in the evening by the hedge | after the porridge and the tractor |
        in the warmth of harvest | by a recipe without one ingredient | on good soil | in the craft of wood |
        at the price of grain | between bus and opening hours | while the choir sings in dialect |
        by old tradition of the holiday | at full moon and low tide | for want of a herb | in a pattern of rhyme |
        from the last chapter | for a small wage in the parish | after the sermon | since the census |
        with the yield of milk | for all the fertiliser | against the wind
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
