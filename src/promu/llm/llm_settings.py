"""Settings of everything that asks a language model: the endpoint, the answers, and what may be spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from promu.config import Settings
from promu.corpora.context_files import check_name_of
from promu.corpora.tag_schemes import SCHEME
from promu.errors import InputError
from promu.schema import MissingPostImage, Scheme

Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SpendingSettings(Settings):
    """What one run may spend. Prices are money per million tokens, in any currency."""

    price_prompt: Money | None = Field(default=None, description="Money per million tokens of prompts.")
    price_answer: Money | None = Field(default=None, description="Money per million tokens of answers.")
    max_cost: Money | None = Field(default=None, description="Most money that one run may spend; needs the prices.")
    max_requests: int | None = Field(default=None, ge=0, description="Most requests that one run may send.")

    def cost(self, prompt_tokens: int, answer_tokens: int) -> float | None:
        """Money for so many tokens; None without prices."""
        if self.price_prompt is None or self.price_answer is None:
            return None
        return (prompt_tokens * self.price_prompt + answer_tokens * self.price_answer) / 1e6

    @model_validator(mode="after")
    def _prices_are_complete(self) -> SpendingSettings:
        if (self.price_prompt is None) != (self.price_answer is None):
            raise ValueError("give both price_prompt and price_answer, or neither")
        if self.max_cost is not None and self.price_prompt is None:
            raise ValueError("max_cost needs price_prompt and price_answer, money per million tokens")
        return self


_URL = "Address of the endpoint: `http://host:port`, `https://host/v1`, or that of chat completions."
_MODEL = "The name that the endpoint knows the model by."


class LlmSettings(SpendingSettings):
    """A model behind an OpenAI-compatible endpoint, and how it is asked."""

    # a key may stand in the address or in key_variable by mistake; no error shows them
    model_config = ConfigDict(hide_input_in_errors=True)

    url: str | None = Field(default=None, description=_URL)
    model: str | None = Field(default=None, description=_MODEL)
    key_variable: str = Field(default="PROMU_LLM_KEY", description="Environment variable with the endpoint's key.")
    timeout: float = Field(default=120.0, gt=0, description="Seconds without a byte until a request is sent again.")
    patience: float = Field(default=600.0, ge=0, description="Seconds of retries until the run stops.")
    max_tokens: int = Field(default=512, ge=1, description="Most tokens of an answer.")
    temperature: float = Field(default=0.0, ge=0, le=2, description="0 for the likeliest answer.")
    corrections: int = Field(default=2, ge=0, description="How often an unusable answer is asked for again.")
    concurrency: int = Field(default=8, ge=1, description="Requests at the same time.")
    store: Path | None = Field(default=None, description="SQLite file of answers; by default `out/llm.sqlite`.")

    @property
    def address(self) -> str:
        """The address that requests go to."""
        assert self.url is not None
        url = self.url.rstrip("/")
        if url.endswith("/chat/completions"):
            return url
        return f"{url}/chat/completions" if urlsplit(url).path else f"{url}/v1/chat/completions"

    def store_for(self, out: Path) -> Path:
        """The file of answers of a run that writes to `out`."""
        return self.store or out / "llm.sqlite"

    @model_validator(mode="after")
    def _endpoint_is_usable(self) -> LlmSettings:
        if self.model is not None and not self.model.strip():
            raise ValueError("the model's name is empty; give the one that the endpoint knows it by")
        if not self.key_variable.isidentifier():
            remedy = "give the name, such as PROMU_LLM_KEY, not the key"
            raise ValueError(f"key_variable is no name of an environment variable; {remedy}")
        if self.url is None:
            return self
        if any(mark in self.url for mark in "@?#"):
            # the address is stored with every answer, so nothing secret may be in it
            remedy = f"put the key into the environment variable {self.key_variable} and give the address alone"
            raise ValueError(f"the endpoint's address has a name, a key or a question mark in it; {remedy}")
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"endpoint {self.url!r} is no web address; one is like http://localhost:8000/v1")
        return self


class BaselineSettings(LlmSettings):
    """A zero- or few-shot baseline: the posts, the exemplars, and the model that is asked."""

    url: str = Field(description=_URL)
    model: str = Field(description=_MODEL)
    data: Path = Field(description="File with the gold, or the folder of a whole set.")
    out: Path = Field(description="Folder for `predictions/`, `result.json` and, by default, the store of answers.")
    format: str | None = Field(default=None, description="Of the files; by default posts for .jsonl, else conll, mnre.")
    scheme: Scheme = Field(default="auto", description=f"{SCHEME[0].upper()}{SCHEME[1:]}.")
    split: Literal["train", "valid", "test"] = Field(default="test", description="Which split of a folder.")
    train: Path | None = Field(default=None, description="Labels and exemplars; by default the folder's train split.")
    labels: Path | None = Field(default=None, description="JSON object of meaning by label, in place of train's.")
    shots: int = Field(default=0, ge=0, description="Exemplars before each question.")
    seed: int = Field(default=0, ge=0, description="Seed of the choice of exemplars.")
    images: Path | None = Field(default=None, description="Folder of the images; without it posts are text alone.")
    image_size: int = Field(default=768, ge=16, description="Most pixels of an image's longer side as sent.")
    missing_images: MissingPostImage = Field(default="raise", description="Missing or broken: stop, or text alone.")
    tools: dict[str, Path] = Field(
        default={},
        description="What tools say of the images, shown as text: files of contexts by name: caption, objects, ocr.",
    )

    @field_validator("tools")
    @classmethod
    def _names_of_tools(cls, tools: dict[str, Path]) -> dict[str, Path]:
        try:
            return {check_name_of(name): file for name, file in tools.items()}
        except InputError as error:
            raise ValueError(error.reason) from None
