"""Models on the Hugging Face hub: what of their folders is uploaded, and the card that goes before them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from promu.errors import InputError, first_line
from promu.hub import FETCHED

TOKEN = "HF_TOKEN"
"""The environment variable with the token that may write; there is no other way to give one."""

REFUSALS: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, ValueError)
"""What the hub's library raises: the errors of its HTTP client, whichever that is, and of names that are none."""

UPLOADED = (*FETCHED, "*.onnx")
CARD = "README.md"


def push_models(homes: Mapping[str, Path], labels: Mapping[str, tuple[str, ...]], repo_id: str, private: bool) -> str:
    """Upload model folders as one commit, several under the names of their tasks; returns the commit's address.

    What `Extractor.from_pretrained` reads is uploaded, with a card; nothing else of the folders.

    Args:
        homes: The folder of each task's model.
        labels: The labels of each, for the card.
        repo_id: `OWNER/NAME`; it is made if it is not there.
        private: Whether one that is made can be seen by its owner alone.

    Raises:
        InputError: There is no token in the environment; the hub refuses, or is not within reach.
    """
    token = os.environ.get(TOKEN)
    if not token:
        raise InputError(f"the hub needs a token that may write: set the environment variable {TOKEN}")
    files: dict[str, Path | bytes] = {}
    several = len(set(homes.values())) > 1  # tasks on one backbone are one folder
    for task, home in homes.items():
        prefix = f"{task}/" if several else ""
        for file in sorted(home.rglob("*")):
            name = file.relative_to(home).as_posix()
            if file.is_file() and (name == CARD or any(fnmatch(file.name, pattern) for pattern in UPLOADED)):
                files[prefix + name] = file
    if several or CARD not in files:
        files[CARD] = models_card(labels, repo_id).encode()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.create_commit(repo_id, operations, commit_message="Upload by promu")
    except REFUSALS as error:
        raise InputError(
            f"cannot be uploaded ({first_line(error)}); check the name, {TOKEN} and the net", repo_id
        ) from None
    return str(commit.commit_url)


def models_card(labels: Mapping[str, tuple[str, ...]], repo_id: str) -> str:
    """The card of models that work together, as Markdown with the head that the hub reads."""
    lines = ["---", "library_name: promu", "pipeline_tag: token-classification"]
    lines += ["tags: [multimodal, named-entity-recognition, relation-extraction]", "---", "", f"# {repo_id}", ""]
    lines += ["Entities and relations from posts with images, by [promu](https://pypi.org/project/promu).", ""]
    lines += ["```python", "from promu import Extractor", ""]
    lines += [f'extractor = Extractor.from_pretrained("{repo_id}")']
    lines += ['result = extractor("Ann met Bob in Rome", image="photo.jpg")', "print(result.triples())", "```", ""]
    for task, names in labels.items():
        shown = ", ".join(f"`{name}`" for name in names)
        lines += [f"## {task}", "", f"Labels: {shown}.", ""]
        lines += [f"Data, settings, figures and limits: [{task}/{CARD}]({task}/{CARD}).", ""] if len(labels) > 1 else []
    return "\n".join(lines)
