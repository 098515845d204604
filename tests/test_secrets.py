"""A secret in the environment or the configuration is in no message, report, log or file (docs/security.md)."""

import base64
import json
import random
import string
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import ROOT, make_market, write_datadir
from typer.testing import CliRunner

from liqsignals.cli.app import app
from liqsignals.collect import freqtrade_command
from liqsignals.collect.freqtrade_command import Configuration
from liqsignals.doctor import bundle
from liqsignals.strategy.livecheck import LiveCheck
from liqsignals.strategy.sizing import Limits

PLANTED = "pLanTed7q"
ENVIRONMENT = {
    "FREQTRADE__EXCHANGE__KEY": f"{PLANTED}1",
    "FREQTRADE__EXCHANGE__SECRET": f"{PLANTED}2",
    "FREQTRADE__API_SERVER__USERNAME": "someone",
    "FREQTRADE__API_SERVER__PASSWORD": f"{PLANTED}3",
    "FREQTRADE__API_SERVER__JWT_SECRET_KEY": f"{PLANTED}4",  # too short for freqtrade's schema
    "FREQTRADE__TELEGRAM__TOKEN": f"{PLANTED}5",
}


def everything(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_start_names_what_freqtrade_refuses_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    config = json.loads((ROOT / "config.live.example.json").read_text())
    # A secret of the wrong type, whose value freqtrade's validator quotes.
    config["exchange"]["password"] = [f"{PLANTED}6"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_open_trades": "two"}))
    before = everything(tmp_path)
    words = ["start", "--config", str(tmp_path / "config.json"), "--strategy", "S", "--userdir", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    said = f"{done.output}{done.exception!r}{done.exception}"
    assert "max_open_trades: 'two' is not of type" in said
    assert "exchange.password" in said
    assert "api_server.jwt_secret_key" in said
    assert PLANTED not in said
    assert everything(tmp_path) == before


@pytest.mark.slow
def test_doctor_names_a_secret_in_the_file_without_its_value(tmp_path: Path) -> None:
    config = json.loads((ROOT / "config.live.example.json").read_text())
    config["exchange"] |= {"key": f"{PLANTED}1", "secret": f"{PLANTED}2"}
    config |= {"stake_currency": 5, "margin_mode": "cross"}
    config["liqsignals"] = {}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    datadir = write_datadir(tmp_path, make_market(1.0))
    done = CliRunner().invoke(app, ["doctor", "-d", str(datadir), "--config", str(path), "--json"])
    assert done.exit_code == 1
    problems = "\n".join(json.loads(done.stdout)["problems"])
    assert "exchange.key is in the file" in problems
    assert "set FREQTRADE__EXCHANGE__SECRET in the environment" in problems
    assert "freqtrade refuses it: stake_currency: 5" in problems
    assert 'live entries would be refused: margin_mode is "cross"' in problems
    assert "live entries would be refused: the config names no calibration" in problems
    assert PLANTED not in done.output


@pytest.mark.slow
@pytest.mark.parametrize("names", [["config.live.example.json"], ["config.json", "config.live.example.json"]])
def test_freqtrade_takes_the_shipped_configurations(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREQTRADE__EXCHANGE__KEY", f"{PLANTED}1")
    found = freqtrade_command.configuration([ROOT / name for name in names])
    assert found.problems == ()
    assert [Path(path).name for path in found.files] == names[::-1]
    assert found.merged["dry_run"] is False
    assert found.merged["exchange"]["key"] == f"{PLANTED}1"  # of the environment, as freqtrade has it


def test_the_live_example_lets_a_bot_enter() -> None:
    config = json.loads((ROOT / "config.live.example.json").read_text())
    assert config["dry_run"] is False
    check = LiveCheck.from_config(config, "live", Limits())
    assert check.configured() == ()
    assert check.watched


@pytest.mark.slow
def test_the_doctor_judges_what_freqtrade_makes_of_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, a file that another one names, one that lies over another, and the environment."""
    for name, text in {
        "base.json": '{"liqsignals": {"wrongkey": 1}, "exchange": {"name": "binance", "secret": "planted-in-base"}} // a comment',
        "config.json": '{"add_config_files": ["base.json"], "trading_mode": "futures", "margin_mode": "isolated", "dry_run": false}',
        "over.json": '{"liqsignals": {"calibration": "none", "watcher": true}, "api_server": {"enabled": true}}',
    }.items():
        (tmp_path / name).write_text(text)
    datadir = write_datadir(tmp_path, make_market(1.0))

    def problems(*names: str) -> str:
        words = [word for name in names for word in ("--config", str(tmp_path / name))]
        return "\n".join(
            json.loads(CliRunner().invoke(app, ["doctor", "-d", str(datadir), *words, "--json"]).stdout)["problems"]
        )

    said = problems("config.json")
    assert "unknown key wrongkey" in said
    assert f"{tmp_path / 'base.json'}: exchange.secret is in the file" in said
    assert "planted-in-base" not in said
    assert "JSON" not in said
    (tmp_path / "base.json").write_text('{"exchange": {"name": "binance"}}')
    said = problems("config.json", "over.json")
    for wanted in ("REST API is on without user", "there is no key", "no walk-forward has shown"):
        assert wanted in said
    assert "margin_mode" not in said
    assert "names no calibration" not in said
    for name in ("EXCHANGE__KEY", "EXCHANGE__SECRET", "API_SERVER__USERNAME", "API_SERVER__PASSWORD"):
        monkeypatch.setenv(f"FREQTRADE__{name}", PLANTED)
    said = problems("config.json", "over.json")
    assert "REST API" not in said
    assert "there is no key" not in said


def bundled(datadir: Path, config: Path, log: Path, *more: str) -> dict[str, str]:
    """The files of `liqsignals doctor --report` by name."""
    out = config.with_name("report.zip")
    words = ["doctor", "-d", str(datadir), "--config", str(config), "--report", str(out), "--log", str(log), *more]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_report_holds_what_a_maintainer_needs_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the configuration, the environment, the logs and the names of files, in every spelling."""
    monkeypatch.setenv("FREQTRADE__EXCHANGE__SECRET", f"{PLANTED}/1+x=")
    monkeypatch.setenv("COINGLASS_API_KEY", f"{PLANTED}2")
    config = json.loads((ROOT / "config.live.example.json").read_text())
    config["exchange"] |= {"key": f"{PLANTED}3", "ccxt_config": {"walletAddress": f"0x{PLANTED}4"}}
    config["exchange"]["ccxt_config"]["httpsProxy"] = f"http://me:{PLANTED}5@10.0.0.1:3128"
    config["telegram"] |= {"token": f"123456789:{PLANTED}6", "chat_id": f"-100{PLANTED}7"}
    config["api_server"] |= {"username": "someone", "password": f"{PLANTED}8"}
    config["webhook"] = {"enabled": True, "url": f"https://example.org/api/webhooks/{PLANTED}9-0123456789"}
    config["db_url"] = f"postgresql://bot:{PLANTED}10@db/trades"
    config["stake_currency"] = 5
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config, indent=1))
    datadir = write_datadir(tmp_path, make_market(1.0))
    (datadir / f"{PLANTED}3.txt").write_text("")
    other = "zQ9other8Wxyv5b"
    log = tmp_path / f"freqtrade-{PLANTED}3.log"
    basic = base64.b64encode(f"someone:{PLANTED}8".encode()).decode()
    log.write_text(
        f"GET /fapi/v1/order?symbol=BTCUSDT&signature={other}\n"
        f"header: Basic {basic}, {basic}\n(Bearer {other})\n{quote(PLANTED + '/1+x=', safe='')}\n"
        f"bot987654321:AA{other}{other}{other} eyJhbGciOiJIUzI1NiJ9.{other}.x\n"
        f"{PLANTED}6 https://example.org/api/webhooks/{PLANTED}9-0123456789\nthe last line\n"
    )
    parts = bundled(datadir, path, log, "--no-schema")
    told = "\n".join([*parts, *parts.values()])
    assert PLANTED.lower() not in told.lower()
    assert other not in told
    assert basic not in told
    assert "10.0.0.1" not in told  # where the proxy is
    assert str(Path.home()) not in told or str(Path.home()) == "/"
    assert set(parts) == {"versions.json", "config.json", "doctor.json", "files.tsv", "log-1-freqtrade-[hidden].log"}
    shown = json.loads(parts["config.json"])
    assert shown["exchange"]["pair_whitelist"] == config["exchange"]["pair_whitelist"]
    assert shown["liquidation_buffer"] == config["liquidation_buffer"]
    assert shown["liqsignals"] == config["liqsignals"]
    assert shown["exchange"]["key"] == "[hidden]"  # one sees that it was set
    assert shown["api_server"]["enabled"] is True
    assert "exchange.key is in the file" in parts["doctor.json"]
    assert "the last line" in parts["log-1-freqtrade-[hidden].log"]
    assert "futures/BTC_USDT_USDT-5m-futures.feather" in parts["files.tsv"]
    assert json.loads(parts["versions.json"])["packages"]["numba"]


@pytest.mark.parametrize(
    "text", ['{"exchange": {"key": "%s",', '{"exchange": {"key": "%s"}} // freqtrade takes comments']
)
def test_a_report_of_a_configuration_that_is_no_plain_json(text: str, tmp_path: Path) -> None:
    config, log = tmp_path / "config.json", tmp_path / "bot.log"
    config.write_text(text % f"{PLANTED}1")
    log.write_text(f"{PLANTED}1")
    parts = bundled(write_datadir(tmp_path, make_market(1.0)), config, log, "--no-schema")
    assert PLANTED not in "".join(parts.values())


@pytest.mark.slow
def test_a_report_hides_the_secrets_of_configurations_that_are_named_in_one(tmp_path: Path) -> None:
    config = json.loads((ROOT / "config.json").read_text())
    (tmp_path / "private.json").write_text(json.dumps({"exchange": {"key": f"{PLANTED}1"}}))
    (tmp_path / "config.json").write_text(json.dumps({**config, "add_config_files": ["private.json"]}))
    log = tmp_path / "bot.log"
    log.write_text(f"{PLANTED}1")
    parts = bundled(write_datadir(tmp_path, make_market(1.0)), tmp_path / "config.json", log)
    assert PLANTED not in "".join(parts.values())
    assert json.loads(parts["config.json"])["exchange"]["name"] == "binance"


def packed(tmp_path: Path, config: str, log: str) -> tuple[str, str]:
    """The configuration and the log of a report, without an examination."""
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "bot.log").write_text(log)
    out, merged = tmp_path / "report.zip", bundle._object(config)
    report = {"datadir": tmp_path / "data"}
    bundle.write(
        out, report, Configuration(merged, (), {str(tmp_path / "config.json"): {}}), [tmp_path / "bot.log"], 0, {}
    )
    with zipfile.ZipFile(out) as archive:
        return archive.read("config.json").decode(), archive.read("log-1-bot.log").decode()


def drawn(rng: random.Random, letters: str = string.ascii_letters + string.digits, length: int = 12) -> str:
    return "".join(rng.choices(letters, k=length))


NAMES = (
    "pass", "apiPass", "pwd", "passcode", "login", "seed_phrase", "seedPhrase", "account_id", "accountId", "subAccount",
    "sub_account", "twofa", "credentials", "X-MBX-APIKEY", "Cookie", "Authorization", "listenKey", "walletAddress",
    "uid",
)  # fmt: skip


@pytest.mark.parametrize("plain", [True, False])
def test_each_name_of_a_secret_hides_its_value_wherever_it_stands(plain: bool, tmp_path: Path) -> None:
    rng = random.Random(7)
    values = {name: f"{drawn(rng)}{rng.randrange(10)}" for name in NAMES}
    number = rng.randrange(10**9, 10**10)
    config = {"exchange": {"name": "binance", "ccxt_config": values, "account_id": number}, "max_open_trades": 3}
    log = "\n".join([*values.values(), str(number)]) + "\nthe last line"
    shown, told = packed(tmp_path, json.dumps(config, indent=1) + ("" if plain else " // a comment"), log)
    assert not [name for name, value in values.items() if value in shown + told]
    assert str(number) not in shown + told
    assert told.endswith("the last line")
    # One that is too short to be looked for, too.
    assert bundle.shown(dict.fromkeys(NAMES, "ab")) == dict.fromkeys(NAMES, "[hidden]")
    if plain:
        read = json.loads(shown)
        assert read["exchange"]["name"] == "binance"
        assert read["exchange"]["account_id"] == "[hidden]"
        assert read["max_open_trades"] == 3


def test_words_beside_a_secret_and_names_that_are_words_stay_in_a_log(tmp_path: Path) -> None:
    rng = random.Random(8)
    token, cookie, login = (f"{drawn(rng)}{k}" for k in range(3))
    headers = {"Cookie": f"session={cookie}; theme=dark", "Authorization": f"Bearer {token}", "User-Agent": "someone"}
    more = {"headers": headers, "subAccount": "trading", "login": f"{login}@example.org"}
    lines = ["a new session begins, trading in dark mode", "hyperliquid: 1234567 prints", "2 subaccounts: 3 and 4"]
    log = "\n".join([*lines, f"{cookie} {token} {login}@example.org"])
    config = {"exchange": {"ccxt_config": more}, "trading_mode": "futures", "hyperliquid": "futures"}
    shown, told = packed(tmp_path, json.dumps(config), log)
    assert told == "\n".join([*lines, "[hidden] [hidden] [hidden]"])
    assert json.loads(shown) == {
        "exchange": {
            "ccxt_config": {
                "headers": dict.fromkeys(headers, "[hidden]"),
                "subAccount": "[hidden]",
                "login": "[hidden]",
            }
        },
        "trading_mode": "futures",
        "hyperliquid": "futures",
    }


#: What logs have before and after a secret that is in no configuration: $ is one, @ a number.
FORMS = (
    "X-MBX-APIKEY: $", "{'X-MBX-APIKEY': '$', 'Content-Type': 'text'}", "-H 'X-MBX-APIKEY: $' -H 'Accept: text'",
    '{"apiKey": "$", "secret": "$", "balances": []}', '{"apiKey":"$","uid":@}', '"{\\"apiKey\\": \\"$\\"}"', "api key: $",
    "listenKey=$", '{"listenKey":"$"}', "wss://stream.binance.com/ws/x?listenKey=$", "PUT listenKey=$&symbol=BTCUSDT",
    "password: $", "password=$", "password = $", "Password: '$'", '{"key": "$", "password": "$"}', "passphrase: $",
    "KC-API-PASSPHRASE: $", "'passphrase': '$'", "OK-ACCESS-SIGN: $", "Authorization: $", "authorization: Basic $",
    "Authorization: AWS4-HMAC-SHA256 Credential=$, Signature=$", "[(b'Authorization', b'$'), (b'Host', b'there')]",
    "('X-MBX-APIKEY', '$')", "Cookie: session=$; other=$", "Set-Cookie: $", "seed_phrase: $ $ $", '"mnemonic": "$ $ $"',
    '"account_id": @', "accountId=@", "accountId: @", '"subAccount": "$"', "token: $", "secret_key = $", "secret=$",
    '"signature":"$"', "walletAddress: 0x$", "chat_id: -100@", '"token" => "$"', '"password": ["$"]',
)  # fmt: skip


@pytest.mark.parametrize(
    ("letters", "most"),
    [
        (string.ascii_letters + string.digits, ""),
        (string.hexdigits[:16], ""),
        (string.ascii_letters, ""),
        (string.ascii_letters + string.digits + "+/-_.~!#*^%|", ""),
        (string.ascii_lowercase, "password passphrase authorization cookie '$' \"$\""),
        (string.ascii_letters + string.digits + ",;:)}]({[&<>@", "password: passphrase: authorization '$' \"$\""),
    ],
)
def test_what_a_log_has_after_the_name_of_a_secret_is_hidden(letters: str, most: str, tmp_path: Path) -> None:
    """Whatever it is made of; for the last two, in forms that no sentence has."""
    rng = random.Random(9)
    wanted = [form for form in FORMS if not most or any(word in form.lower() for word in most.split())]
    said, secrets = [], []
    for form in wanted:
        line = "2026-01-10 00:00:00 - DEBUG - "
        for c in form:
            drew = {"$": drawn(rng, letters, 24), "@": str(rng.randrange(10**9, 10**10))}.get(c)
            secrets += [] if drew is None else [(form, drew)]
            line += c if drew is None else drew
        said.append(line)
    _, told = packed(tmp_path, "{}", "\n".join(said))
    assert len(told.splitlines()) == len(wanted)
    assert not [
        (form, secret) for form, secret in secrets if any(secret[i : i + 6] in told for i in range(len(secret) - 5))
    ]
    assert told.count("[hidden]") >= len(wanted)
    assert all(line.startswith("2026-01-10 00:00:00 - DEBUG - ") for line in told.splitlines())


ORDINARY = """\
2026-01-10 00:00:00,000 - freqtrade.loggers - INFO - Verbosity set to 0
2026-01-10 00:00:00,000 - freqtrade.configuration.configuration - INFO - Using user-data directory: /freqtrade/user_data ...
2026-01-10 00:00:00,000 - freqtrade.exchange.exchange - INFO - Using CCXT 4.5.76
2026-01-10 00:00:00,000 - freqtrade.exchange.check_exchange - INFO - Exchange "binance" is officially supported.
2026-01-10 00:00:00,000 - freqtrade.resolvers.strategy_resolver - INFO - Strategy using order_types: {'entry': 'limit', 'exit': 'limit', 'stoploss': 'market', 'stoploss_on_exchange': True, 'stoploss_on_exchange_interval': 60}
2026-01-10 00:00:00,000 - freqtrade.rpc.api_server.webserver - WARNING - SECURITY WARNING - No password for local REST Server defined. Please make sure that this is intentional!
2026-01-10 00:00:00,000 - freqtrade.rpc.api_server.webserver - WARNING - SECURITY WARNING - `jwt_secret_key` seems to be default.
2026-01-10 00:00:00,000 - freqtrade.worker - INFO - Bot heartbeat. PID=12345, version='2026.9', state='RUNNING'
2026-01-10 00:00:00,000 - freqtrade.freqtradebot - INFO - Long signal found: about create a new trade for BTC/USDT:USDT with stake_amount: 2500.0 and price: 93000.5 ...
2026-01-10 00:00:00,000 - freqtrade.freqtradebot - INFO - Found open order for Trade(id=1, pair=BTC/USDT:USDT, amount=0.02700000, is_short=False, leverage=3.0, open_rate=93000.50000000, open_since=2026-01-10 00:00:00)
2026-01-10 00:00:00,000 - freqtrade.rpc.rpc_manager - INFO - Sending rpc message: {'type': status, 'status': 'running'}
2026-01-10 00:00:00,000 - freqtrade.wallets - INFO - Wallets synced.
2026-01-10 00:00:00,000 - freqtrade.exchange.common - WARNING - fetch_positions() returned exception: "binance {"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}". Retrying still for 4 times.
2026-01-10 00:00:00,000 - freqtrade.rpc.telegram - ERROR - InvalidToken: The token was rejected by the server.
2026-01-10 00:00:00,000 - freqtrade.plugins.pairlist.ShuffleFilter - INFO - ShuffleFilter - Shuffling pairs, seed = 42.
2026-01-10 00:00:00,000 - liqsignals - WARNING - COINGLASS_API_KEY: holds characters that no key has
2026-01-10 00:00:00,000 - liqsignals - WARNING - config: unknown key: calibratoin; KeyError: 'calibration'
2026-01-10 00:00:00,000 - liqsignals - INFO - hyperliquid: sides of open interest: 1234567890 and 0.5512345678
2026-01-10 00:00:00,000 - liqsignals - INFO - 3 accounts: 2 long, 1 short; account: 10000.00 USDT; top_account: 1.2345678
2026-01-10 00:00:00,000 - liqsignals - INFO - {"longAccount": "0.55", "shortAccount": "0.45", "accounts": 3, "tokens": 1250000}
2026-01-10 00:00:00,000 - liqsignals - INFO - liq_bypass=0.12345678; second bypass: 1234567 rows; sorted(held, key=duration_ns)
  File "/freqtrade/freqtrade/main.py", line 46, in main
    raise KeyError("liq_above_price") from error
KeyError: 'liq_above_price'
"""


def test_ordinary_lines_of_a_log_stay_as_they_are(tmp_path: Path) -> None:
    config = json.dumps({"exchange": {"name": "binance", "accounts": 3}, "liqsignals": {"finest": "5m"}})
    assert packed(tmp_path, config, ORDINARY)[1] == ORDINARY


def test_what_is_hidden_in_a_finding_leaves_it_json(tmp_path: Path) -> None:
    found: dict[str, Any] = {
        "problems": ["apiKey: zQ9other8Wxyv5b", "password: zQ9other8Wxyv5b", "Cookie: a=zQ9other8Wxyv5b"]
    }
    out = tmp_path / "report.zip"
    bundle.write(out, {"datadir": tmp_path / "data", **found}, None, [], 0, {})
    with zipfile.ZipFile(out) as archive:
        read = json.loads(archive.read("doctor.json"))
    assert read["problems"] == ["apiKey: [hidden]", "password: [hidden]", "Cookie: [hidden]"]
