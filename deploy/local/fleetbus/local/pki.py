"""The keys and certificates of one local cluster, as files under `<dir>/pki`, and kubeconfigs made of them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from fleetbus.local.files import write_whole
from fleetbus.runtime.certificates import (
    Issued,
    issue_client,
    issue_peer,
    issue_server,
    make_authority,
    make_signing_key,
)
from fleetbus.runtime.clock import SystemClock

_HOSTS = (
    "127.0.0.1",
    "localhost",
    "10.0.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
# Common name and groups by which RBAC's own bindings know each client.
_CLIENTS = {
    "admin": ("kubernetes-admin", ("system:masters",)),
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "kwok": ("kwok", ("system:masters",)),
}


@dataclass(frozen=True, slots=True)
class Pki:
    """Where the files are; every certificate `<name>.crt` has its key beside it as `<name>.key`."""

    dir: Path

    @property
    def authority(self) -> Path:
        return self.dir / "ca.crt"

    def certificate(self, name: str) -> Path:
        return self.dir / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.dir / f"{name}.key"


def make_pki(dir: Path, cluster: str) -> Pki:
    """Make what a cluster needs, or find it in a folder where it was made before.

    Two authorities: one for the apiserver and its clients, one for etcd, as kubeadm does it. The key pair
    of the ServiceAccount tokens is the cluster's own.
    """
    pki = Pki(dir)
    if (dir / "complete").exists():
        return pki
    now = SystemClock().now()
    authority = make_authority(f"{cluster} authority", now)
    store_authority = make_authority(f"{cluster} etcd authority", now)
    issued = {
        "ca": authority,
        "etcd-ca": store_authority,
        "apiserver": issue_server(authority, "kube-apiserver", _HOSTS, now),
        "etcd": issue_peer(store_authority, "etcd", _HOSTS[:2], now),
        "apiserver-etcd": issue_client(store_authority, "kube-apiserver", now),
    }
    for name, (common_name, groups) in _CLIENTS.items():
        issued[name] = issue_client(authority, common_name, now, organizations=groups)
    for name, one in issued.items():
        write_whole(pki.certificate(name), one.certificate)
        write_whole(pki.key(name), one.key, secret=True)
    signing = make_signing_key("rsa")
    write_whole(dir / "sa.pub", signing.public)
    write_whole(pki.key("sa"), signing.private, secret=True)
    write_whole(dir / "complete", "")
    return pki


def write_kubeconfig(file: Path, pki: Pki, client: str, cluster: str, server: str) -> Path:
    """A kubeconfig (JSON, which is YAML) with everything inside; its one context is named like the cluster."""
    config = kubeconfig(pki, client, cluster, server)
    return write_whole(file, json.dumps(config, indent=2), secret=True)


def kubeconfig(pki: Pki, client: str, cluster: str, server: str) -> dict[str, object]:
    """The kubeconfig of one of the cluster's clients: admin, controller-manager, scheduler or kwok."""
    issued = Issued(pki.certificate(client).read_bytes(), pki.key(client).read_bytes())
    trust = {"server": server, "certificate-authority-data": _text(pki.authority.read_bytes())}
    user = {
        "client-certificate-data": _text(issued.certificate),
        "client-key-data": _text(issued.key),
    }
    name = f"{cluster}-{client}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [{"name": cluster, "cluster": trust}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": name}}],
    }


def _text(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
