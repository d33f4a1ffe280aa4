"""What the figures of soft pseudo-labels say: which failure they look like, and what to turn.

The thresholds lie between labels known to be good and labels spoiled on purpose, of drawn and of real pictures; the
table is in docs/pretraining.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from promu.alignment.label_figures import Agreement, SideHealth

if TYPE_CHECKING:
    from promu.alignment.label_health import LabelHealth

INFORMATION = 0.15
"""Share of the mean label's entropy that a label must take away at least, or it tells next to nothing."""
SHARP = 0.85
"""Mean probability of the first candidate above which labels are one-hot in effect."""
DOMINANT = 0.5
"""Share of labels with the same first candidate above which that candidate dominates."""
UNUSED = 0.75
"""Share of candidates that are never first above which the list is too long, given ten labels a candidate."""
CAPTIONS = 0.2
"""How much of the way from chance to certainty agreement with captions must go, by the first noun or the first five."""
DETECTOR = 0.15
"""The same of the first noun and the detector's word."""
FEW = 50
"""Labels below which neither what they tell nor whether others agree is judged."""


def findings(health: LabelHealth) -> tuple[str, ...]:
    """A sentence for each failure that the figures look like, with what to turn."""
    if not health.pictures:
        return ("no picture of this corpus has labels: the store was made for another corpus, or labelling never ran",)
    found = list(_counts(health))
    if health.entities is not None:
        found += _side("regions' nouns", health.entities, health.captions)
        if _agrees(health.captions) is not False and health.entities.top[0][1] <= DOMINANT:
            found += _estranged(health.detector, health.detector_weight)
    if health.relations is not None:
        found += _side("pictures' relations", health.relations, None)
    return tuple(found)


def _counts(health: LabelHealth) -> Iterator[str]:
    if health.unlabelled:
        yield f"{health.unlabelled} pictures have no labels: run `promu label` again, it goes on where it stopped"
    if health.entities is None:
        yield "no picture has a region, so L_COE would learn nothing: build the corpus with a detector"
    elif health.without_regions > health.pictures / 2:
        yield (
            f"{health.without_regions} of {health.pictures} pictures have no region, and L_COE skips them: lower the "
            "detector's threshold, or use one that knows the corpus's things"
        )


def _side(what: str, side: SideHealth, captions: Agreement | None) -> Iterator[str]:
    if side.candidates < 2:
        yield f"{what} have one candidate, so every label is certain and teaches nothing: name more candidates"
        return
    name, share = side.top[0]
    alike = side.labels >= FEW and side.information < INFORMATION
    agrees, dominated = _agrees(captions), share > DOMINANT
    told = f"a label tells {side.information:.0%} of what it could"
    said = ""
    if captions is not None:
        said = f"; a caption says one of the first five in {captions.top5:.0%}, by chance in {captions.chance5:.0%}"
    if alike and (agrees is False or (dominated and agrees is None)):
        yield (
            f"{what} are nearly all the same ({told}; {name!r} first in {share:.0%}{said}): the teacher has not "
            "learned or has collapsed; train it longer or anew, or take one off the shelf"
        )
        return
    if alike:
        yield (
            f"{what} are too flat (mean entropy {side.entropy_share:.0%} of its largest, {told}{said}): lower "
            "labels.temperature"
        )
    elif agrees is False:
        yield (
            f"{what} differ, but hardly by what is shown ({told}{said}): the labels or boxes are of other pictures, "
            "the teacher does not know these things, or captions speak of others; look at them with `promu label "
            "--show 12`, then build the corpus anew or take another teacher"
        )
    if side.top_probability > SHARP:
        yield (
            f"{what} are one-hot in effect (first candidate at {side.top_probability:.2f} on average): raise "
            "labels.temperature, or soft labels are no better than hard ones"
        )
    if dominated:
        yield (
            f"{what} are dominated by {name!r}, first in {share:.0%} of the labels: put it on the stop list, unless "
            "the corpus shows little else"
        )
    elif len(side.never) > UNUSED * side.candidates and side.labels >= 10 * side.candidates:
        yield (
            f"{len(side.never)} of {side.candidates} candidates of {what} are never first: the list is too long for "
            "this corpus or holds what its pictures do not show; keep fewer"
        )


def _agrees(captions: Agreement | None) -> bool | None:
    """Whether captions agree with the labels well over chance; None where too few regions say."""
    if captions is None or captions.regions < FEW:
        return None
    return max(captions.gain1, captions.gain5) >= CAPTIONS


def _estranged(detector: Agreement | None, weight: float) -> Iterator[str]:
    """Where the labels are the teacher's alone, they are judged by what the detector calls the same regions."""
    if detector is not None and not weight and detector.regions >= FEW and detector.gain1 < DETECTOR:
        yield (
            f"the first noun is what the detector calls the region in {detector.top1:.0%} of regions, by chance in "
            f"{detector.chance1:.0%}: the teacher knows whole scenes, not what is cut out of them, or boxes are wrong; "
            "let the detector speak (labels.detector_weight), or take another teacher"
        )
