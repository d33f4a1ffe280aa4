"""docs/recipes.md names every setting with its default, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from promu import config
from promu.alignment.corpus_settings import CorpusSettings
from promu.kecpm import kecpm_recipe as generation
from promu.kecpm import kecpm_recipe as knowledge
from promu.modeling.configuration import PromuConfig
from promu.training import recipe as training

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
TABLES: dict[str, type[BaseModel]] = {
    "promu finetune": training.FinetuneRecipe,
    "data of promu finetune": training.FinetuneData,
    "model": config.ModelSettings,
    "training": training.TrainingSettings,
    "promu pretrain": training.PretrainRecipe,
    "data of promu pretrain": training.PretrainData,
    "data.corpus": CorpusSettings,
    "data.nouns": training.NounSettings,
    "data.relations": training.PropertySettings,
    "tokenizer": training.TokenizerSettings,
    "teacher": training.TeacherSettings,
    "labels": training.LabelSettings,
    "losses": training.LossSettings,
    "views, teacher.views": training.ViewSettings,
    "promu kecpm train": generation.KecpmRecipe,
    "data of promu kecpm train": generation.KecpmData,
    "model of promu kecpm train": generation.Seq2SeqSettings,
    "prompt": generation.PromptSettings,
    "decoding": generation.DecodingSettings,
    "promu knowledge generate": knowledge.KnowledgeRecipe,
    "data of promu knowledge generate": knowledge.KnowledgeData,
    "captions": knowledge.CaptionSettings,
    "exemplars": knowledge.ExemplarSettings,
    "provider": knowledge.ProviderSettings,
}
BACKBONE = "model.config, teacher.config"


def documented() -> dict[str, dict[str, str]]:
    """The tables of the page by heading: what stands under `default` by setting."""
    parts = re.split(r"^#+ (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    tables = {
        title: dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE))
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {title: table for title, table in tables.items() if table}


def as_written(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_no_table_is_of_anything_else() -> None:
    assert set(documented()) == {*TABLES, BACKBONE}
    modules = training, generation, knowledge
    groups = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    groups = [kind for kind in groups if kind.__name__ != "LlmSettings"]  # a base class
    own = {kind for kind in groups if issubclass(kind, BaseModel) and kind.model_fields}
    assert own == set(TABLES.values()), "each group of settings has its table"


@pytest.mark.parametrize("title", sorted(TABLES))
def test_a_table_has_every_setting_with_its_default(title: str) -> None:
    found = documented()[title]
    fields = TABLES[title].model_fields
    assert list(found) == list(fields)
    for name, field in fields.items():
        if field.is_required():
            assert found[name] == "needed", name
        elif isinstance(field.default, (BaseModel, dict)):
            assert found[name] == "group", name
        else:
            assert yaml.safe_load(found[name]) == as_written(field.default), name


def test_the_backbones_table_too() -> None:
    found = documented()[BACKBONE]
    assert list(found) == list(config.BackboneSettings.__annotations__)
    backbone = PromuConfig()
    for name, default in found.items():
        assert yaml.safe_load(default) == as_written(getattr(backbone, name)), name
