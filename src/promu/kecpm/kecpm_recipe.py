"""The recipes of KECPM: `promu knowledge generate` and `promu kecpm train`, every setting of a run in one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from promu.config import Count, NotNegativeInt, PlacePath, Recipe, Settings
from promu.corpora.tag_schemes import SCHEME
from promu.llm.llm_settings import LlmSettings
from promu.schema import Scheme
from promu.training.recipe import TokenizerSettings, TrainingSettings


class KnowledgeData(Settings):
    """The posts to get knowledge for."""

    posts: list[PlacePath] = Field(
        min_length=1, description="Files of posts; each gives a file of knowledge of its name."
    )
    format: str = Field(default="jmere", description="Format of the posts, as `promu check` names it.")
    scheme: Scheme = Field(default="auto", description=SCHEME)
    images: PlacePath | None = Field(default=None, description="Folder of their images, for captions from images.")


class CaptionSettings(Settings):
    """Where captions of images come from."""

    source: Literal["data", "file", "model", "promu", "none"] = Field(
        default="data",
        description="`data`: the post file; `file`: a caption file; `model`: an image-to-text model; `promu`: the "
        "nouns and the relation that a pre-trained promu model finds nearest; `none`.",
    )
    file: PlacePath | None = Field(default=None, description="For `file`: `image,caption` as CSV or JSON lines.")
    model: str | None = Field(default=None, description="For `model`: folder or hub name. For `promu`: model folder.")

    @model_validator(mode="after")
    def _source_is_named(self) -> CaptionSettings:
        if self.source == "file" and self.file is None:
            raise ValueError("source: file needs the file")
        if self.source in ("model", "promu") and self.model is None:
            raise ValueError(f"source: {self.source} needs the model")
        return self


class ExemplarSettings(Settings):
    """Worked exemplars in each prompt."""

    train: PlacePath | None = Field(
        default=None, description="Training posts that a pool, `out/pool.jsonl`, is made from."
    )
    pool: PlacePath | None = Field(
        default=None, description="A pool made before or written by hand, in place of `train`."
    )
    encoder: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        description="Text encoder whose sentence vectors say what is similar: folder, hub name, `package:NAME/PATH`.",
    )
    count: int = Field(default=2, ge=0, description="Exemplars a prompt.")

    @model_validator(mode="after")
    def _one_pool(self) -> ExemplarSettings:
        if self.count and (self.train is None) == (self.pool is None):
            raise ValueError("set either train (a pool is made from it) or pool (a file), or count to 0")
        return self


class ProviderSettings(LlmSettings):
    """Where the knowledge comes from, and what may be spent on it."""

    source: Literal["endpoint", "store", "file"] = Field(
        default="endpoint",
        description="`endpoint`; `store`: a store of answers that someone shares; `file`: published files with "
        "knowledge, or those that `promu knowledge generate` wrote. The last two send no request.",
    )
    files: list[PlacePath] | None = Field(default=None, description="For `file`: one for each file of posts.")
    reflection: bool = Field(default=True, description="Have the model check and correct its own answer.")
    templates: PlacePath | None = Field(default=None, description="Folder with your own templates.")
    max_tokens: int = Field(default=700, ge=1, description="Most tokens of an answer.")

    @model_validator(mode="after")
    def _source_is_complete(self) -> ProviderSettings:
        needs = {"endpoint": "its url", "store": "the store", "file": "files, one for each file of posts"}
        if {"endpoint": self.url, "store": self.store, "file": self.files}[self.source] is None:
            raise ValueError(f"source: {self.source} needs {needs[self.source]}")
        if self.source != "file" and self.model is None:
            raise ValueError("the model's name is missing")
        return self


class KnowledgeRecipe(Recipe):
    """Get background knowledge about posts."""

    command: ClassVar[str] = "promu knowledge generate"
    telling_key: ClassVar[str] = "provider"

    data: KnowledgeData = Field(description="The posts.")
    captions: CaptionSettings = Field(default=CaptionSettings(), description="Where captions come from.")
    exemplars: ExemplarSettings = Field(default=ExemplarSettings(count=0), description="Worked exemplars, if any.")
    provider: ProviderSettings = Field(description="The model that is asked, or where its answers are.")
    out: PlacePath = Field(description="Folder of everything that is written.")

    @property
    def pool_file(self) -> Path:
        """Where a pool goes that is made from training posts."""
        return self.out / "pool.jsonl"

    @property
    def knowledge_files(self) -> list[PlacePath]:
        """Where the knowledge goes, by file of posts."""
        return [self.out / f"{posts.stem}.jsonl" for posts in self.data.posts]

    @model_validator(mode="after")
    def _files_differ(self) -> KnowledgeRecipe:
        written = [path.resolve() for path in self.knowledge_files]
        if len(set(written)) < len(written):
            raise ValueError("data.posts names two files of one name, whose knowledge would be one file; rename one")
        read = [*self.data.posts, *(self.provider.files or []), self.exemplars.train, self.exemplars.pool]
        read += [self.captions.file, self.pool_file]
        lost = next((path for path in read if path is not None and path.resolve() in written), None)
        if lost is not None:
            raise ValueError(f"knowledge would be written over {lost}, which the run needs; name another folder in out")
        if self.captions.source in ("model", "promu") and self.data.images is None:
            raise ValueError("captions made from images need data.images")
        if self.provider.files is not None and len(self.provider.files) != len(self.data.posts):
            raise ValueError("provider.files must name one file for each of data.posts")
        return self


class KecpmData(Settings):
    """JMERE files of train, dev and test; captions and knowledge come from them."""

    train: PlacePath = Field(description="JMERE file to learn from.")
    dev: PlacePath = Field(description="JMERE file that selects the best epoch.")
    test: PlacePath = Field(description="JMERE file that is scored once, at the end.")
    knowledge: PlacePath | None = Field(
        default=None, description="Folder of `promu knowledge generate`, in place of the files' own."
    )
    groups: PlacePath | None = Field(default=None, description="JSON file, group by post id: figures by group on test.")
    versions: Count = Field(default=1, description="Versions of the training posts, all but one with other names.")


class Seq2SeqSettings(Settings):
    """The text-to-text model."""

    name: str | dict[str, Any] = Field(description="Folder or hub name of a T5 or BART type model; or a configuration.")
    tokenizer: str | TokenizerSettings | None = Field(
        default=None, description="Folder or hub name, null for the model's own; or how to train one on the prompts."
    )


Mode = Literal["text", "text+caption", "text+knowledge", "all"]


class PromptSettings(Settings):
    """What the model reads."""

    mode: Mode = Field(default="all", description="The text alone, with the caption, with the knowledge, or with both.")
    budget: Count = Field(default=256, description="Tokens of a prompt; neither the text nor a sentence is cut.")
    ranker: str | None = Field(default=None, description="Text encoder that ranks knowledge; null counts shared words.")


class DecodingSettings(Settings):
    """How answers are written."""

    beams: Count = Field(default=1, description="Beams; 1 is greedy.")
    batch_size: Count = Field(default=64, description="Posts a batch.")
    limit: Count = Field(default=160, description="Most tokens of an answer.")
    name_words: Count = Field(default=12, description="Most words of a name.")


class KecpmRecipe(Recipe):
    """Train once a seed, under `out/seed-<seed>`; the best epoch by dev micro F1 is kept, test is scored once."""

    command: ClassVar[str] = "promu kecpm train"
    telling_key: ClassVar[str] = "prompt"

    data: KecpmData = Field(description="Files of posts.")
    model: Seq2SeqSettings = Field(description="The text-to-text model.")
    prompt: PromptSettings = Field(default=PromptSettings(), description="What the model reads.")
    training: TrainingSettings = Field(default=TrainingSettings(), description="Optimiser and schedule.")
    decoding: DecodingSettings = Field(default=DecodingSettings(), description="How answers are written.")
    seeds: list[NotNegativeInt] = Field(default=[0, 1, 2], min_length=1, description="One run each, in `out/seed-N`.")
    out: PlacePath = Field(description="Folder of the runs.")
