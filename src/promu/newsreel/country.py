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
    silhouettes=read_silhouettes("""
farmer: oval #d7b95f .08,.1 .92,.22; rect #d7b95f .3,0 .7,.16; oval skin .32,.14 .68,.32;
    rect #c83c32 .14,.32 .86,.52; rect main .26,.38 .74,.7; rect main .26,.66 .46,1; rect main .54,.66 .74,1;
    line:.07 #785532 .96,.2 .96,1
cook: oval white .18,0 .48,.2; oval white .38,0 .68,.2; oval white .54,0 .84,.2; rect white .28,.1 .72,.22;
    oval skin .32,.2 .68,.38; rect white .12,.38 .88,.56; poly main .26,.42 .74,.42 .82,.86 .18,.86;
    rect dark .28,.86 .44,1; rect dark .56,.86 .72,1
clown: oval #eb781e .08,.08 .4,.32; oval #eb781e .6,.08 .92,.32; oval white .28,.02 .72,.32;
    oval #e11e28 .43,.14 .57,.23; poly main .5,.28 .98,.72 .74,1 .26,1 .02,.72; oval #fadc3c .43,.46 .57,.55;
    oval #fadc3c .43,.62 .57,.71; oval #fadc3c .43,.78 .57,.87
diver: rect #f0c828 .04,.3 .24,.72; oval main .26,0 .78,.32; oval #96dcf5 .34,.08 .72,.24; rect main .22,.3 .8,.68;
    rect main .26,.66 .46,.9; rect main .56,.66 .76,.9; poly #f0c828 .26,.88 .46,.88 .5,1 .06,1;
    poly #f0c828 .56,.88 .76,.88 .98,1 .54,1
nurse: oval hair .26,.04 .74,.3; oval skin .34,.08 .66,.29; rect white .3,0 .7,.1; rect #dc1e2d .47,.01 .53,.09;
    poly main .22,.3 .78,.3 .88,.88 .12,.88; rect white .34,.42 .66,.8; rect #dc1e2d .46,.48 .54,.7;
    rect #dc1e2d .39,.55 .61,.63; rect skin .34,.88 .44,1; rect skin .56,.88 .66,1
pennant: rect #5f462d 0,0 .08,1; poly main .08,.04 1,.34 .08,.64; poly white .08,.24 .55,.34 .08,.44
signboard: rect #5f462d .16,.5 .26,1; rect #5f462d .74,.5 .84,1; rect dark 0,0 1,.62; rect main .05,.06 .95,.56;
    rect white .14,.16 .86,.25; rect white .14,.34 .86,.43
logo: oval main 0,0 1,1; poly white .5,.12 .82,.78 .18,.78; oval main .38,.44 .62,.68
mill: poly main .36,.36 .64,.36 .78,1 .22,1; poly main*.6 .32,.38 .5,.22 .68,.38; line:.09 white .04,.06 .96,.7;
    line:.09 white .96,.06 .04,.7; rect dark .44,.8 .56,1
barn: poly main*.55 0,.42 .2,.12 .5,0 .8,.12 1,.42; rect main .06,.4 .94,1; rect white .34,.56 .66,1;
    line:.06 main .34,.56 .66,1; line:.06 main .66,.56 .34,1
island: oval main 0,.66 1,1.2; line:.09 #825a32 .48,.76 .54,.24; line:.11 #28963c .54,.22 .14,.3;
    line:.11 #28963c .54,.22 .26,.04; line:.11 #28963c .54,.22 .84,.06; line:.11 #28963c .54,.22 .94,.34
lighthouse: poly #fae15a .5,.1 0,0 0,.2; rect dark .36,.02 .64,.18; poly white .36,.18 .64,.18 .8,1 .2,1;
    rect main .29,.3 .71,.42; rect main .29,.56 .71,.68; rect main .29,.82 .71,.94
cake: rect main*.7 0,.56 1,1; rect white 0,.5 1,.66; rect main .18,.26 .82,.54; rect #faeb96 .28,.06 .35,.28;
    rect #faeb96 .47,.06 .54,.28; rect #faeb96 .66,.06 .73,.28
rosette: poly main*.75 .26,.5 .5,.6 .3,1 .1,.86; poly main*.75 .74,.5 .5,.6 .7,1 .9,.86; oval main .3,0 .7,.32;
    oval main .04,.12 .44,.44; oval main .56,.12 .96,.44; oval main .14,.36 .54,.68; oval main .46,.36 .86,.68;
    oval white .32,.2 .68,.5
drum: rect main 0,.24 1,.84; oval main*.7 0,.7 1,1; oval #f5ebcd 0,.1 1,.4;
    line:.05 #f5ebcd .02,.4 .25,.84 .5,.4 .75,.84 .98,.4; line:.07 #6e4b2d .2,0 .5,.24
horse: rect main*.8 .16,.6 .24,1; rect main*.8 .28,.6 .36,1; rect main*.8 .56,.6 .64,1; rect main*.8 .68,.6 .76,1;
    line:.08 dark .14,.44 .02,.8; oval main .1,.36 .78,.7; poly main .58,.5 .72,.06 .86,.06 .78,.58;
    poly main .72,.04 1,.2 .96,.32 .72,.24; line:.07 dark .72,.02 .58,.44
fish: poly main*.75 .26,.5 0,.1 0,.9; oval main .16,.08 1,.92; oval white .72,.28 .88,.5; oval dark .78,.34 .86,.46;
    line:.07 white .56,.2 .48,.5 .56,.8
kite: poly main .5,0 .94,.34 .5,.74 .06,.34; poly main*.6 .5,0 .5,.74 .06,.34;
    line:.05 white .5,.74 .36,.84 .6,.92 .44,1
bicycle: hoop:.07 dark 0,.4 .42,1; hoop:.07 dark .58,.4 1,1; line:.1 main .21,.7 .4,.26 .7,.26 .5,.72 .21,.7;
    line:.09 main .4,.26 .5,.72; line:.09 dark .79,.7 .68,.06 .84,.04; rect dark .3,.14 .48,.22
apple: oval main 0,.2 .6,.96; oval main .4,.2 1,.96; line:.08 #644628 .5,.3 .54,.02; oval #3ca03c .54,.02 .88,.18
umbrella: rect dark .47,.4 .53,.94; hoop:.06 dark .3,.84 .53,1; poly main 0,.48 .12,.18 .36,.02 .64,.02 .88,.18 1,.48;
    poly main*1.35 .34,.48 .44,.02 .56,.02 .66,.48
    """),
)

WORLDS: dict[str, World] = {world.name: world for world in (WORLD, COUNTRY)}
