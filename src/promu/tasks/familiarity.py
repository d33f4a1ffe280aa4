"""Whether a text is like the posts that a model has learned from.

Fine-tuning counts the words of its training posts, and what follows on what. The counts lie in the model's folder
(`familiarity.json`). With them every word of a text has a surprisal, -log p(word | word before it). A word that
training has not seen twice belongs to one of two classes, by whether it begins with a capital, and is spelled letter by
letter. A text is unfamiliar if its words surprise more, for their number, than those of 98 in 100 posts of dev.

No encoder is asked, so that a model in PyTorch and its ONNX graphs warn of the same texts.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from promu.config import first_problem
from promu.errors import InputError, counted
from promu.files import read_json_document, write_json

FILE = "familiarity.json"
SHARE = 0.98
"""The share of dev's posts that are familiar."""
FEWEST = 50
"""Posts of dev at least: of fewer, nobody can say which two in a hundred are the oddest."""
ORDER = 3
"""Letters of a run, by which new words are spelled."""
LONGEST = 30
"""Letters of a word that count."""
NAMED = 4
"""Words that a warning names."""

START, LOWER, CAPITAL = "", "<new>", "<New>"
"""In the place of words: before the first, and new ones in lower case or with a capital."""
_NO_WORD = re.compile(r"@|https?$|https?:|www\.|t\.co|//", re.IGNORECASE)


def words_of(tokens: Iterable[str]) -> list[str]:
    """The words of a text: tokens with a letter, without `#`; no addresses, no names of users.

    Example:
        ```python
        from promu.tasks.familiarity import words_of

        assert words_of(["@ann", "met", "Bob", "!", "#happy", "https://t.co/x"]) == ["met", "Bob", "happy"]
        ```
    """
    plain = (token.lstrip("#") for token in tokens if not _NO_WORD.match(token))
    return [word for word in plain if any(map(str.isalpha, word))]


class Counts(BaseModel):
    """What the file holds.

    Attributes:
        words: How often each word came that came twice or more, in lower case; the classes of new words among them.
        after: By word, how often each other one came after it, twice or more.
        spelling: By a run of letters, what came after it in new words: letter to count.
        mean, deviation: Of the surprisal of dev's words, in nats.
        threshold: The score above which a text is unfamiliar.
    """

    model_config = ConfigDict(extra="forbid")

    words: dict[str, PositiveInt] = Field(min_length=1)
    after: dict[str, dict[str, PositiveInt]]
    spelling: dict[str, dict[str, PositiveInt]]
    mean: float = 0.0
    deviation: float = Field(default=1.0, gt=0)
    threshold: float = 0.0


class Familiarity:
    """What texts a model knows.

    Args:
        counts: Of its training posts.

    Example:
        ```python
        from promu.tasks.familiarity import Familiarity

        seen = [f"{name} went home at {hour}".split() for name in ("Ann", "Bob") for hour in ("ten", "two")] * 20
        familiar = Familiarity.of(seen, seen)
        assert familiar is not None and familiar.warning("Bob went home at two".split()) is None
        print(familiar.warning("Das Gericht hat die Klage abgewiesen".split()))
        ```
    """

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._total = sum(counts.words.values())
        self._letters = 1 + len({letter for following in counts.spelling.values() for letter in following})
        self.spelled = lru_cache(maxsize=50_000)(self._spelled)

    @classmethod
    def of(cls, train: Iterable[Sequence[str]], dev: Iterable[Sequence[str]]) -> Self | None:
        """Count training posts, and choose the threshold on those of dev; both as words, a text that comes again once.

        None where dev has fewer than `FEWEST` texts, or training no word that comes twice.
        """
        texts = [words_of(tokens) for tokens in dict.fromkeys(map(tuple, train))]
        held = [words for tokens in dict.fromkeys(map(tuple, dev)) if (words := words_of(tokens))]
        often = Counter(word.lower() for words in texts for word in words)
        known = {word for word, count in often.items() if count > 1}
        if len(held) < FEWEST or not known:
            return None
        single: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for words in texts:
            classes = [START, *(_class(word, known) for word in words)]
            single.update(classes[1:])
            pairs.update(pairwise(classes))
        after: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (before, word), count in sorted(pairs.items()):
            if count > 1:
                after[before][word] = count
        spelling: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word in often.keys() - known:
            for run, letter in _runs(word):
                for start in range(ORDER):
                    spelling[run[start:]][letter] += 1
        runs = {run: dict(sorted(following.items())) for run, following in sorted(spelling.items())}
        counts = Counts(words=dict(sorted(single.items())), after=dict(after), spelling=runs)
        found = cls(counts)
        surprisals = [found.surprisals(words) for words in held]
        every = np.concatenate(surprisals)
        counts.mean, counts.deviation = float(every.mean()), max(float(every.std()), 1e-6)
        counts.threshold = float(np.quantile([found.score(of_text) for of_text in surprisals], SHARE))
        return found

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """What lies in a model's folder; None where nothing does.

        Raises:
            InputError: The file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            return cls(Counts.model_validate(read_json_document(path)))
        except ValidationError as error:
            reason = first_problem(error)
        except InputError as error:
            reason = error.reason
        raise InputError(f"cannot be read ({reason}); delete it, and the model warns of no text", path)

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        write_json(folder / FILE, self.counts.model_dump())

    def surprisals(self, words: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """-log p of each word after the one before it, in nats (n,)."""
        before, found = START, []
        for word in words:
            kind = _class(word, self.counts.words)
            alone = (self.counts.words.get(kind, 0) + 0.5) / (self._total + 0.5)
            following = self.counts.after.get(before, {})
            seen, kinds = sum(following.values()), len(following)
            share = (following.get(kind, 0) + kinds * alone) / (seen + kinds) if seen else alone
            spelled = self.spelled(word.lower()) if kind in (LOWER, CAPITAL) else 0.0
            found.append(spelled - math.log(share))
            before = kind
        return np.array(found)

    def score(self, surprisals: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        """By how much a text surprises more than the words of dev do, in standard errors of a text of its length."""
        spread = self.counts.deviation * math.sqrt(max(1, len(surprisals)))
        return float((surprisals - self.counts.mean).sum()) / spread

    def warning(self, tokens: Sequence[str]) -> str | None:
        """Why not to trust what is found in a text, as a sentence; None where it is like the posts of training."""
        words = words_of(tokens)
        if not words or self.score(self.surprisals(words)) <= self.counts.threshold:
            return None
        new = [word for word in words if _class(word, self.counts.words) in (LOWER, CAPITAL)]
        if not new:
            why = "its words hardly ever stand together there"
        else:
            named = list(dict.fromkeys(new))
            shown = ", ".join(named[:NAMED]) + (", …" if len(named) > NAMED else "")
            why = f"of {counted(len(words), 'word')}, {len(new)} {'is' if len(new) == 1 else 'are'} new to it ({shown})"
        return f"This text is unlike the posts that the model has learned from: {why}. Its answers may be wrong."

    def _spelled(self, word: str) -> float:
        """-log p of a new word's letters, in nats."""
        total = 0.0
        for run, letter in _runs(word):
            share = 1 / self._letters
            for start in reversed(range(ORDER)):  # from no letter before it to the whole run
                following = self.counts.spelling.get(run[start:], {})
                share = (following.get(letter, 0) + 5 * share) / (sum(following.values()) + 5)
            total -= math.log(share)
        return total


def _class(word: str, known: Any) -> str:
    """The word itself where it is known, else which kind of new word it is."""
    lower = word.lower()
    return lower if lower in known else CAPITAL if word[0].isupper() else LOWER


def _runs(word: str) -> list[tuple[str, str]]:
    """Each letter of a word, and its end, after the letters before it."""
    padded = "^" * (ORDER - 1) + word[:LONGEST] + "$"
    return [(padded[place - ORDER + 1 : place], padded[place]) for place in range(ORDER - 1, len(padded))]
