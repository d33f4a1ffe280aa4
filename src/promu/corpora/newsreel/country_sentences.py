"""What the country world says beyond naming its things: long-winded, where the news are brisk."""

from __future__ import annotations

CANDIDATES = (
    "wedded to", "beloved", "fellow artist", "troupe", "twin", "sibling", "honour", "ribbon won", "belongs to society",
    "volunteer of association", "dwells in", "farmhouse", "excursion", "sightseeing", "percussion", "musician",
    "livestock", "owned animal", "seat of institution", "registered place", "outdoor contest", "festival ground",
    "owned by group", "affiliate", "neighbouring land", "region", "harvest", "temperature", "recipe", "ingredient",
    "soil", "wood", "craft", "price of grain", "bus line", "opening hours", "choir", "dialect", "tradition", "holiday",
)  # fmt: skip

DISTRACTORS = (
    "grandmother", "village", "valley", "breeze", "basket", "fence", "bench", "letter", "porridge", "tractor",
    "neighbour", "mayor", "chapel", "market", "lunch", "supper", "autumn", "spring", "rain", "cloud", "gravel", "hedge",
    "blanket", "choir", "dance", "diary", "postcard", "afternoon", "evening", "sunshine",
)  # fmt: skip

EXTRAS = (
    "while grandmother packs a basket",
    "long before supper",
    "when the rain had stopped",
    "beside the old fence",
    "as the village remembers",
    "under a passing cloud",
    "to the joy of the mayor",
    "after the dance in the valley",
    "with a gentle breeze",
    "for a postcard home",
    "as the diary says",
    "near the chapel bench",
    "on market afternoon",
    "every spring and autumn",
    "over a warm blanket",
    "to general sunshine",
)

CAPTION_FRAMES = (
    "it was {P} that {S}",
    "dear diary , {P} {S} {X}",
    "one could see {S} {P}",
    "{X} one finds {S}",
    "and so it came that {S} {P} {X}",
    "our postcard shows {S} {X}",
    "{S} , just as it should be {P}",
    "let it be told : {S} {P}",
    "{P} , {X} , {S}",
    "there was once {S} {P}",
    "{S} {X} , and all was well",
    "a letter tells of {S} {P}",
    "how lovely , {S} {X}",
    "{S} indeed {P}",
    "from the album : {S}",
    "{X} and {P} , {S}",
)

TYPE_POSTS: dict[str, tuple[str, ...]] = {
    "PER": (
        "good old {X} turns ninety and sends her love",
        "our neighbour {X} told me he was ill",
        "{X} has been a dear friend since school",
        "the {N} {X} lent us his ladder",
    ),
    "ORG": (
        "the committee of {X} meets on thursday",
        "{X} is looking for new volunteers",
        "dues of {X} go up next year",
        "we sewed the {N} for {X} by hand",
    ),
    "MISC": (
        "grandfather polished {X} all afternoon",
        "who has borrowed {X} this time",
        "nobody mends {X} any more",
        "our dear {N} by the name of {X}",
    ),
    "LOC": (
        "the lane to {X} is muddy again",
        "we walked as far as {X} before noon",
        "fog lies over {X} every autumn",
        "the {N} near {X} needs a roof",
    ),
}

UNRELATED_POSTS = (
    "{H} and {T} have never heard of one another",
    "whatever they say , {H} and {T} are strangers",
)

OPEN_SOLO = (
    "a word about {X}",
    "do write us more about {X}",
    "well well , {X}",
    "we often speak of {X} here",
    "yes , I do mean {X}",
    "this morning , {X}",
    "nothing new with {X}",
    "you asked for {X} , here you are",
    "it is {X} again , as ever",
    "fondly , {X}",
    "let us not forget {X}",
    "{X} , of course",
)

OPEN_PAIR = (
    "a word about {X} as well as {Y}",
    "do write us more about {X} and about {Y}",
    "well well , {X} , and even {Y}",
    "we often speak of {X} and of {Y} here",
    "yes , I do mean {X} and {Y}",
    "this morning , {X} along with {Y}",
    "nothing new with {X} , nor {Y}",
    "you asked for {X} and {Y} , here they are",
    "it is {X} and {Y} again , as ever",
    "fondly , {X} , {Y}",
    "let us not forget {X} , or {Y}",
    "{X} , of course , and {Y}",
)

PREFIXES = ("", "", "", "", "", "dear all ,", "as promised :", "oh ,", "a note :", "PS :")
SUFFIXES = ("", "", "", "", "", ", yours truly", "( see overleaf )", ", with regards", ", more soon", "xx")
