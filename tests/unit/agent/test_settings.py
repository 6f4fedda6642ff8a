"""Settings are checked at the edge; an error names the key and quotes no value."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from fleetbus.agent.settings import parse_settings
from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.nkeys import public_key, seed_of
from tests.tokens import user_token

KEY = SigningKey(b"\x01" * 32)
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
GOOD = {
    "seed": seed_of(KEY),
    "jwt": user_token(public_key(KEY)),
    "fleet": "acme",
    "realm": "main",
    "cluster": "c1",
    "uid": "5c3f",
    "bus-servers": "tls://a:4222, tls://b:4222",
    "bus-ca": PEM,
    "controller-keys": public_key(KEY),
    "epoch": "3",
    "vault-address": "https://vault:8200/",
    "vault-ca": PEM,
    "vault-mount": "fleet_main_c1",
    "vault-role": "agent",
}


def test_all_keys_are_read() -> None:
    settings = parse_settings(GOOD)

    assert settings.identity.fleet == "acme"
    assert str(settings.identity.cluster) == "main/c1"
    assert settings.bus_servers == ("tls://a:4222", "tls://b:4222")
    assert settings.epoch == 3
    assert settings.credential.nkey == public_key(KEY)
    assert settings.vault is not None
    assert settings.vault.address == "https://vault:8200"
    assert GOOD["seed"] not in repr(settings)


def test_vault_and_epoch_may_be_missing() -> None:
    few = {key: value for key, value in GOOD.items() if not key.startswith("vault") and key != "epoch"}
    settings = parse_settings(few)

    assert (settings.vault, settings.epoch) == (None, 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "SUNOTASEED"),
        ("seed", ""),
        ("seed", seed_of(SigningKey(b"\x02" * 32))),
        ("jwt", ""),
        ("jwt", "nonsense"),
        ("fleet", "Not A Label"),
        ("cluster", "all"),
        ("realm", "7"),
        ("uid", "a b"),
        ("bus-servers", "http://a"),
        ("bus-servers", "tls://a:4222, nats://a:4222"),
        ("bus-servers", "nats://127.0.0.1:4222"),
        ("bus-servers", ","),
        ("bus-ca", "none"),
        ("bus-certificate", "none"),
        ("bus-proxy", "socks5://ana:hunter2@proxy:1"),
        ("controller-keys", "UABC"),
        ("epoch", "-1"),
        ("vault-address", "http://vault"),
        ("vault-mount", "a b"),
        ("vault-role", ""),
    ],
)
def test_a_wrong_value_is_named_by_its_key_and_never_quoted(key: str, value: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        parse_settings({**GOOD, key: value})

    assert f"`{key}`" in raised.value.sentence()
    assert "fleetbus cluster join" in raised.value.remedy
    if len(value) > 3:
        assert value not in raised.value.sentence()


def test_plaintext_is_read_only_with_the_mark_and_on_this_machine() -> None:
    plain = {**GOOD, "bus-servers": "nats://127.0.0.1:4222", "bus-ca": "", "bus-insecure-dev": "true"}
    settings = parse_settings(plain)

    assert (settings.insecure, settings.bus_ca) == (True, "")
    assert not parse_settings(GOOD).insecure
    for wrong in (
        {**plain, "bus-insecure-dev": "yes"},
        {**plain, "bus-insecure-dev": ""},
        {**plain, "bus-servers": "nats://10.0.0.1:4222"},
    ):
        with pytest.raises(SettingsInvalid, match="`bus-servers`"):
            parse_settings(wrong)


@pytest.mark.parametrize("proxy", ["http://ana:hunter2@proxy:3128", "direct", " https://proxy\n", ""])
def test_a_proxy_is_taken_and_never_shown(proxy: str) -> None:
    settings = parse_settings({**GOOD, "bus-proxy": proxy, "bus-servers": "tls://a, wss://a/nats"})

    assert settings.proxy == proxy.strip()
    assert "hunter2" not in repr(settings)
