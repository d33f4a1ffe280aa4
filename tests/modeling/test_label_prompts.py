"""Labels as words: how users write them, what is refused, and heads that take any number of them."""

from __future__ import annotations

import pytest
import torch
from tests.factories import tiny_batch, tiny_config

from promu.errors import InputError
from promu.modeling.chain import bio_labels
from promu.modeling.classification import (
    LabelPrompts,
    PromuForRelationClassification,
    PromuForTokenClassification,
)
from promu.modeling.crf import LinearChainCrf, RoleCrf
from promu.modeling.label_prompts import LabelPrompt, label_words, prompt_of, relation_prompts, type_prompts

MANY = [f"kind {number}" for number in range(300)]


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ([], "types is an empty list; name at least one, or leave types out"),
        ("person", "types is a list of words, and this is 'person'; write types=['person']"),
        (["person", 3], "types is a list of words"),
        (MANY, "300 types are asked for, and 128 are taken at most; ask in several calls"),
        (["a b", "a b"], "the type 'a b' is there twice (as 'a b')"),
        (["person", "Person "], "the type 'Person' is there twice (as 'person'); keep one of them"),
        (["the"], "the type 'the' is a word that names no kind; describe it, as in 'the: what is meant by it'"),
        (["OF"], "the type 'OF' is a word that names no kind"),
        (["x" * 500], "the name of a type has 500 characters"),
        ([" : teams"], "a type has no name"),
        (["?!"], "a type has no name"),
    ],
)
def test_types_that_nobody_can_mean(types: list[str], reason: str) -> None:
    with pytest.raises(InputError) as error:
        type_prompts(types)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("relations", "reason"),
    [
        (["wears (person -> brand)"], "asks for the type 'brand', and the types here are ORG, person"),
        (["wears (person)"], "is not of the form NAME, NAME: DESCRIPTION or NAME (HEAD -> TAIL)"),
        (["None"], "'None' is the name for no relation, which is always possible; leave it out"),
        (["wears", "WEARS"], "the relation 'WEARS' is there twice (as 'wears')"),
        ([], "relations is an empty list"),
        (["of"], "the relation 'of' is a word that names no kind"),
    ],
)
def test_relations_that_nobody_can_mean(relations: list[str], reason: str) -> None:
    with pytest.raises(InputError) as error:
        relation_prompts(relations, ["person", "ORG"])
    assert reason in str(error.value)


def test_a_word_that_names_no_kind_may_be_described() -> None:
    assert type_prompts(["it: pronouns for things"]) == [LabelPrompt("it", "pronouns for things")]
    (wears,) = relation_prompts(["wears (Person -> org|*): has it on: now"], ["person", "ORG"])
    assert wears == LabelPrompt("wears", "has it on: now", ("person",), ("org",))
    (free,) = relation_prompts(["/per/org/member_of"], [])
    assert free == LabelPrompt("/per/org/member_of")


def test_prompts_are_those_of_pre_training_with_words_for_names() -> None:
    assert prompt_of(LabelPrompt("PER"), "1", {}) == "This is an image of person."
    assert prompt_of(LabelPrompt("team", "clubs"), "2", {"team": "no"}) == "An image of team: clubs is shown here."
    assert prompt_of(LabelPrompt("MISC"), "1", {"MISC": "works"}) == "This is an image of miscellaneous: works."
    said = prompt_of(LabelPrompt("wears", heads=("person",), tails=("brand", "shoe")), "A", {})
    assert said == "This image shows the relation of wears, from person to brand or shoe."
    assert label_words("/per/loc/place_of_residence") == "place of residence, from person to location"


def test_the_crf_of_roles_is_the_crf_of_types_with_equal_scores() -> None:
    torch.manual_seed(0)
    roles, types = RoleCrf(), LinearChainCrf(bio_labels(["a", "b", "c"]))
    with torch.no_grad():
        for parameter in roles.parameters():
            parameter.normal_()
        for own, given in zip((types.start, types.transitions, types.end), roles.parts(7), strict=False):
            own.copy_(given)
    assert torch.equal(roles.parts(7)[4], types.legal_transitions)
    assert torch.equal(roles.parts(7)[3], types.legal_start)
    emissions, mask = torch.randn(2, 5, 7), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    labels = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 0, 0, 0]])
    assert torch.allclose(roles(emissions, labels, mask), types(emissions, labels, mask))
    assert roles.weights(7).decode(emissions.numpy(), mask.numpy()) == types.weights().decode(
        emissions.numpy(), mask.numpy()
    )
    assert roles(torch.randn(1, 2, 3), torch.tensor([[1, 2]]), torch.ones(1, 2)).isfinite()


def test_a_label_scores_the_same_whatever_else_is_asked_for() -> None:
    torch.manual_seed(0)
    head = LabelPrompts(16, 8, 2)
    vectors, labels = torch.randn(2, 3, 16), torch.randn(4, 8)
    scores = head(vectors, labels)
    assert scores.shape == (2, 3, 1 + 4 * 2)
    assert torch.allclose(head(vectors, labels[[2]]), scores[..., [0, 5, 6]])
    masked = head.only(scores, torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1]]))
    assert torch.equal(masked[1], scores[1]) and torch.equal(masked[0, :, [0, 1, 2]], scores[0, :, [0, 1, 2]])
    assert (masked[0, :, 3:5] < scores[0, :, 3:5] - 20).all()


def test_a_model_begins_with_the_likeness_that_its_encoder_has() -> None:
    model = PromuForTokenClassification(tiny_config(label_template="1", id2label={0: "O", 1: "B-a", 2: "I-a"})).eval()
    vectors = torch.randn(1, 2, model.config.hidden_size)
    scores = model.prompts(vectors, vectors[0]) - model.prompts.roles(vectors)[..., [0, 1, 2, 1, 2]]
    assert torch.allclose(scores[0, 0, 1:3], torch.tensor([10.0, 10.0]), atol=1e-4), "a cosine of 1, times the scale"


@pytest.mark.parametrize("head", ["markers", "spans", "levitated"])
def test_every_head_of_relations_reads_prompts(head: str) -> None:
    config = tiny_config(label_template="A", relation_head=head, id2label={0: "None", 1: "a", 2: "b"})
    model = PromuForRelationClassification(config).eval()
    fused = torch.randn(2, 7, config.hidden_size)
    places = torch.tensor([[1, 3], [2, 4]]) if head == "markers" else torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 6]])
    batch = {**tiny_batch(2), "prompt_ids": torch.tensor([[1, 5, 2], [1, 6, 2]]), "prompt_mask": torch.ones(2, 3)}
    names = model.names(batch["prompt_ids"], batch["prompt_mask"])
    assert model.answer(fused, places, names=names).shape == (2, 3)
    if head != "levitated":
        output = model(**batch, **({"marker_index": places} if head == "markers" else {"pairs": places}))
        given = {"prompt_vectors": names} | ({"marker_index": places} if head == "markers" else {"pairs": places})
        assert torch.allclose(output.logits, model(**tiny_batch(2), **given).logits, atol=1e-5)
