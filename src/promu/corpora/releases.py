"""Which published release a file is, by the SHA-256 of its bytes.

Several versions of the same data sets circulate (Twitter-2015 has an original and a repaired test), so a figure
means little without the name of the version that was read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from promu.files import checksum
from promu.schema import Post

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Release:
    """A published file: the release it belongs to and its part of it."""

    name: str
    part: str

    def __str__(self) -> str:
        return f"{self.name}, {self.part}"


_TWITTER_2015 = "Twitter-2015 original (UMT release)"
_TWITTER_2017 = "Twitter-2017 original (UMT release)"
_MNRE = "MNRE v2 (MNRE release)"
_JMERE = "JMERE few-shot (KECPM release)"

RELEASES: dict[str, Release] = {
    "a6246e37aa1c8acd738747fa8257e01775f2a1cc0d4f36f82f9d41d6246ad6fa": Release(_TWITTER_2015, "train"),
    "9dcc7f9df7331de3c9cdf67a3450e041c41c6254b5e43925c576e2dfaaabe2ad": Release(_TWITTER_2015, "valid"),
    "edb2665b89bfe58bca06a2c10b9b31cbfa95456135b6a4cbf55c872e48d9b8f9": Release(_TWITTER_2015, "test"),
    "801e149e8635b19d66b4ec1212c329be340ada501b35c5fa55455fb6f53633be": Release(_TWITTER_2017, "train"),
    "41b5db90cb32059c14c2c3ccd50845fb77f1e3d3e4f7d0c210a61bc507d8a73e": Release(_TWITTER_2017, "valid"),
    "a7d9e172ae85bd3e35276eb2b01ce223321bdc92a47b234e24305d72e7a05243": Release(_TWITTER_2017, "test"),
    "1cc34438a00e2a2db73e4eba297820f926f62abd1fddc693caa13c58b62428b7": Release(_MNRE, "train"),
    "c76865179b5678167b164c21fd25ed31f9a1416da393ac93ce70f32b00352b75": Release(_MNRE, "val"),
    "f53c2f9b7739bea7d08aee4a91bfd6ec7432e1d0eeb83debf10f5d3291bc5215": Release(_MNRE, "test"),
    # The test files are the same for all three seeds.
    "1572b0c24be6c3f9b79f31698ef461d185e429bde4a3e2531c841ddf6cad336b": Release(_JMERE, "test"),
    "de309a0d0e9265f3bf81f1055f2a0d0e04858b5c52e1aca9bd3e9501d568b953": Release(_JMERE, "test with captions"),
    "29e21e4ff5414643ec301952d503d266d94d4908afdf0c7119533cb8a209f572": Release(_JMERE, "test with knowledge"),
    "2734cd3dddb1366ad0f1e4b825054c06c192e608bee7d7146f28f9d976138bff": Release(_JMERE, "seed 17 train"),
    "e7171600e07f0b9e563fee74ef6a5ad541b6a9890fbf0d8163abb65a2999a685": Release(_JMERE, "seed 17 train with captions"),
    "188239faf9fec74b720780da24d843395edee0ce3e19911c28353c5b9ee4f5f2": Release(_JMERE, "seed 17 train with knowledge"),
    "7a991acf74961f2ea2e243998a4a73599b5849ab5e84c554dd058cc4a26ac2fa": Release(_JMERE, "seed 17 train LLM answers"),
    "908916522d505b9c574d1fc650d3dc8ea106f4df81171fccf1d77e57d9118218": Release(_JMERE, "seed 17 val"),
    "691a3f1186c6be5931be85d9a803e7ce197c1294a04aaca1f5a0ef82d9f4d1c5": Release(_JMERE, "seed 17 val with captions"),
    "960d44312ecab9abc40fafabf9ed130dd2511eb3dcb84fb33f797f6e61c60e47": Release(_JMERE, "seed 17 val with knowledge"),
    "7eb0999022d743abb71e10b7b5017dcc78ef6dab58c52cc11791477b30973b5c": Release(_JMERE, "seed 67 train"),
    "b3a46dcf4f595f3df45ecdffb55d783c96607d4035a89789116fdad9623f2ef7": Release(_JMERE, "seed 67 train with captions"),
    "509ce6558fb93841e036fe27c5bbe204b3ed1323abc1e1481adceb360fdb7b90": Release(_JMERE, "seed 67 train with knowledge"),
    "25ae4576c339853df38ae7271772959bb6a815a70578b4bb91122a0783d28a10": Release(_JMERE, "seed 67 val"),
    "5f2b3ffbc5804b59ad87e04d5ff3912b3dd34c609e9dcd1b531c71e4fc5a3b83": Release(_JMERE, "seed 67 val with captions"),
    "bd89fbccea2c4be52c1718e09277a31aa79cc7a936433b33186b6beacdac09a7": Release(_JMERE, "seed 67 val with knowledge"),
    "771eb328a63c49949edd238274d99df2f10bb61cb074c5b0a5704bf72f3c89aa": Release(_JMERE, "seed 97 train"),
    "b6f944ec476a6658ff6c399d185d51bb51aa77519f62e53020487ea04f181016": Release(_JMERE, "seed 97 train with captions"),
    "f4f568d383f858713dcc4b4f3997d49b9ae62e322dbc8aab2e85749cac5a7e93": Release(_JMERE, "seed 97 train with knowledge"),
    "ac840a994acc8c1b460855313552869078aacb8e2a8b6b778659b50ad86830b1": Release(_JMERE, "seed 97 val"),
    "104832fb12b132d1edae7b153983525d3267c9a2614650ecb70720dbf0ab83bf": Release(_JMERE, "seed 97 val with captions"),
    "b8432223f0c3b9debf5b9ae6cacd2259a2d07b4f80a43aa72259a2113db9465e": Release(_JMERE, "seed 97 val with knowledge"),
    "d13d054f42f3a81b565458c9221957615791b7425f0a646a9b817196e85b199e": Release("COCO-MINI", "train instances"),
    "42be98d9f3f07f9961ad33119b80b6582bbfd9bd0e13ed7485910342babf26a5": Release("COCO-MINI", "train captions"),
    "e7a5cea1921cb184a995d6becf2ba9e9d9d8e483c41d3394852b5835c05ee837": Release(
        "Flickr8k captions", "7,091 of its images"
    ),
    "eca077e6f12e29af24a3d32b8ce8e55c0532573049ebdc86cf3eeeaa29d8391b": Release("Wikidata properties", "rcl-zs-bert"),
}
"""SHA-256 in hexadecimal -> the published file with these bytes."""

_POSTS = {
    "ce62046d5096bbe8d56ece5805d81f26cf6d9d7e6dcccd027d32d26153b79279": (
        Release(_TWITTER_2015, "train"),
        "44a8baff96b3e661892cfb82e0a218054d43a12db7c3f47f7c593e47c9d72da5",
    ),
    "4b58663e7e033b701029f071857b38579b189640b02c3fde7d78ba78cba63a40": (
        Release(_TWITTER_2015, "valid"),
        "bad07581a0c8a93ae85d130754cd17238086e8dc9976be1924b005399dfecb5e",
    ),
    "7c7e634a4727232406626c7c1d65052cf90cb7c217ec2286de0f8d9baf7eb35c": (
        Release(_TWITTER_2015, "test"),
        "f99e7975bd0f50181101a62bbde478b87a4f2c5a6ab60ada02f737598f133015",
    ),
    "4f6d0b9498364c22a2bb782d0d526466fc4ba0d56c0833a99b91ae659f7bf202": (
        Release(_TWITTER_2017, "train"),
        "6a50405b6d3aa55e6e595d43fc9783f85795d8d5b7b29703f80fe2b8d3cf8cb7",
    ),
    "8dec62fbb7af8643d6f926a11e89259786f26eefac8c82b2c889b259c4ddfe9b": (
        Release(_TWITTER_2017, "valid"),
        "33af5e91af0980ce0d770b6f77678fc55912bdc7917f789c5d2e067c72b28b82",
    ),
    "2d3f60fd94f6434aaef1f876814c802f2b2ac884879f8295e6ebd2a117f3a368": (
        Release(_TWITTER_2017, "test"),
        "b4fa5ab99d0e75e80f60772c17926c95ccce52be9bb77aa6015e50cb09cd77b5",
    ),
    "078960730fc1ec6dccbb3e8bf53402ec67d158ba2c3197d5b127e600742ab9c4": (
        Release(_MNRE, "train"),
        "94451c9275b6ede0133fe38ae82ca02144442fa4d121d3fd6f5a9c9f7945f6b1",
    ),
    "db5a8ffb98bf3e26df4228a338f31e5322609afcd1bfc0ddbd976bb7fbbf9c79": (
        Release(_MNRE, "val"),
        "061e767dcb3f95325e3c5959a9f517d3a8f9a74cce854da5b74f99080cbade59",
    ),
    "4c3eb6a6aa96d5da0891af8c531f252e453eb484fbb9210da83f559d098c1d06": (
        Release(_MNRE, "test"),
        "3b2c62e19d41231719455d97e650730b9f52355e45ee6072bf7e1201805322f0",
    ),
}
"""Digest of the words of a published file's posts -> the file, and the digest of its words and labels.

Both digests do without order, line ends and layout, so that a copy in another layout is recognised.
"""

_WITH_STRAY_INSIDE = {Release(_TWITTER_2015, part) for part in ("train", "valid", "test")}


def identify(path: str | Path) -> Release | None:
    """The release a file is, or None where its bytes are not known (drawn corpora, edited copies).

    Raises:
        InputError: the file is missing, unreadable or empty.
    """
    return RELEASES.get(checksum(path))


def release_name(path: str | Path, posts: Sequence[Post]) -> str:
    """What to call a file of posts: the release it is, or `unknown` and what it resembles.

    Raises:
        InputError: as `identify`.
    """
    return str(identify(path) or unknown_name(posts))


def unknown_name(posts: Sequence[Post]) -> str:
    """What to call a file of posts that is no known release: `unknown`, and what it resembles."""
    like = resemblance(posts)
    return UNKNOWN if like is None else f"{UNKNOWN}; {like}"


def resemblance(posts: Sequence[Post]) -> str | None:
    """What posts of an unknown file have in common with a published one: all of its texts, and maybe its labels.

    Returns:
        A clause that names the file and says whether the labels are the same, or None where the texts are others.
    """
    published = _POSTS.get(_digest(" ".join(post.tokens) for post in posts))
    if published is None:
        return None
    release, labels = published
    if labels == _digest(map(_labelled, posts)):
        return f"the posts and labels of {release}, in other bytes"
    return (
        f"the posts of {release}, with other labels: repaired, edited or predicted ones (which repaired release it may "
        "be is unknown, for want of a checksum)"
    )


def _labelled(post: Post) -> str:
    entities = sorted((entity.start, entity.end, entity.type or "") for entity in post.entities)
    spans = [(entity.start, entity.end) for entity in post.entities]
    relations = sorted((*spans[relation.head], *spans[relation.tail], relation.type) for relation in post.relations)
    return json.dumps([post.tokens, entities, relations])


def _digest(lines: Iterable[str]) -> str:
    """SHA-256 over lines in alphabetical order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogatepass")).hexdigest()


def has_stray_inside(path: str | Path) -> bool:
    """Whether a file is a published one in which entities are known to begin with an I- tag (Twitter-2015)."""
    return identify(path) in _WITH_STRAY_INSIDE
