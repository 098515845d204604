"""What runs a bot unattended: the files of deploy/ name commands that exist, give away no secret and keep the box shut."""

import json
import re
import shlex
from collections.abc import Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from liqsignals.cli import app
from liqsignals.replay import starter
from liqsignals.sources import PROVIDERS
from liqsignals.strategy import verdicts

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES: dict[str, Any] = COMPOSE["services"]
#: Variables that hold secrets.
SECRET = re.compile(r"KEY|SECRET|PASSWORD|TOKEN|CHAT_ID|USERNAME")


def lines_of(unit: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"[A-Z]\w*=", line))


def started(unit: Path, secrets: Mapping[str, str]) -> str:
    """Words after `liqsignals` that a unit runs, with the variables of its secrets file."""
    lines = lines_of(unit)
    values = dict(word.split("=", 1) for word in lines["Environment"].split())
    words = lines["ExecStart"].removeprefix("%S/liqsignals/.venv/bin/liqsignals ")
    return re.sub(r"\$\{(\w+)\}", lambda found: {**values, **secrets}[found[1]], words)


def filled(text: str, chosen: Mapping[str, str]) -> str:
    """What compose makes of a text with variables; those that are not chosen have their defaults."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: chosen.get(found[1], found[2]), text)


def commands() -> dict[str, str]:
    """Words after `liqsignals` by where they stand."""
    found = {f"compose: {name}": filled(service["command"], {}) for name, service in SERVICES.items()}
    found |= {
        f"compose: health of {name}": filled(shlex.join(service["healthcheck"]["test"][2:]), {})
        for name, service in SERVICES.items()
        if service["healthcheck"]["test"][1] == "liqsignals"
    }
    for unit in UNITS:
        found[unit.name] = started(unit, {})
    page = (ROOT / "docs" / "deploy.md").read_text()
    steps = re.findall(r"^ *(?:\S*/)?liqsignals ([a-z-]+ .*?[^\\])$", page.replace("\\\n", " "), re.MULTILINE)
    assert len(steps) >= 6
    return found | {f"docs/deploy.md {number}": step.split(" #")[0] for number, step in enumerate(steps)}


@pytest.mark.parametrize("where", commands())
def test_every_command_exists_and_takes_its_words(where: str) -> None:
    name, *words = shlex.split(commands()[where])
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    own = words[: words.index("--")] if "--" in words else words
    # click's own parser: unknown options, missing ones and values of the wrong type raise.
    context = command.make_context(name, list(own))
    assert not context.args, context.args


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "ftuser"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["healthcheck"]["retries"]
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert service["volumes"] == ["../user_data:/freqtrade/user_data"]
    assert "privileged" not in service
    # Reached through this machine only.
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_each_service_has_a_unit() -> None:
    assert set(SERVICES) == {"bot", "recorder", "page", "watcher"}
    assert {unit.stem for unit in UNITS} == {f"liqsignals-{name}" for name in SERVICES}


def test_one_choice_of_image_strategy_and_configuration_counts_everywhere() -> None:
    """As docs/deploy.md says for FreqAI, with compose and with systemd."""
    (line,) = re.findall(r"^export (LIQSIGNALS_.*)$", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)
    chosen = dict(word.split("=", 1) for word in line.split())
    assert set(chosen) == set(re.findall(r"\$\{(\w+):-[^}]", (DEPLOY / "compose.yaml").read_text()))
    stages = re.findall(r"^FROM \S+ AS (\w+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for service in SERVICES.values():
        for values, image, target in (({}, "liqsignals:latest", "plain"), (chosen, "liqsignals:freqai", "freqai")):
            assert filled(service["image"], values) == image
            assert filled(service["build"]["target"], values) == target
            assert target in stages
    config, strategy = Path(chosen["LIQSIGNALS_CONFIG"]), chosen["LIQSIGNALS_STRATEGY"]
    assert config.parent.name == "user_data"
    assert config.name in starter.CONFIGS
    assert strategy == starter.FREQAI
    for name in ("bot", "watcher"):
        of = SERVICES[name]
        texts = [filled(of["command"], chosen), started(DEPLOY / "systemd" / f"liqsignals-{name}.service", chosen)]
        if name == "watcher":
            texts.append(filled(shlex.join(of["healthcheck"]["test"]).replace("'", ""), chosen))
        else:
            assert all(f"--strategy {strategy} " in text for text in texts)
        assert all(f"--config {config} " in text for text in texts)


def test_bot_and_watcher_have_the_rest_api() -> None:
    """The shipped configuration has it off; page and watcher need it."""
    assert SERVICES["bot"]["environment"]["FREQTRADE__API_SERVER__ENABLED"] == "true"
    assert "--bot http://bot:8080" in SERVICES["watcher"]["command"]
    for name in ("bot", "watcher"):
        unit = lines_of(DEPLOY / "systemd" / f"liqsignals-{name}.service")
        assert "FREQTRADE__API_SERVER__ENABLED=true" in unit["Environment"].split()


def test_no_file_holds_a_secret() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert re.fullmatch(r"\$\{" + name + r":[?-][^}]*\}", value), name
    for path in (*DEPLOY.rglob("*"), *ROOT.glob("config*.json")):
        if path.is_file() and path.suffix == ".json":
            held = re.findall(
                r'"(?:key|secret|password|token|username|chat_id|jwt_secret_key|ws_token)": *"(.*)"', path.read_text()
            )
            assert not any(held), path
    # The recorder needs none at all.
    assert "environment" not in SERVICES["recorder"]


def documented() -> dict[str, set[str]]:
    """Who needs each variable, by the table of docs/deploy.md."""
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([a-z, ]+) \|", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)
    return {name: set(who.split(", ")) for names, who in rows for name in re.findall(r"[A-Z_]+", names)}


def test_who_needs_a_variable_gets_it_and_nobody_else() -> None:
    found = documented()
    assert {provider.key_env for provider in PROVIDERS if provider.key_env} < set(found)
    for name, service in SERVICES.items():
        given = service.get("environment", {})
        # Without a value it is the shell's.
        passed = {key for key, value in given.items() if value is None or str(value).startswith(f"${{{key}")}
        assert passed == {key for key, who in found.items() if name in who}, name
        # The others are no secret, and not the user's to choose.
        assert set(given) - passed <= {"FREQTRADE__API_SERVER__ENABLED", "FREQTRADE__API_SERVER__LISTEN_IP_ADDRESS"}
        unit = lines_of(DEPLOY / "systemd" / f"liqsignals-{name}.service")
        assert ("EnvironmentFile" in unit) == bool(passed)


def test_the_step_to_real_money_says_what_the_walk_forward_found() -> None:
    step = (ROOT / "docs" / "deploy.md").read_text().split("\n## 6. ")[1].split("\n## ")[0]
    shipped = json.loads((ROOT / "config.live.example.json").read_text())["liqsignals"]
    assert json.dumps({"allow_unproven": shipped["allow_unproven"]})[1:-1] in step
    for name in starter.STRATEGIES:
        row = re.search(
            rf"^\| {name} \|.*\| (\S+ %) \| \S+ \| \S+ % \| (.*) \|$",
            (ROOT / "docs" / "results.md").read_text(),
            re.MULTILINE,
        )
        assert row
        net, verdict = row.groups()
        assert net in step
        assert f'"{verdict}"' in step
        assert not any(verdicts.allowed(name, side, shipped["allow_unproven"]) for side in verdicts.SIDES)
    (example,) = re.findall(r'"allow_unproven": \["(\S+)"\]', step)
    assert verdicts.allowed(*example.split(":"), [example])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_as_shut_as_the_container(unit: Path) -> None:
    found = lines_of(unit)
    assert found["User"] == "liqsignals"
    assert (found["NoNewPrivileges"], found["ProtectSystem"], found["CapabilityBoundingSet"]) == ("yes", "strict", "")
    assert found["ReadWritePaths"] == "%S/liqsignals/user_data"
    assert found["Restart"] == "always"
    assert {"MemoryMax", "CPUQuota", "TasksMax"} <= set(found)


def pins(text: str) -> dict[str, str]:
    """Versions by name."""
    found = re.findall(r"^([A-Za-z][\w.-]*)==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_hashes_are_of_the_versions_that_were_tested() -> None:
    tested = pins((ROOT / "constraints.txt").read_text())
    build, needed = ((ROOT / "deploy" / "hashed" / name).read_text() for name in ("build.txt", "requirements.txt"))
    for text in (build, needed):
        assert pins(text).items() <= tested.items()
        for block in re.split(r"\n(?=\w)", text)[1:]:
            _, *hashes = block.rstrip().split(" \\\n")
            assert hashes, block
            assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in hashes), block
        assert "://" not in text
    assert set(pins(build)) == {"setuptools"}
    # All that is asked for, and what that needs in turn, by what is installed here.
    queue, seen = [("liqsignals", extra) for extra in ("", "bot", "sim", "truth")], set[tuple[str, str]]()
    while queue:
        name, extra = one = queue.pop()
        if one in seen:
            continue
        seen.add(one)
        for asked in map(Requirement, requires(name) or ()):
            if asked.marker is None or asked.marker.evaluate({"extra": extra}):
                queue += [(canonicalize_name(asked.name), more) for more in ("", *asked.extras)]
    assert {name for name, _ in seen} - {"liqsignals"} <= set(pins(needed))


def test_the_image_is_pinned_and_runs_as_no_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    pinned = re.search(r"freqtrade==(\S+?)\"", (ROOT / "pyproject.toml").read_text())
    assert pinned
    assert f"ARG FREQTRADE={pinned[1]}\n" in text
    assert re.findall(r"^FROM (\S+) AS (\w+)", text, re.MULTILINE) == [
        ("freqtradeorg/freqtrade:${FREQTRADE}", "wheel"),
        ("freqtradeorg/freqtrade:${FREQTRADE}", "plain"),
        ("freqtradeorg/freqtrade:${FREQTRADE}_freqai", "freqai"),
    ]
    assert set(re.findall(r"^USER (\w+)", text, re.MULTILINE)) == {"ftuser"}
    # pip puts the scripts into the user's folder; what is compiled lasts, for the rest of the image cannot be written.
    (mounted,) = {volume.split(":")[1] for service in SERVICES.values() for volume in service["volumes"]}
    for stage in text.split("\nFROM ")[2:]:
        assert "pip install --user" in stage
        assert f'\nENV PATH="/home/ftuser/.local/bin:${{PATH}}" NUMBA_CACHE_DIR={mounted}/' in stage
    # What is copied is there and is let through.
    let = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for words in re.findall(r"^COPY --chown=\S+ ([^/].*)$", text, re.MULTILINE):
        for name in words.split()[:-1]:
            assert name in let
            assert (ROOT / name).exists()
