"""The files to deploy the service with agree with each other and with the service, and what they start answers."""

from __future__ import annotations

import fnmatch
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from tests.conftest import ROOT
from tests.service.conftest import Running

from promu.cli import app
from promu.service.schemas import TOKEN_VARIABLE

DEPLOY = ROOT / "deploy"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile: name and the rest, lines that go on joined."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def command_line() -> list[str]:
    """What the container runs."""
    (entry,), (words,) = of("ENTRYPOINT"), of("CMD")
    return [*json.loads(entry), *json.loads(words)]


def healthcheck() -> list[str]:
    (check,) = of("HEALTHCHECK")
    return list(json.loads(check.partition("CMD ")[2]))


def port() -> str:
    words = command_line()
    return words[words.index("--port") + 1]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"])


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the build: the last line that fits decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if (
            line
            and not line.startswith("#")
            and any(fnmatch.fnmatch(part, pattern) for part in (path, Path(path).name))
        ):
            out = not line.startswith("!")
    return out


def test_every_source_that_is_copied_is_there_and_is_sent_to_the_build() -> None:
    copied = [source for rest in of("COPY") if "--from" not in rest for source in rest.split()[:-1]]
    assert {"src", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not ignored(source), f".dockerignore leaves {source} out"
    # what the package's metadata names has to be there when it is built
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for named in re.findall(r'^(?:readme = "|license-files = \["|force-include = \{ ")([^"]+)', project, flags=re.M):
        assert named in copied, named
    assert ignored("runs") and ignored(".git") and ignored("tests")


def test_the_image_is_small_and_runs_as_nobody_in_particular() -> None:
    assert [rest.split()[0] for rest in of("FROM")] == ["${PYTHON}", "${PYTHON}"]
    python = next(rest for rest in of("ARG") if rest.startswith("PYTHON="))
    assert "slim" in python and ":latest" not in python and re.search(r":3\.1[123]", python)
    assert [int(user) > 0 for user in of("USER")] == [True]
    order = [name for name, _ in instructions()]
    assert order.index("USER") > len(order) - 1 - order[::-1].index("FROM")
    installs = [line for line in of("RUN") if "pip install" in line]
    assert len(installs) == 1 and "[runtime,serve]" in installs[0], "an exported model needs no PyTorch"
    assert "ADD" not in order
    assert "COPY --from=build" in (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def test_one_port_everywhere() -> None:
    services = compose()
    assert of("EXPOSE") == [port()]
    assert f"127.0.0.1:{port()}/health" in " ".join(healthcheck())
    assert services["promu"]["ports"] == [f"127.0.0.1:{port()}:{port()}"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    (scrape,) = prometheus["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"promu:{port()}"]}] and scrape["metrics_path"] == "/metrics"
    source = yaml.safe_load((DEPLOY / "grafana" / "datasource.yaml").read_text(encoding="utf-8"))["datasources"][0]
    assert urlsplit(source["url"]).netloc == "prometheus:9090" and "prometheus" in services
    assert all(one.startswith("127.0.0.1:") for service in services.values() for one in service["ports"])


def test_compose_mounts_what_is_there_and_names_versions() -> None:
    services = compose()
    assert list(services) == ["promu", "prometheus", "grafana"]
    build = services["promu"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    words = command_line()
    model = words[words.index("--model") + 1]
    assert any(mount.endswith(f":{model}:ro") for mount in services["promu"]["volumes"])
    assert list(services["promu"]["environment"]) == [TOKEN_VARIABLE] and services["promu"]["read_only"] is True
    for name, service in services.items():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_file(), f"{name} mounts {source}"
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+", service["image"]), service["image"]
    provider = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text(encoding="utf-8"))["providers"][0]
    assert any(provider["options"]["path"] in mount for mount in services["grafana"]["volumes"])


def test_every_metric_of_the_dashboard_is_one_that_the_service_gives(service: Running) -> None:
    with service.client() as client:
        assert client.post("/extract", json={"text": "Ann met Bob"}).status_code == 200
        given = client.get("/metrics").text
        routes = set(client.get("/openapi.json").json()["paths"])
    samples = set(re.findall(r"^(promu_\w+)", given, flags=re.MULTILINE))
    dashboard = json.loads((DEPLOY / "grafana" / "promu.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) >= 8
    for query in asked:
        names = re.findall(r"promu_\w+", query)
        assert names and set(names) <= samples, query
        for name in names:
            labels = set(re.findall(r"(\w+)=", "".join(re.findall(rf"^{name}{{(.*?)}}", given, flags=re.MULTILINE))))
            used = re.findall(rf"{name}{{(\w+)=", query) + re.findall(r"by \((\w+)\)", query)
            assert set(used) <= labels, (query, labels)
        for path in re.findall(r'path=~?"([^"]+)"', query):
            assert any(re.fullmatch(path, route) for route in routes), path
    sources = {panel["datasource"]["uid"] for panel in dashboard["panels"]}
    source = yaml.safe_load((DEPLOY / "grafana" / "datasource.yaml").read_text(encoding="utf-8"))["datasources"][0]
    assert sources == {source["uid"]}
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places), "two panels lie in one place"


def test_the_command_line_is_one_that_promu_takes() -> None:
    words = command_line()
    assert words[0] == "promu"
    command, bound, *_ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    settings = bound.arguments["settings"]
    assert command.__name__ == "serve" and (settings.backend, settings.model) == (None, Path("/model"))
    assert (bound.arguments["host"], bound.arguments["port"]) == ("0.0.0.0", int(port()))


def test_the_health_check_tells_a_service_from_none(service: Running) -> None:
    assert healthcheck()[0] == "python3"

    def check(chosen: str) -> int:
        words = [word.replace(port(), chosen) for word in healthcheck()[1:]]
        return subprocess.run([sys.executable, *words], capture_output=True).returncode

    assert check(service.url.rpartition(":")[2]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert check(str(free.getsockname()[1])) != 0
