"""The recipe of `promu kecpm train`: every setting of a run in one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from promu.config import Count, NotNegative, Recipe, Settings
from promu.llm.endpoint import KEY_VARIABLE, EndpointSettings
from promu.training.recipe import TokenizerSettings, TrainingSettings

Mode = Literal["text", "text+caption", "text+knowledge", "all"]


class GenerationData(Settings):
    """JMERE files of train, dev and test; captions and knowledge come from them.

    Attributes:
        knowledge: Folder of what `promu knowledge generate` wrote, one file a split (`train.jsonl` beside
            `train.json`), in place of the knowledge and captions of the files.
        groups: JSON file, group name by post id, for figures by group on test.
        versions: How many versions of the training posts are read in turn, an epoch each: in all but the first, names
            have changed places (`promu.kecpm.prompts`; beyond the paper).
    """

    train: str
    dev: str
    test: str
    knowledge: str | None = None
    groups: str | None = None
    versions: Count = 1


class WriterSettings(Settings):
    """The text-to-text model.

    Attributes:
        name: Folder or hub name of a T5 or BART type model; or a configuration with `model_type`, for random weights.
        tokenizer: Folder or hub name, null for the model's own; or how to train one on the training set's prompts.
    """

    name: str | dict[str, Any]
    tokenizer: str | TokenizerSettings | None = None


class PromptSettings(Settings):
    """What the model reads.

    Attributes:
        mode: Which parts: the text always, the caption, the knowledge, or all.
        budget: Word pieces of a prompt; the text is never cut, knowledge comes whole sentence by whole sentence, the
            most relevant first.
        ranker: Text encoder (folder, hub name, `package:NAME/PATH`) whose vectors say what is relevant; null counts
            the words that a sentence shares with the post.
    """

    mode: Mode = "all"
    budget: Count = 256
    ranker: str | None = None


class DecodingSettings(Settings):
    """How answers are written.

    Attributes:
        beams: Beams; 1 is greedy.
        batch_size: Posts at once.
        limit: Word pieces of an answer at most.
        name_words: Words of a name at most.
    """

    beams: Count = 1
    batch_size: Count = 64
    limit: Count = 160
    name_words: Count = 12


class GenerationRecipe(Recipe):
    """Train once a seed, under `out/seed-<seed>`; the best epoch by dev micro F1 is kept, test is scored once."""

    command: ClassVar[str] = "promu kecpm train"
    telling_key: ClassVar[str] = "prompt"

    data: GenerationData
    model: WriterSettings
    prompt: PromptSettings = PromptSettings()
    training: TrainingSettings = TrainingSettings()
    decoding: DecodingSettings = DecodingSettings()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0, 1, 2]
    out: str


POOL = "pool.jsonl"
"""In `out`: the pool that was made from training posts."""


class KnowledgeData(Settings):
    """The posts to get knowledge for.

    Attributes:
        posts: Files, of different names: each gives a file of knowledge of its name.
        format: Of the posts, as `promu check` names it.
        images: Folder of their images, for captions made on the spot.
    """

    posts: list[str] = Field(min_length=1)
    format: str = "jmere"
    images: str | None = None


class CaptionSettings(Settings):
    """Where captions of images come from.

    Attributes:
        source: `data`: what the post file carries; `file`: a caption file; `model`: an image-to-text model; `promu`:
            the nouns and the relation that a pre-trained promu model finds nearest; `none`.
        file: `image,caption` CSV or JSON lines.
        model: Folder or hub name of an image-to-text model, or the folder of the pre-trained promu model.
    """

    source: Literal["data", "file", "model", "promu", "none"] = "data"
    file: str | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _named(self) -> CaptionSettings:
        if self.source == "file" and self.file is None:
            raise ValueError("source: file needs the file")
        if self.source in ("model", "promu") and self.model is None:
            raise ValueError(f"source: {self.source} needs the model")
        return self


class ExemplarSettings(Settings):
    """Worked exemplars in each prompt.

    Attributes:
        train: File of training posts, in the format of the data, that a pool is made from; written to `out/pool.jsonl`.
        pool: A pool made before or written by hand, in place of `train`.
        encoder: Text encoder whose sentence vectors say what is similar: folder, hub name, or `package:NAME/PATH`.
        count: Exemplars a prompt.
    """

    train: str | None = None
    pool: str | None = None
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    count: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _one_pool(self) -> ExemplarSettings:
        if self.count and (self.train is None) == (self.pool is None):
            raise ValueError("set either train (a pool is made from it) or pool (a file), or count to 0")
        return self


class ProviderSettings(Settings):
    """Who supplies the knowledge, and what may be spent on it.

    Attributes:
        source: `endpoint`; `store`: a store of answers that someone shares; `file`: a published file with knowledge, or
            one that `promu knowledge generate` wrote. The last two ask nobody.
        url, model: Of the endpoint; the model's name belongs to what is looked up in a store too.
        store: SQLite file of answers; by default `out/llm.sqlite`.
        files: For `file`: one for each file of posts.
        reflection: Have the model check and correct its own answer.
        templates: Folder with templates of one's own.
        price_prompt, price_answer: Money per million tokens.
        max_cost, max_requests: Limits of one run.
    """

    source: Literal["endpoint", "store", "file"] = "endpoint"
    url: str | None = None
    model: str | None = None
    store: str | None = None
    files: list[str] | None = None
    reflection: bool = True
    templates: str | None = None
    key_variable: str = KEY_VARIABLE
    timeout: Annotated[float, Field(gt=0)] = 120.0
    patience: NotNegative = 600.0
    max_tokens: Count = 700
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    corrections: Annotated[int, Field(ge=0)] = 2
    concurrency: Count = 8
    price_prompt: NotNegative | None = None
    price_answer: NotNegative | None = None
    max_cost: NotNegative | None = None
    max_requests: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> ProviderSettings:
        if self.source == "endpoint" and self.url is None:
            raise ValueError("source: endpoint needs its url")
        if self.url is not None:  # checked where it is not used too: the recipe is written into the result
            EndpointSettings(self.url, self.key_variable, self.timeout, self.patience)
        if self.source == "store" and self.store is None:
            raise ValueError("source: store needs the store")
        if self.source == "file" and self.files is None:
            raise ValueError("source: file needs files, one for each file of posts")
        if self.source != "file" and self.model is None:
            raise ValueError("the model's name is missing")
        if (self.price_prompt is None) != (self.price_answer is None):
            raise ValueError("give both price_prompt and price_answer, or neither")
        if self.max_cost is not None and self.price_prompt is None:
            raise ValueError("max_cost needs price_prompt and price_answer")
        return self


class KnowledgeRecipe(Recipe):
    """Posts, captions, exemplars, provider, and the folder that everything goes to."""

    command: ClassVar[str] = "promu knowledge generate"
    telling_key: ClassVar[str] = "provider"

    data: KnowledgeData
    captions: CaptionSettings = CaptionSettings()
    exemplars: ExemplarSettings = ExemplarSettings(count=0)
    provider: ProviderSettings
    out: str

    def knowledge_file(self, posts: str) -> Path:
        """Where the knowledge of one of `data.posts` goes."""
        return Path(self.out) / f"{Path(posts).stem}.jsonl"

    @model_validator(mode="after")
    def _fits(self) -> KnowledgeRecipe:
        written = [self.knowledge_file(path).resolve() for path in self.data.posts]
        if len(set(written)) < len(written):
            raise ValueError("data.posts names two files of one name, whose knowledge would be one file; rename one")
        read = [*self.data.posts, *(self.provider.files or []), self.exemplars.train, self.exemplars.pool]
        read += [self.captions.file, str(Path(self.out) / POOL)]
        lost = next((path for path in read if path is not None and Path(path).resolve() in written), None)
        if lost is not None:
            raise ValueError(f"knowledge would be written over {lost}, which the run needs; name another folder in out")
        if self.captions.source in ("model", "promu") and self.data.images is None:
            raise ValueError("captions made from images need data.images")
        if self.provider.files is not None and len(self.provider.files) != len(self.data.posts):
            raise ValueError("provider.files must name one file for each of data.posts")
        return self
