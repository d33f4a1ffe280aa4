"""`promu contexts`: texts about posts, from a corpus, from images, from a language model; a gate between models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from promu.cli.console import named_files, note, print_json, progress_bars
from promu.contexts.explanations import ExplanationSettings
from promu.errors import counted
from promu.schema import MissingPostImage, Scheme

app = App(
    name="contexts", help="Texts about posts that a model reads beside them: retrieve, describe, explain; mix models."
)
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]


@app.command
def retrieve(
    posts: Path,
    /,
    *,
    corpus: Path,
    out: Path,
    by: Literal["bm25", "embeddings", "image"] = "bm25",
    format: str = "posts",
    scheme: Scheme = "auto",
    top: int = 3,
    encoder: str | None = None,
    descriptions: Path | None = None,
    model: Path | None = None,
    images: Path | None = None,
    json: bool = False,
) -> None:
    """Write the passages of a corpus that have most to do with each post, as a file of contexts.

    Args:
        posts: File of posts.
        corpus: Passages: JSON lines with text, or a line each.
        out: The file to write.
        by: BM25 over words, sentence vectors of an encoder, or the image in the space of a pre-trained promu model.
        format: Of the posts.
        scheme: How the tags of CoNLL files mark entities; auto finds it out.
        top: Passages of a post at most.
        encoder: For embeddings: a text encoder by folder or name.
        descriptions: Look these texts up in place of the posts' own: a file of contexts that says what images show.
        model: For image: the model folder of pre-training.
        images: For image: the folder of the posts' images.
        json: Print JSON instead of a line.
    """
    from promu.contexts.passage_retrieval import retrieve as run
    from promu.hub import quiet

    quiet()
    with progress_bars():
        done = run(
            posts,
            corpus,
            out,
            by=by,
            format=format,
            scheme=scheme,
            top=top,
            encoder=encoder,
            descriptions=descriptions,
            model=model,
            images=images,
        )
    if json:
        print_json(done.to_dict())
        return
    if done.own_texts:
        note(f"a passage that is the post's own text was left out: {done.own_texts:,} times")
    of = f"{done.with_passages:,} of {counted(done.posts, 'post')}"
    print(f"{done.out}: passages for {of}, out of {counted(done.passages, 'passage')}")


@app.command
def describe(
    posts: Path,
    /,
    *,
    captioner: str,
    images: Path,
    out: Path,
    detector: str | None = None,
    format: str = "posts",
    scheme: Scheme = "auto",
    json: bool = False,
) -> None:
    """Describe the images of posts by an image-to-text model, as a file of contexts. Started again, it goes on.

    Args:
        posts: File of posts.
        captioner: An image-to-text model of Hugging Face, by folder or hub name; with --detector its file or model.
        images: Folder of the posts' images.
        out: The file to write.
        detector: Name the objects that a detector finds, in place of a sentence: yolo, hf or coco.
        format: Of the posts.
        scheme: How the tags of CoNLL files mark entities; auto finds it out.
        json: Print JSON instead of a line.
    """
    from promu.contexts.captioning import describe as run
    from promu.hub import quiet

    quiet()
    with progress_bars():
        done = run(posts, captioner, images, out, format=format, scheme=scheme, detector=detector)
    if json:
        print_json(done.to_dict())
        return
    before = f", {done.described_before:,} of them before" if done.described_before else ""
    print(f"{done.out}: {counted(done.images, 'image')} described{before}")


@app.command
def explain(
    *,
    settings: Annotated[ExplanationSettings, Parameter(name="*")],
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Ask a language model behind an OpenAI-compatible endpoint to explain every post, as a file of contexts.

    Started again, it goes on where it stopped; no question is asked twice. The key comes from the environment.

    Args:
        settings: Posts, endpoint, limits.
        yes: Begin without a limit on the cost (--max-cost).
        dry_run: Show the first prompt and what the run would cost, and send nothing.
        json: Print JSON instead of lines.
    """
    from promu.cli.llm import format_cost, print_plan
    from promu.contexts.explanations import explain_posts, plan_explanations

    with progress_bars():
        if dry_run:
            print_plan(plan_explanations(settings), json)
            return
        done = explain_posts(settings, unlimited=yes)
    if json:
        print_json(done.to_dict())
        return
    explained = f"{done.posts - len(done.failed):,} of {counted(done.posts, 'post')}"
    print(f"{done.out}: {explained} explained; cost: {format_cost(done.usage['cost'])}")


@app.command
def gate(
    first: Path,
    second: Path,
    /,
    *,
    dev: Path,
    out: Path,
    context: Names = (),
    format: str | None = None,
    scheme: Scheme = "auto",
    images: Path | None = None,
    missing_images: MissingPostImage = "raise",
    batch_size: int = 64,
    per_post: bool = False,
    json: bool = False,
) -> None:
    """Mix two models of one task that read different contexts, by the weight that is best on dev.

    Args:
        first: Model folder.
        second: Another, trained on the same posts.
        dev: Labelled posts that neither was trained on.
        out: Folder to make; it is evaluated and extracts like a model.
        context: NAME=FILE, for all contexts that either reads.
        format: Of dev; left out, posts for a .jsonl file, else the task's own.
        scheme: How the tags of CoNLL files mark entities; auto finds it out.
        images: Folder of the posts' images, for models that read them.
        missing_images: What a missing or broken image does: stop, or have its post read as text.
        batch_size: Posts a forward pass.
        per_post: Let the weight of a post follow which model is surer of it, as far as that is best on dev.
        json: Print JSON instead of lines.
    """
    from promu.hub import quiet
    from promu.training.fit_gate import fit_gate

    quiet()
    settings = {"format": format, "scheme": scheme, "images": images, "missing_images": missing_images}
    with progress_bars():
        done = fit_gate(
            first,
            second,
            dev,
            out,
            contexts=named_files(context),
            batch_size=batch_size,
            per_post=per_post,
            **settings,  # type: ignore[arg-type]
        )
    if json:
        print_json(done.to_dict())
        return
    surer = f", and a trust of {done.trust:g} in the surer" if done.trust else ""
    print(
        f"dev F1 {done.f1:.2f} with {done.weight:g} of the first{surer}; alone {done.first:.2f} and {done.second:.2f}"
    )
    print(done.out)
