"""The recipe of `promu kecpm train`: every setting of a run in one YAML file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from promu.training.recipe import Count, Settings, TokenizerSettings, TrainingSettings

Mode = Literal["text", "text+caption", "text+knowledge", "all"]


class GenerationData(Settings):
    """JMERE files of train, dev and test; captions and knowledge come from them.

    Attributes:
        knowledge: Folder of what `promu knowledge generate` wrote, one file a split (`train.jsonl` beside
            `train.json`), in place of the knowledge and captions of the files.
        groups: JSON file, group name by post id, for figures by group on test.
        versions: How many versions of the training posts are read in turn, an epoch each: in all but the first, names
            have changed places (`promu.training.generation.renaming`; beyond the paper).
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


class GenerationRecipe(Settings):
    """Train once a seed, under `out/seed-<seed>`; the best epoch by dev micro F1 is kept, test is scored once."""

    data: GenerationData
    model: WriterSettings
    prompt: PromptSettings = PromptSettings()
    training: TrainingSettings = TrainingSettings()
    decoding: DecodingSettings = DecodingSettings()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0, 1, 2]  # noqa: RUF012
    out: str
