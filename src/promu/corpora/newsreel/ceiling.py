"""What a reader of the text alone can expect to reach on the written posts.

The reader has perfect spans and gets every post right that is decided by its text. Of an undecided post it knows the
template, and gives for each template one constant answer: the best one on many other posts of the same world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from promu.corpora.newsreel.posts import WrittenPost
from promu.schema import NO_RELATION


def ner_ceiling(posts: Sequence[WrittenPost], read: Sequence[WrittenPost]) -> float:
    """Entity micro-F1 (0-100) of the text-only reader on `posts`.

    Its constant answer is a type for each template and place (first or second name). With perfect spans precision
    and recall are both the share of names given their right type.

    Args:
        posts: The posts to be tagged.
        read: Other posts, from which the reader chose its answers.
    """
    seen: dict[tuple[str, int], Counter[str]] = {}
    for post in read:
        if not post.decided:
            for place, mention in enumerate(post.mentions):
                seen.setdefault((post.template, place), Counter())[mention.type] += 1
    answers = {place: counts.most_common(1)[0][0] for place, counts in seen.items()}
    right = total = 0
    for post in posts:
        for place, mention in enumerate(post.mentions):
            total += 1
            right += post.decided or answers.get((post.template, place)) == mention.type
    return 100.0 * right / total if total else 0.0


def re_ceiling(posts: Sequence[WrittenPost], read: Sequence[WrittenPost]) -> float:
    """Relation micro-F1 (0-100, `None` left out) of the text-only reader on `posts`.

    Args:
        posts: The posts to be classified.
        read: Other posts, from which the reader chose its answers.
    """
    answers = _best_answers(read)
    hits = asked = gold = 0
    for post in posts:
        answer = post.relation if post.decided else answers.get(post.template, NO_RELATION)
        gold += post.relation != NO_RELATION
        asked += answer != NO_RELATION
        hits += answer != NO_RELATION and answer == post.relation
    return 200.0 * hits / (asked + gold) if asked + gold else 0.0


def _best_answers(read: Sequence[WrittenPost]) -> dict[str, str]:
    """The templates that are better answered with a relation than with `None`, and that relation.

    F1 = 2 TP / (predicted + gold) is a ratio of sums, so its best set of answers is found by raising it step by step
    (Dinkelbach): at an F1 of f, a template is worth its most frequent relation exactly if 2 TP > f * predicted.
    """
    sure = gold = 0
    templates: dict[str, Counter[str]] = {}
    for post in read:
        gold += post.relation != NO_RELATION
        if post.decided:
            sure += post.relation != NO_RELATION
        else:
            templates.setdefault(post.template, Counter())[post.relation] += 1
    best = {}
    for template, counts in templates.items():
        related = [(count, label) for label, count in counts.items() if label != NO_RELATION]
        if related:
            count, label = max(related)
            best[template] = (count, counts.total(), label)
    f1, answers = -1.0, dict[str, str]()
    while gold:
        chosen = {template: row for template, row in best.items() if 2 * row[0] > f1 * row[1]}
        hits = sure + sum(row[0] for row in chosen.values())
        asked = sure + sum(row[1] for row in chosen.values())
        better = 2 * hits / (asked + gold)
        if better <= f1:
            break
        f1, answers = better, {template: row[2] for template, row in chosen.items()}
    return answers
