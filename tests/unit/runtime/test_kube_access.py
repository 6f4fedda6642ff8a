"""Where a cluster's credential comes from, and when it is read again."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleetbus.runtime.kube_access import BearerToken, KubeAccess
from fleetbus.schemas.errors import SettingsInvalid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"ca.crt": "PEM", "token": "first\n", "namespace": "fleetbus-system\n"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder_as_a_pod_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    access = KubeAccess.from_folder(folder)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "fleetbus-system")
    (folder / "server").write_text("https://127.0.0.1:6443/\n")
    assert KubeAccess.from_folder(folder).server == "https://127.0.0.1:6443"


def test_what_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SettingsInvalid, match="KUBERNETES_SERVICE_HOST"):
        KubeAccess.from_folder(folder)
    (folder / "server").write_text("http://127.0.0.1:8080")
    with pytest.raises(SettingsInvalid, match="not an https URL"):
        KubeAccess.from_folder(folder)
    (folder / "token").unlink()
    with pytest.raises(SettingsInvalid) as missing:
        KubeAccess.from_folder(folder)
    assert missing.value.where == str(folder / "token")


def test_a_token_is_read_again_when_its_file_changes_and_every_minute(folder: Path) -> None:
    (folder / "server").write_text("https://127.0.0.1:6443")
    token = BearerToken(KubeAccess.from_folder(folder))
    assert token.current(100.0) == "first"
    stamp = (folder / "token").stat()
    replaced = folder / "token.new"
    replaced.write_text("second\n")
    replaced.rename(folder / "token")
    assert token.current(100.5) == "first"
    assert token.current(101.1) == "second"
    (folder / "token").write_text("third!\n")
    os.utime(folder / "token", ns=(stamp.st_atime_ns, (folder / "token").stat().st_mtime_ns))
    token.look_again()
    assert token.current(101.2) == "third!"


def test_nothing_secret_shows_in_its_text(folder: Path) -> None:
    access = KubeAccess("https://a", "PEM", token="canary", certificate="canary", key="canary")
    assert "canary" not in repr(access)


def kubeconfig(path: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> Path:
    authority = base64.b64encode(b"CA PEM").decode()
    config = {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://127.0.0.1:1/", "certificate-authority-data": authority}
                | (cluster or {}),
            }
        ],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path


def test_a_kubeconfig_with_a_token_or_a_certificate(tmp_path: Path) -> None:
    access = KubeAccess.from_kubeconfig(kubeconfig(tmp_path / "a", {"token": "t"}))
    assert (access.server, access.authority, access.namespace, access.token) == (
        "https://127.0.0.1:1",
        "CA PEM",
        "shop",
        "t",
    )
    (tmp_path / "key").write_text("KEY")
    user = {"client-certificate-data": base64.b64encode(b"CERT").decode(), "client-key": "key"}
    access = KubeAccess.from_kubeconfig(kubeconfig(tmp_path / "b", user), "one")
    assert (access.certificate, access.key) == ("CERT", "KEY")


@pytest.mark.parametrize(
    ("user", "cluster", "context", "message"),
    [
        ({"exec": {"command": "x"}}, {}, "", "neither a token nor a client certificate"),
        ({"token": "t"}, {"insecure-skip-tls-verify": True}, "", "not supported"),
        ({"token": "t"}, {"certificate-authority-data": "%"}, "", "not base64"),
        ({"token": "t"}, {}, "two", "no context `two`"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], context: str, message: str
) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        KubeAccess.from_kubeconfig(kubeconfig(tmp_path / "a", user, cluster), context)


def test_the_synchronous_half_of_the_client_stays_out() -> None:
    code = (
        "import sys, fleetbus.runtime.kube;"
        "print(*sorted({'requests', 'urllib3', 'oauthlib', 'yaml', 'kubernetes.client',"
        " 'kubernetes.aio.config'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


def test_the_synchronous_client_still_works_afterwards() -> None:
    code = "import fleetbus.runtime.kube; from kubernetes.client import V1Pod; print(V1Pod().kind)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "None"
