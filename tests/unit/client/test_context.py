"""Contexts are written whole, found by name, variable or as the current one, and wrong ones name the field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.cli import exit_codes
from fleetbus.client import (
    Context,
    config_file,
    load_context,
    load_contexts,
    remove_context,
    save_context,
    use_context,
)
from fleetbus.client.context import NO_CONTEXT
from fleetbus.schemas.credentials import credential_text
from fleetbus.schemas.errors import NotFound, SettingsInvalid
from tests.tokens import user_credential


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("FLEETBUS_CONTEXT", raising=False)
    monkeypatch.setenv("FLEETBUS_CONFIG", str(tmp_path / "home" / "config.yaml"))
    return tmp_path / "home"


def context(name: str = "prod", folder: Path = Path("/keys")) -> Context:
    servers = ("tls://127.0.0.1:4222", "tls://127.0.0.1:4223")
    return Context(name, servers, folder / "admin.creds", "admin", folder / "ca.crt", "prod")


def test_what_is_saved_is_loaded(home: Path) -> None:
    path = save_context(context())
    assert path == home / "config.yaml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_context() == context()


def test_the_name_goes_before_the_variable_and_that_before_the_current(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("one", "two", "three"):
        save_context(context(name), current=name == "one")
    assert load_context().name == "one"
    monkeypatch.setenv("FLEETBUS_CONTEXT", "two")
    assert load_context().name == "two"
    assert load_context("three").name == "three"


def test_saving_again_replaces_one_and_keeps_the_others_and_unknown_keys(home: Path) -> None:
    home.mkdir()
    (home / "config.yaml").write_text("colour: never\ncontexts: {}\n")
    save_context(context("one"))
    save_context(replace(context("two"), user="ops"))
    save_context(replace(context("two"), user="eve"), current=False)
    found = load_contexts()
    assert [(one.name, one.user) for one in found.contexts] == [("one", "admin"), ("two", "eve")]
    assert found.current == "two"
    assert "colour: never" in (home / "config.yaml").read_text()


def test_using_and_removing() -> None:
    save_context(context("one"))
    save_context(context("two"))
    use_context("one")
    assert load_context().name == "one"
    remove_context("one")
    assert load_context().name == "two"
    remove_context("one")
    with pytest.raises(NotFound):
        use_context("one")


def test_relative_paths_start_at_the_file(home: Path) -> None:
    home.mkdir()
    (home / "config.yaml").write_text(
        "current-context: a\ncontexts:\n  a: {servers: ['tls://h:1'], creds: keys/a.creds, ca: ca.crt, user: a}\n"
    )
    found = load_context()
    assert (found.creds_file, found.ca_file) == (home / "keys/a.creds", home / "ca.crt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("contexts: [1]", "contexts must be a map"),
        ("- 1", "the whole must be a map"),
        ("contexts: {a: {servers: [], creds: s, user: u}}", "contexts.a.servers must be a list"),
        ("contexts: {a: {servers: [x], user: u}}", "contexts.a.creds must be given"),
        ("contexts: {a: {servers: [x], creds: s}}", "contexts.a.user must be given"),
        ("a: [", "not YAML"),
        ("contexts: {}", "there is no context `a`"),
    ],
)
def test_what_is_wrong_is_named(home: Path, text: str, said: str) -> None:
    home.mkdir()
    (home / "config.yaml").write_text(text)
    with pytest.raises(SettingsInvalid, match=said):
        load_context("a")


def test_without_a_file_the_remedy_says_who_makes_one() -> None:
    with pytest.raises(SettingsInvalid) as raised:
        load_context()
    assert "fleetbus local up" in raised.value.remedy
    assert raised.value.error_code == exit_codes.NO_CONTEXT == NO_CONTEXT


def test_a_credential_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    file, credential = tmp_path / "admin.creds", user_credential(SigningKey(bytes(32)))
    file.write_text(credential_text(credential))
    file.chmod(0o644)
    with pytest.raises(SettingsInvalid, match="others may read"):
        context(folder=tmp_path).credential()
    file.chmod(0o600)
    assert context(folder=tmp_path).credential() == credential
    file.write_text(credential.seed)
    with pytest.raises(SettingsInvalid, match="not a file with") as refused:
        context(folder=tmp_path).credential()
    assert credential.seed not in refused.value.sentence()
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        context(folder=tmp_path / "none").credential()


def test_the_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FLEETBUS_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_file() == tmp_path / "fleetbus" / "config.yaml"


def test_a_proxys_login_stands_in_a_private_file_only(home: Path) -> None:
    file = home / "config.yaml"
    context = Context(
        "a", ("wss://bus.example.com/nats",), home / "a.creds", "ana", proxy="http://ana:hunter2@proxy:3128"
    )
    save_context(context, file=file)
    assert load_context("a", file=file) == context
    assert "hunter2" not in repr(context)
    file.chmod(0o640)
    with pytest.raises(SettingsInvalid, match="others may read this file") as refused:
        load_context("a", file=file)
    assert refused.value.remedy == f"chmod 600 {file}"
    save_context(replace(context, proxy="http://proxy:3128"), file=file)
    file.chmod(0o640)
    assert load_context("a", file=file).proxy == "http://proxy:3128"
    save_context(replace(context, proxy="socks5://hunter2@proxy"), file=file)
    with pytest.raises(SettingsInvalid, match=r"contexts\.a\.proxy") as wrong:
        load_context("a", file=file)
    assert "hunter2" not in wrong.value.sentence()
