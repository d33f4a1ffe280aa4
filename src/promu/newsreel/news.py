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
    silhouettes=read_silhouettes("""
woman: poly hair .28,.03 .72,.03 .86,.42 .14,.42; oval hair .22,0 .78,.26; oval skin .33,.04 .67,.25;
    line:.13 skin .36,.32 .08,.56; line:.13 skin .64,.32 .92,.56; rect skin .34,.8 .45,1; rect skin .55,.8 .66,1;
    poly main .32,.26 .68,.26 .64,.5 1,.86 0,.86 .36,.5
man: oval skin .3,.01 .7,.22; rect hair .3,0 .7,.07; rect main .02,.24 .98,.35; rect main .02,.3 .17,.58;
    rect main .83,.3 .98,.58; rect main .22,.24 .78,.6; poly white .36,.24 .64,.24 .5,.46; rect main*.6 .22,.58 .46,1;
    rect main*.6 .54,.58 .78,1
child: line:.13 skin .05,.42 .35,.6 .65,.6 .95,.42; rect main .28,.48 .72,.84; rect skin .3,.84 .44,1;
    rect skin .56,.84 .7,1; oval skin .12,.02 .88,.5; poly main .12,.2 .5,0 .88,.2 1,.22 .12,.22;
    rect dark .3,.27 .4,.34; rect dark .6,.27 .7,.34
player: line:.14 skin .28,.32 .06,.06; line:.14 skin .72,.32 .96,.5; line:.16 skin .38,.7 .1,.94;
    line:.16 skin .62,.7 .9,.9; rect dark 0,.92 .2,1; rect dark .82,.86 1,.95; oval skin .34,.02 .66,.22;
    rect hair .36,.01 .64,.07; poly main .2,.22 .8,.22 .74,.56 .26,.56; rect white .42,.28 .58,.5;
    poly white .26,.56 .74,.56 .84,.74 .5,.68 .16,.74
soldier: oval skin .32,.05 .68,.25; poly main*.75 .16,.14 .26,.02 .5,0 .74,.02 .84,.14; rect main .14,.25 .86,.62;
    rect dark .14,.53 .86,.58; rect main .2,.62 .46,.9; rect main .54,.62 .8,.9; rect dark .16,.88 .47,1;
    rect dark .53,.88 .84,1; line:.13 dark .02,.62 .98,.12
crest: poly #f0cd50 0,0 1,0 1,.5 .82,.8 .5,1 .18,.8 0,.5;
    poly main .09,.08 .91,.08 .91,.48 .75,.75 .5,.9 .25,.75 .09,.48; rect #f0cd50 .42,.08 .58,.86;
    rect #f0cd50 .09,.3 .91,.44
jersey: poly main .25,0 .75,0 1,.25 .86,.46 .75,.36 .75,1 .25,1 .25,.36 .14,.46 0,.25;
    poly main*.4 .38,0 .62,0 .5,.16; rect white .25,.48 .75,.66
flag: poly main .06,.02 .38,0 .7,.08 1,.02 1,.22 .7,.28 .38,.2 .06,.22;
    poly white .06,.21 .38,.19 .7,.27 1,.21 1,.41 .7,.47 .38,.39 .06,.41;
    poly main .06,.4 .38,.38 .7,.46 1,.4 1,.6 .7,.66 .38,.58 .06,.6; rect #6e5032 0,0 .09,1
tower: poly main .46,0 .54,0 .64,.45 1,1 .72,1 .5,.72 .28,1 0,1 .36,.45; rect main*.6 .3,.4 .7,.46;
    rect main*.6 .18,.64 .82,.71; rect main*.6 .4,.2 .6,.25
mountain: poly main*.75 .35,1 .72,.25 1,1; poly main 0,1 .4,0 .78,1;
    poly white .26,.35 .4,0 .53,.35 .45,.28 .39,.42 .33,.28; poly white .66,.4 .72,.25 .78,.4
bridge: line:.06 main 0,.58 .11,.36 .22,.08; line:.06 main .22,.08 .5,.58 .78,.08;
    line:.06 main .78,.08 .89,.36 1,.58; rect main 0,.58 1,.74; rect main*.75 .17,0 .27,1; rect main*.75 .73,0 .83,1
castle: rect main .1,.45 .9,1; rect main .3,.35 .39,.46; rect main .46,.35 .55,.46; rect main .62,.35 .71,.46;
    rect main*.8 0,.14 .28,1; rect main*.8 0,0 .07,.15; rect main*.8 .11,0 .18,.15; rect main*.8 .21,0 .28,.15;
    rect dark .11,.3 .17,.46; rect main*.8 .72,.14 1,1; rect main*.8 .72,0 .79,.15; rect main*.8 .83,0 .9,.15;
    rect main*.8 .93,0 1,.15; rect dark .83,.3 .89,.46; oval dark .37,.58 .63,.9; rect dark .37,.74 .63,1
trophy: hoop:.09 main 0,.06 .44,.42; hoop:.09 main .56,.06 1,.42;
    poly main .18,0 .82,0 .78,.34 .58,.58 .42,.58 .22,.34; rect main*1.3 .28,.05 .38,.34; rect main .43,.55 .57,.8;
    rect #5f3c28 .22,.8 .78,1
medal: poly #cd2832 .05,0 .38,0 .62,.5 .4,.55; poly #2d50be .95,0 .62,0 .38,.5 .6,.55; oval main*.65 .05,.44 .95,1;
    oval main .13,.49 .87,.95; rect main*.65 .42,.58 .58,.86
ring: hoop:.15 main .02,.26 .98,1; poly #78e1fa .26,.1 .36,0 .64,0 .74,.1 .5,.34; poly white .4,.1 .6,.1 .5,.3
heart: oval main 0,0 .54,.58; oval main .46,0 1,.58; poly main .04,.42 .3,.2 .7,.2 .96,.42 .5,1
guitar: rect main*.45 .42,.04 .58,.6; rect main*.45 .32,0 .68,.1; oval main .14,.44 .86,.74; oval main 0,.6 1,1;
    oval dark .33,.6 .67,.76; rect main*.45 .3,.85 .7,.9
ball: oval dark 0,0 1,1; oval main .05,.05 .95,.95; poly dark .5,.3 .7,.45 .62,.68 .38,.68 .3,.45;
    oval dark .4,-0.04 .6,.16; oval dark -0.02,.32 .18,.52; oval dark .82,.32 1.02,.52; oval dark .14,.76 .34,.96;
    oval dark .66,.76 .86,.96
book: poly main 0,.12 .5,.24 1,.12 1,.9 .5,1 0,.9; poly white .07,0 .49,.13 .49,.9 .07,.8;
    poly #e4e2d7 .93,0 .51,.13 .51,.9 .93,.8; line:.05 #5a5a64 .15,.22 .42,.3; line:.05 #5a5a64 .85,.22 .58,.3;
    line:.05 #5a5a64 .15,.38 .42,.46; line:.05 #5a5a64 .85,.38 .58,.46; line:.05 #5a5a64 .15,.54 .42,.62;
    line:.05 #5a5a64 .85,.54 .58,.62
ship: rect #5a412d .46,0 .52,.72; poly white .44,.04 .44,.66 .06,.66; poly #e1e1d7 .55,.1 .55,.66 .92,.66;
    poly main 0,.7 1,.7 .84,1 .16,1
car: poly main .18,.44 .3,0 .7,0 .84,.44; poly #c8e1f0 .26,.4 .34,.1 .48,.1 .48,.4;
    poly #c8e1f0 .53,.4 .53,.1 .66,.1 .75,.4; rect main 0,.4 1,.8; oval dark .13,.55 .36,1;
    oval #aaaaaa .2,.69 .29,.86; oval dark .65,.55 .88,1; oval #aaaaaa .72,.69 .81,.86
dog: rect main*.85 .17,.6 .27,1; rect main*.85 .32,.6 .42,1; rect main*.85 .57,.6 .67,1; rect main*.85 .7,.6 .8,1;
    line:.12 main .2,.48 .03,.14; oval main .12,.36 .8,.74; poly main .6,.5 .66,.1 .84,.1 .84,.6;
    rect main .66,.08 .88,.36; rect main .8,.2 1,.38; rect dark .94,.18 1,.27; oval main*.5 .58,.06 .72,.46
cat: line:.13 main .7,.92 .95,.85 .95,.5; oval main .12,.4 .82,1.05; poly main .14,.3 .14,0 .4,.14;
    poly main .8,.3 .8,0 .54,.14; oval main .12,.1 .82,.54; oval #bee13c .24,.24 .4,.36; oval #bee13c .54,.24 .7,.36;
    oval white .34,.62 .6,.94
    """),
)
