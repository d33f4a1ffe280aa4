"""The command line. One module a group of commands; heavy imports happen inside the commands, so that help is quick.

A command returns its exit status (None is 0), prints its result to standard output, and leaves everything else
(progress, what went wrong) to standard error. Input that cannot be used is raised as `InputError`; `main` turns it
into a sentence and exit status 2. A new command is a function in a module of this package, named in `COMMANDS`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

import promu
from promu.cli import demo, doctor, evaluate, graph, kecpm, llm, reproduce, score, train
from promu.cli.console import StderrHandler, as_options, complain
from promu.cli.help_examples import epilogue
from promu.errors import InputError, lacking
from promu.progress import forget_stored, is_stored

# The groups, and the commands of each, in the order that `promu --help` lists them; (where it is defined, help) for one
# that is imported when it is called.
GROUPS: dict[str, dict[str, Callable[..., Any] | App | tuple[str, str]]] = {
    "Try it": {
        "demo": demo.demo,
        "newsreel": (
            "promu.cli.data:newsreel",
            "Draw the built-in corpus: captioned images and posts, for trying out.",
        ),
        "doctor": doctor.doctor,
    },
    "Data": {
        "fetch": ("promu.cli.data:fetch", "Fetch published sets, each file verified by its checksum."),
        "recipes": ("promu.cli.own_data:recipes_app", "List the recipes that come with promu; show or copy one."),
        "check": ("promu.cli.data:check", "Read a file or a whole set; say what is in it and what is wrong with it."),
        "convert": ("promu.cli.own_data:convert", "Write labelled posts in another format; say what it cannot carry."),
        "fewshot": (
            "promu.cli.data:fewshot_app",
            "Joint few-shot sets: sample them from labelled posts, or draw them.",
        ),
        "corpus": (
            "promu.cli.data:corpus_app",
            "Make a corpus of captions and images for pre-training, or look at one.",
        ),
        "candidates": (
            "promu.cli.data:candidates_app",
            "Candidates for prompts: nouns of captions, Wikidata relations.",
        ),
        "knowledge": llm.knowledge_app,
        "contexts": (
            "promu.cli.contexts:app",
            "Texts about posts that a model reads beside them: retrieve, describe, explain; mix models.",
        ),
        "weights": (
            "promu.cli.own_data:weights",
            "Write released image weights (EfficientNet-Lite) as a model folder, read without running a pickle.",
        ),
    },
    "Train": {
        "label": train.label,
        "pretrain": train.pretrain,
        "finetune": train.finetune,
        "kecpm": kecpm.app,
        "bundle": ("promu.cli.own_data:bundle", "Put an entity model and a relation model into one folder."),
    },
    "Measure": {
        "evaluate": evaluate.evaluate,
        "score": score.app,
        "baseline": llm.baseline_app,
        "reproduce": reproduce.reproduce,
        "rehearse": reproduce.rehearse,
        "costs": reproduce.costs,
    },
    "Use": {
        "extract": (
            "promu.cli.extract:extract",
            "Extract entities and relations, one JSON line for each post.\n\n"
            "With --input and --out, the posts may be of any number. Posts that cannot be read go with the reason to a "
            "file beside the output (out.dead.jsonl), and the same command, given again, goes on where it was stopped.",
        ),
        "export": (
            "promu.cli.extract:export",
            "Export a model for extraction without PyTorch: promu[runtime] is enough for what comes out.",
        ),
        "graph": graph.app,
        "serve": ("promu.cli.serve:serve", "Answer over HTTP, with a page at / on which to try the model."),
    },
}
COMMANDS = {name: command for commands in GROUPS.values() for name, command in commands.items()}


app = App(
    name="promu",
    help="Entities and relations from posts with images.",
    version=lambda: promu.__version__,
    # Every switch is off unless given, so that a --no-... for each would only fill the help.
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
for _number, (_title, _commands) in enumerate(GROUPS.items()):
    _group = Group(_title, sort_key=_number)
    for _order, (_name, _command) in enumerate(_commands.items()):
        if isinstance(_command, tuple):
            app.command(_command[0], name=_name, help=_command[1], sort_key=_order, group=_group)
        elif isinstance(_command, App):
            _command.sort_key, _command.group = _order, _group
            app.command(_command, name=_name)
        else:
            app.command(_command, name=_name, sort_key=_order, group=_group)
app.register_install_completion_command(help="Complete commands and options in this shell from now on.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    Args:
        arguments: The words after `promu`; None takes them from the process.

    Returns:
        0, or what the command says; 2 for input that cannot be used, with one sentence on standard error; 130 when
        interrupted.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[StderrHandler()])
    logging.getLogger("promu").setLevel(logging.INFO)
    words = list(sys.argv[1:] if arguments is None else arguments)
    app.help_epilogue = epilogue(words)
    forget_stored()
    if words[:1] == ["evaluate"]:
        evaluate.add_extension_tasks()
    try:
        status = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return status or 0
    except CycloptsError as error:
        complain(_usage(error, words))
        return 2
    except InputError as error:
        complain(str(error))
        return 2
    except ModuleNotFoundError as error:
        if (missing := lacking(error, "this command")) is None:
            raise
        complain(str(missing))
        return 2
    except BrokenPipeError:
        # Whoever read our output has had enough (`promu check ... | head`); keep the interpreter's last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        complain(f"{error.filename}: {error.strerror or error}; check the path and its permissions")
        return 2
    except KeyboardInterrupt:
        again = "; started again with the same settings, the run resumes where it stopped" if is_stored() else ""
        print(f"\ninterrupted{again}", file=sys.stderr)
        return 130


def _usage(error: CycloptsError, words: Sequence[str]) -> str:
    """What cyclopts found wrong with the words, and where to read how it should be."""
    if len(words) > 1 and words[0] in COMMANDS:
        below = [name for name in app[words[0]] if not name.startswith("-")]
        near = get_close_matches(words[1], below, n=1, cutoff=0.7)
        if near and words[1] not in below:
            return f"no command {words[1]!r} of promu {words[0]}; did you mean promu {words[0]} {near[0]}?"
        if isinstance(error, UnusedCliTokensError) and below and words[1] not in below:
            return f"no command {words[1]!r} of promu {words[0]}; there are {', '.join(below)}"
    chain = [word for word in (error.command_chain or ()) if word]
    problem: Any = error.__cause__
    if hasattr(problem, "errors"):  # pydantic's, of settings
        from promu.config import first_problem

        reason = first_problem(problem)
        if named := problem.errors()[0]["loc"]:
            reason = f"{named[0]}=" + reason.removeprefix(str(named[0]))
        # settings are named as in a recipe, max_posts, and are options here
        reason = as_options(re.sub(r"(?<![\w.'])([a-z]+(?:_[a-z]+)+)(?![\w='.])", r"\1=", reason))
    else:
        reason = str(error).strip().replace(", ...", ", …").rstrip(".")
    return f"{reason}; see {' '.join(['promu', *chain])} --help"
