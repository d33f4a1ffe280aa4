"""`promu newsreel` and `promu check`: make data, look at data."""

from __future__ import annotations

from pathlib import Path

from promu.cli.console import print_json, progress_bar


def newsreel(
    out: Path,
    /,
    *,
    seed: int = 0,
    size: int = 48,
    pairs: int = 16000,
    ner_posts: tuple[int, int, int] = (400, 200, 500),
    re_posts: tuple[int, int, int] = (400, 200, 500),
    undecided: float = 0.6,
    falsified: float = 0.5,
    unrelated: float = 0.15,
    dropped_mentions: float = 0.12,
    relation_phrase: float = 0.55,
    noise: float = 8.0,
    tail: float = 0.0,
    json: bool = False,
) -> None:
    """Draw the built-in corpus: captioned pictures and posts in the published formats, determined by the settings.

    Args:
        out: The folder to make; if it holds this very corpus already, nothing is drawn again.
        seed: Seed of the world: names, scenes, texts, pictures.
        size: Width and height of a picture in pixels.
        pairs: Number of pairs of picture and caption.
        ner_posts: Posts for entities: train, dev and test.
        re_posts: Posts for relations: train, dev and test.
        undecided: Share of posts whose text decides neither type nor relation, so that the picture must.
        falsified: Share of pairs whose caption comes from another, similar picture.
        unrelated: Share of the posts decided by their text that come with a picture of something else.
        dropped_mentions: Share of the things in a picture whose kind its caption does not tell.
        relation_phrase: Share of captions that tell the relation their picture shows.
        noise: Standard deviation of the pixel noise, of 255.
        tail: How much rarer each entity type and relation of the posts is than the one before: the nth has a weight of
            1 / n ** tail; 0 makes all as frequent.
        json: Print JSON instead of lines.
    """
    from promu.corpora.newsreel import NewsreelSettings, write_newsreel

    settings = NewsreelSettings(
        seed=seed,
        size=size,
        pairs=pairs,
        ner_posts=ner_posts,
        re_posts=re_posts,
        undecided=undecided,
        falsified=falsified,
        unrelated=unrelated,
        dropped_mentions=dropped_mentions,
        relation_phrase=relation_phrase,
        noise=noise,
        tail=tail,
    )
    with progress_bar("drawing") as advance:
        report = write_newsreel(out, settings, advance)
    if json:
        print_json(
            {
                "path": str(report.path),
                "reused": report.reused,
                "settings": settings.to_dict(),
                "counts": report.counts,
                "text_only_ceiling": {"ner": report.ner_ceiling, "re": report.re_ceiling},
            }
        )
        return
    print(f"{report.path}: {'already there, nothing drawn' if report.reused else 'drawn'}, seed {seed}")
    width = max(map(len, report.counts))
    for name, count in report.counts.items():
        print(f"  {name:<{width}}  {count:>7,}")
    print(
        f"text-only ceiling on test (best F1 without pictures): entities {report.ner_ceiling:.1f}, "
        f"relations {report.re_ceiling:.1f}"
    )


def check(path: Path, /, *, format: str, images: Path | None = None, json: bool = False) -> int:
    """Read a file or a whole set; say what is in it, and every malformed line as `file:line: reason`.

    Of a whole set also what its splits share: texts, pictures by name, and with --images pictures by content. A file is
    named by its checksum where that is known.

    Exit status 2 when a line is malformed or a picture missing or broken.

    Args:
        path: A file, or the folder of a set.
        format: One of conll, conll-lenient, mnre, jmere, posts, captions, newsclippings, coco.
        images: Folder of pictures; missing and broken ones are then named.
        json: Print JSON instead of lines.
    """
    from promu.corpora.check import check as check_corpus

    report = check_corpus(path, format, images)
    if json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            print(line)
    return 0 if report.ok else 2
