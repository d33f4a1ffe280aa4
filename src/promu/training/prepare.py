"""What pre-training starts from: a corpus, candidates, a tokenizer, a teacher and its labels, each made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, set_seed

from promu.alignment.candidates import (
    count_nouns,
    frequent_nouns,
    most_frequent,
    read_candidates,
    read_meta_rules,
    read_properties,
    read_stop_list,
    read_text_lines,
    relations,
)
from promu.alignment.corpus_build import build_corpus
from promu.alignment.label_store import LabelHeader, LabelStore
from promu.alignment.labelling import label_corpus
from promu.alignment.synonyms import read_synonyms, table_checksum
from promu.alignment.teacher import load_teacher
from promu.config import ModelSettings, load_recipe
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.files import atomic, write_text
from promu.hub import resolve
from promu.modeling.distributed import in_order, process_number, processes, wait_for_all
from promu.modeling.initial_model import build_model
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import load_tokenizer, save_folder
from promu.modeling.losses import JointLoss
from promu.modeling.pretraining import PromuDualEncoder
from promu.progress import mark_stored
from promu.runs import RunFolder
from promu.training.batches import CorpusOrder
from promu.training.caption_filter import filter_captions
from promu.training.feature_cache import texts_of, views_of
from promu.training.loop import fit
from promu.training.pair_batches import CaptionCollator
from promu.training.recipe import NounSettings, PretrainRecipe
from promu.training.tokenizers import train_wordpiece


@dataclass(frozen=True)
class Sources:
    """What comes before the teacher: corpora, the student's tokenizer, the candidates of Eq 6 and Eq 9."""

    corpus: PairShards
    dev: PairShards | None
    tokenizer: PreTrainedTokenizerBase
    nouns: Sequence[str]
    relations: Sequence[str]


@dataclass(frozen=True)
class Prepared(Sources):
    """Everything that joint pre-training starts from: data, tokenizer, and the teacher's labels of both corpora.

    `teacher_folder` is where the self-trained teacher is; None for one off the shelf.
    """

    teacher_folder: Path | None
    store: LabelStore
    dev_store: LabelStore | None


def prepare(recipe: PretrainRecipe) -> Prepared:
    """Make whatever the recipe's folder does not hold yet. Several processes share the teacher and the labels.

    Raises:
        InputError: Data, candidates, encoder or folder cannot be used.
    """
    sources = prepare_sources(recipe)
    folder = train_teacher(recipe, sources.corpus, sources.tokenizer)
    corpora = {"labels": sources.corpus} | ({} if sources.dev is None else {"labels-dev": sources.dev})
    stores = label(recipe, sources, folder, corpora, (process_number(), processes()))
    return Prepared(**vars(sources), teacher_folder=folder, store=stores["labels"], dev_store=stores.get("labels-dev"))


def label_recipe(
    recipe: str | Path | Mapping[str, Any] | PretrainRecipe,
    overrides: Sequence[str] = (),
    shard: tuple[int, int] = (0, 1),
) -> tuple[LabelStore, PairShards]:
    """Label the corpus of a pre-training recipe; what is there already is not made again.

    Args:
        recipe: Name of a recipe that ships with promu, YAML file, settings, or the object.
        overrides: `key.path=value` settings that win over the recipe's.
        shard: (i, n): label the images whose number is i modulo n; the first share also trains the teacher.

    Returns:
        The labels, and the corpus that they are of.

    Raises:
        InputError: As `prepare`, or a later share comes before the first has trained the teacher.
    """
    recipe = load_recipe(recipe, PretrainRecipe, overrides)
    if shard[0] and recipe.teacher.text is not None and not _teacher_is_trained(Path(recipe.out)):
        first = f"start --shard 0/{shard[1]} first, the others once it labels"
        raise InputError(f"the teacher is not trained yet; {first}", recipe.out)
    sources = prepare_sources(recipe)
    folder = train_teacher(recipe, sources.corpus, sources.tokenizer)
    return label(recipe, sources, folder, {"labels": sources.corpus}, shard)["labels"], sources.corpus


def prepare_sources(recipe: PretrainRecipe) -> Sources:
    """Claim the run's folder and make what comes before the teacher; faults of the recipe's data show here, early."""
    with in_order():
        RunFolder(recipe.out).claim(recipe.model_dump(mode="json"))
        corpus, dev = open_corpora(recipe)
        nouns, relation_names = candidates(recipe, corpus)
        tokenizer = prepare_tokenizer(recipe, corpus)
        if recipe.data.filter is not None:  # at the end, so that labels of the whole corpus fit the filtered one
            folder = Path(recipe.out) / "filtered"
            filter_captions(corpus.folder, recipe.data.filter, folder, seed=recipe.seed)
            corpus = PairShards(folder)
        return Sources(corpus, dev, tokenizer, nouns, relation_names)


def open_corpora(recipe: PretrainRecipe) -> tuple[PairShards, PairShards | None]:
    """The corpus to train on and the one to validate on, built where the recipe says how."""
    settings, dev = recipe.data.corpus, recipe.data.dev
    if not isinstance(settings, str):
        folder = Path(recipe.out) / "corpus"
        build_corpus(settings, folder)
        dev = dev or (str(folder / "dev") if settings.dev else None)
        settings = str(folder / "train" if settings.dev else folder)
    return PairShards(settings), None if dev is None else PairShards(dev)


def candidates(recipe: PretrainRecipe, corpus: PairShards) -> tuple[Sequence[str], Sequence[str]]:
    """Nouns (M of Eq 6) and relations (L of Eq 9).

    Raises:
        InputError: A file of candidates or a pipeline cannot be used, or no noun is left.
    """
    settings = recipe.labels
    nouns, table = recipe.data.nouns, recipe.data.relations
    if isinstance(nouns, str):
        captions = (pair.caption for pair in corpus.pairs())
        chosen = [noun for noun, _ in frequent_nouns(captions, read_candidates(Path(nouns)), settings.num_nouns)]
        if not chosen:
            raise InputError("none of these nouns occurs in the captions; name the corpus's own", nouns)
    else:
        chosen = _nouns_by_pipeline(nouns, Path(recipe.out) / "nouns.txt", corpus, settings.num_nouns)
    if isinstance(table, str):
        return chosen, read_candidates(Path(table), settings.num_relations)
    properties, rules = read_properties(Path(table.properties)), read_meta_rules(table.meta)
    return chosen, [item.label for item in relations(properties, rules, settings.num_relations)]


def _nouns_by_pipeline(settings: NounSettings, path: Path, corpus: PairShards, limit: int) -> list[str]:
    if not path.is_file():
        stop = read_stop_list(settings.stop)
        distinct = list(dict.fromkeys(pair.caption for pair in corpus.pairs() if pair.matched))
        counts = count_nouns(distinct, settings.pipeline)
        for word in stop:
            counts.pop(word, None)
        if not counts:
            reason = "this pipeline finds no noun in the captions; name one of their language"
            raise InputError(reason, settings.pipeline)
        write_text(path, (f"{noun}\t{number}\n" for noun, number in most_frequent(counts, len(counts))))
    return read_candidates(path, limit)


def prepare_tokenizer(recipe: PretrainRecipe, corpus: PairShards) -> PreTrainedTokenizerBase:
    """The tokenizer that the recipe names, or one trained on the captions, in `out/tokenizer`."""
    if isinstance(recipe.tokenizer, str):
        return load_tokenizer(resolve(recipe.tokenizer))
    folder = Path(recipe.out) / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        texts = [pair.caption for pair in corpus.pairs()]
        for path in recipe.tokenizer.texts:
            texts += read_text_lines(Path(path))
        with atomic(folder, folder=True) as temporary:
            train_wordpiece(texts, recipe.tokenizer.size, recipe.tokenizer.min_frequency).save_pretrained(temporary)
    return load_tokenizer(str(folder))


def train_teacher(recipe: PretrainRecipe, corpus: PairShards, tokenizer: PreTrainedTokenizerBase) -> Path | None:
    """The folder of the self-trained teacher: L_CIT alone on the matched pairs, then frozen. None for another kind."""
    settings = recipe.teacher
    if settings.name is not None:
        return None
    if settings.init is not None:
        return Path(settings.init)
    out = Path(recipe.out)
    folder = out / "teacher"
    if _teacher_is_trained(out):
        RunFolder(folder).discard_checkpoints()
        return folder / "model"
    set_seed(settings.seed)
    encoders = ModelSettings(text=settings.text, vision=settings.vision, config=settings.config)
    model = build_model(PromuDualEncoder, encoders, tokenizer)
    encoder = WordEncoder.of(tokenizer, model.config)
    views = views_of(model, corpus, settings.views, out / "features", settings.seed)
    texts = texts_of(model, encoder, corpus, out / "features")
    order = CorpusOrder(corpus, matched_only=True)
    collate = CaptionCollator(corpus, encoder, views, settings.seed, texts)
    fit(model, order, collate, settings.training, folder, settings.seed, "teacher", loss=JointLoss.of(model))
    with in_order() as first:
        if first:
            save_folder(folder / "model", model, tokenizer)
            RunFolder(folder).discard_checkpoints()
    mark_stored()
    return folder / "model"


def _teacher_is_trained(out: Path) -> bool:
    return (out / "teacher" / "model" / "model.safetensors").is_file()


def label(
    recipe: PretrainRecipe,
    sources: Sources,
    teacher_folder: Path | None,
    corpora: Mapping[str, PairShards],
    shard: tuple[int, int],
) -> dict[str, LabelStore]:
    """The teacher's labels of the `shard` of some corpora, named by the folder of their store in `out`."""
    settings = recipe.labels
    if teacher_folder is None:
        teacher = load_teacher(recipe.teacher.kind, resolve(str(recipe.teacher.name)))
    else:
        teacher = load_teacher("self-trained", str(teacher_folder))
    synonyms = read_synonyms(settings.synonyms) if settings.detector_weight else None
    stores = {}
    for name, corpus in corpora.items():
        header = LabelHeader(
            teacher=teacher.identity,
            detector=str(corpus.header.get("settings", {}).get("detector", "")),
            nouns=tuple(sources.nouns),
            relations=tuple(sources.relations),
            entity_template=settings.entity_template,
            relation_template=settings.relation_template,
            temperature=settings.temperature or teacher.temperature,
            top_k=settings.top_k,
            detector_weight=settings.detector_weight,
            synonyms="" if synonyms is None else table_checksum(synonyms),
            nouns_source=str(recipe.data.nouns),
            relations_source=str(recipe.data.relations),
        )
        folder = Path(recipe.out) / name
        label_corpus(teacher, corpus, header, folder, shard, synonyms)
        wait_for_all()  # the others may still be labelling their shares
        stores[name] = LabelStore(folder, header)
    return stores
