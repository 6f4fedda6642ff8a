"""What somebody tries who holds the agent's token. Each line is one request, and who must refuse it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.approvers import PATH, protection
from tests.integration.guard.objects import (
    AGENT,
    GOOD,
    RBAC,
    Object,
    binding,
    config_map,
    cron_job,
    deployment,
    job,
    pod,
    role,
    rule,
    service_account,
    template,
    workload,
)

EVIL = "evil.io/x:1"
PROTECTION = f"{PATH}/fleetbus"
_DEPLOYER = "system:serviceaccount:store:deployer"
_LIFTED = {"spec": {"required": 0}}
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml; charset=utf-8"
_JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class Attempt:
    """`says`: words of the refusal, by which it is known which check met it. `by`: the guard, or RBAC."""

    name: str
    method: str
    path: str
    body: Any = None
    says: str = ""
    content_type: str = "application/json"
    query: Mapping[str, str] = field(default_factory=dict)
    impersonate: str = ""
    by: str = "fleetbus-guard"


def core(namespace: str, plural: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def apps(namespace: str, plural: str, name: str = "") -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def batch(namespace: str, plural: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/{plural}"


def rbac(plural: str, name: str = "", namespace: str = "") -> str:
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{RBAC}/v1{place}/{plural}" + (f"/{name}" if name else "")


def _pods(name: str, image: str = GOOD, *, says: str, namespace: str = "store", **more: Any) -> Attempt:
    return Attempt(name, "POST", core(namespace, "pods"), pod(namespace, "x", image, **more), says)


def _role(name: str, *rules: Object, says: str, **more: Any) -> Attempt:
    return Attempt(name, "POST", rbac("clusterroles"), role("ClusterRole", "x", rules, **more), says)


def _bind(name: str, to: str, *subjects: tuple[str, str, str], says: str) -> Attempt:
    body = binding("ClusterRoleBinding", "x", to, subjects or [("ServiceAccount", "web", "store")])
    return Attempt(name, "POST", rbac("clusterrolebindings"), body, says)


_LABELLED = config_map("other", "x", labels={"kubernetes.io/metadata.name": "store"})
_PERMISSIVE = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
_HOME_NAMESPACE = {"metadata": {"labels": {"a": "b"}}}
_CLOSED, _NOT_ALLOWED = "is closed to the agent", "is not one of the allowed"

PLACES = (
    Attempt("another namespace", "POST", core("other", "configmaps"), config_map("other", "x"), _NOT_ALLOWED),
    Attempt(
        "one with a longer name",
        "POST",
        core("storefront", "configmaps"),
        config_map("storefront", "x"),
        "storefront",
    ),
    Attempt("a label as of an allowed one", "POST", core("other", "configmaps"), _LABELLED, _NOT_ALLOWED),
    Attempt("default", "POST", core("default", "configmaps"), config_map("default", "x"), _NOT_ALLOWED),
    Attempt(
        "kube-system", "POST", core("kube-system", "configmaps"), config_map("kube-system", "x"), _CLOSED
    ),
    Attempt(
        "kube-public", "POST", core("kube-public", "configmaps"), config_map("kube-public", "x"), _CLOSED
    ),
    Attempt("delete there", "DELETE", core("kube-system", "configmaps", "theirs"), says=_CLOSED),
    Attempt("delete in another", "DELETE", core("other", "configmaps", "theirs"), says=_NOT_ALLOWED),
    Attempt(
        "update there",
        "PUT",
        core("other", "configmaps", "theirs"),
        config_map("other", "theirs", labels={"a": "b"}),
        _NOT_ALLOWED,
    ),
    Attempt(
        "merge patch there",
        "PATCH",
        core("other", "configmaps", "theirs"),
        {"data": {"a": "c"}},
        _NOT_ALLOWED,
        _MERGE,
    ),
    Attempt(
        "JSON patch there",
        "PATCH",
        core("other", "configmaps", "theirs"),
        [{"op": "replace", "path": "/data/a", "value": "c"}],
        _NOT_ALLOWED,
        _JSON_PATCH,
    ),
    Attempt(
        "apply as another field manager",
        "PATCH",
        core("kube-system", "configmaps", "theirs"),
        config_map("kube-system", "theirs"),
        _CLOSED,
        _APPLY,
        {"fieldManager": "kubectl", "force": "true"},
    ),
    Attempt(
        "dry run",
        "POST",
        core("other", "configmaps"),
        config_map("other", "x"),
        _NOT_ALLOWED,
        query={"dryRun": "All"},
    ),
    Attempt(
        "a generated name",
        "POST",
        core("kube-system", "configmaps"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}},
        _CLOSED,
    ),
    Attempt(
        "a Namespace that is not allowed",
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}},
        _NOT_ALLOWED,
    ),
    Attempt(
        "a Namespace with a generated name",
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "kube-"}},
        _NOT_ALLOWED,
    ),
    Attempt("delete a Namespace", "DELETE", "/api/v1/namespaces/other", says=_NOT_ALLOWED),
    Attempt("delete the own Namespace", "DELETE", "/api/v1/namespaces/fleetbus-system", says="own records"),
    Attempt(
        "label the own Namespace",
        "PATCH",
        "/api/v1/namespaces/fleetbus-system",
        _HOME_NAMESPACE,
        "own records",
        _MERGE,
    ),
    Attempt(
        "a finalizer on kube-system",
        "PATCH",
        "/api/v1/namespaces/kube-system",
        {"metadata": {"finalizers": ["evil.io/x"]}},
        _CLOSED,
        _MERGE,
    ),
    Attempt(
        "loosen what pods may do",
        "PATCH",
        "/api/v1/namespaces/store",
        _PERMISSIVE,
        "loosens what pods",
        _MERGE,
    ),
    Attempt(
        "leave what pods may do open",
        "PATCH",
        "/api/v1/namespaces/store",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": None}}},
        "loosens what pods",
        _MERGE,
    ),
    Attempt(
        "a permissive Namespace",
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "store-x", **_PERMISSIVE["metadata"]}},
        "loosens what pods",
    ),
    Attempt(
        "a lease of kube-system",
        "POST",
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kube-scheduler"}},
        _CLOSED,
    ),
    Attempt(
        "a node",
        "POST",
        "/api/v1/nodes",
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "mine"}},
        "whole cluster",
    ),
    Attempt(
        "a priority class",
        "POST",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "x"},
            "value": 1,
        },
        "whole cluster",
    ),
)

HOME = (
    Attempt(
        "a pod beside the agent",
        "POST",
        core("fleetbus-system", "pods"),
        pod("fleetbus-system", "x", GOOD),
        "own records",
    ),
    Attempt(
        "a Secret beside the agent's own",
        "PATCH",
        core("fleetbus-system", "secrets", "beside"),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "beside"}, "data": {}},
        "own records",
        _APPLY,
        {"fieldManager": "x", "force": "true"},
    ),
    Attempt(
        "another image for the agent",
        "PATCH",
        apps("fleetbus-system", "deployments", AGENT),
        {
            "spec": {
                "template": {
                    "spec": {"containers": [{"name": "a", "image": "registry.example.com/shop/web:1"}]}
                }
            }
        },
        "is none of the agent",
        "application/strategic-merge-patch+json",
    ),
    Attempt(
        "a stranger's init container in the agent",
        "PATCH",
        apps("fleetbus-system", "deployments", AGENT),
        {"spec": {"template": {"spec": {"initContainers": [{"name": "i", "image": EVIL}]}}}},
        "is from no allowed registry",
        "application/strategic-merge-patch+json",
    ),
    Attempt(
        "another account for the agent",
        "PATCH",
        apps("fleetbus-system", "deployments", AGENT),
        {"spec": {"template": {"spec": {"serviceAccountName": "default", "serviceAccount": "default"}}}},
        "under its own account",
        "application/strategic-merge-patch+json",
    ),
    Attempt("delete the agent", "DELETE", apps("fleetbus-system", "deployments", AGENT), says="own records"),
    Attempt(
        "a CronJob beside the agent",
        "POST",
        batch("fleetbus-system", "cronjobs"),
        cron_job("fleetbus-system", "fleetbus-x", GOOD),
        "own records",
    ),
    Attempt(
        "a command's Job with a stranger's image",
        "POST",
        batch("fleetbus-system", "jobs"),
        job("fleetbus-system", "fleetbus-x", EVIL),
        "is from no allowed registry",
    ),
    Attempt(
        "the definition of its state",
        "DELETE",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agentstates.agent.fleetbus.dev",
        says="the agent itself or to Kubernetes",
    ),
    Attempt(
        "the definition of its owner's protection",
        "DELETE",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/protections.agent.fleetbus.dev",
        says="the agent itself or to Kubernetes",
    ),
    Attempt("lift the protection", "PATCH", PROTECTION, _LIFTED, "own records", _MERGE),
    Attempt(
        "lift it by apply",
        "PATCH",
        PROTECTION,
        protection(0, []),
        "own records",
        _APPLY,
        {"fieldManager": "kubectl", "force": "true"},
    ),
    Attempt("another approver", "PATCH", PROTECTION, protection(1, ["cyd"]), "own records", _MERGE),
    Attempt("remove the protection", "DELETE", PROTECTION, says="own records"),
    Attempt("a protection in its place", "POST", PATH, protection(0, []), "own records"),
    Attempt(
        "lift it as another account",
        "PATCH",
        PROTECTION,
        _LIFTED,
        "own records",
        _MERGE,
        impersonate=_DEPLOYER,
    ),
    Attempt(
        "an account with the agent's name",
        "POST",
        core("store", "serviceaccounts"),
        service_account("store", AGENT),
        "the agent itself or to Kubernetes",
    ),
    Attempt(
        "its own account", "DELETE", core("fleetbus-system", "serviceaccounts", AGENT), says="own records"
    ),
)

SUBRESOURCES = (
    Attempt(
        "a token of its own account",
        "POST",
        core("fleetbus-system", "serviceaccounts", f"{AGENT}/token"),
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        "no subresource that the agent needs",
    ),
    Attempt(
        "a token of another account",
        "POST",
        core("store", "serviceaccounts", "powerful/token"),
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        "no subresource that the agent needs",
    ),
    Attempt(
        "an ephemeral container",
        "PATCH",
        core("store", "pods", "stands/ephemeralcontainers"),
        {"spec": {"ephemeralContainers": [{"name": "e", "image": EVIL, "targetContainerName": "a"}]}},
        "is from no allowed registry",
        "application/strategic-merge-patch+json",
    ),
    Attempt(
        "scale in another namespace",
        "PUT",
        apps("fleetbus-system", "deployments", f"{AGENT}/scale"),
        {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": AGENT, "namespace": "fleetbus-system"},
            "spec": {"replicas": 0},
        },
        "own records",
    ),
    Attempt(
        "the status of a Namespace",
        "PATCH",
        "/api/v1/namespaces/kube-system/status",
        {"metadata": {"labels": {"a": "b"}}},
        "no subresource that the agent needs",
        _MERGE,
    ),
    Attempt(
        "finalize a Namespace",
        "PUT",
        "/api/v1/namespaces/other/finalize",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}, "spec": {"finalizers": []}},
        "no subresource that the agent needs",
    ),
    Attempt(
        "evict a pod",
        "POST",
        core("store", "pods", "stands/eviction"),
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "stands", "namespace": "store"}},
        "no subresource that the agent needs",
    ),
    Attempt(
        "exec into a pod",
        "POST",
        core("store", "pods", "stands/exec"),
        says="no subresource that the agent needs",
        query={"command": "sh", "stdin": "1"},
    ),
    Attempt(
        "all of its records at once",
        "DELETE",
        core("fleetbus-system", "configmaps"),
        says="cannot deletecollection",
        by="cannot deletecollection",
    ),
)


def _image(name: str, image: str) -> Attempt:
    return _pods(f"image {name}", image, says="is from no allowed registry")


_EVIL = "is from no allowed registry"
IMAGES = (
    _image("of another registry", EVIL),
    _image("without a registry", "nginx"),
    _image("of a user of Docker Hub", "someone/nginx:1"),
    _image("whose host only begins so", "registry.example.com.evil.io/x"),
    _image("with the registry before an @", "registry.example.com@evil"),
    _image("with the registry as a user", "registry.example.com@evil.io/x"),
    _image("with another port", "registry.example.com:444/x"),
    _image("with the registry as a tag", "evil:registry.example.com"),
    _image("with the registry as a path", "evil.io/registry.example.com/x"),
    _image("that climbs out", "registry.example.com/../evil.io/x"),
    _image("that climbs out of the team's path", "registry.example.com:5000/team/../other/x"),
    _image("beside the team's path", "registry.example.com:5000/teams/x"),
    _image("in capitals", "REGISTRY.example.com/x"),
    _image("with a blank", "registry.example.com /x"),
    _image("with a scheme", "https://registry.example.com/x"),
    _pods("an init container", says=_EVIL, initContainers=[{"name": "i", "image": EVIL}]),
    _pods(
        "a second container",
        says=_EVIL,
        container={"name": "b"},
        volumes=[{"name": "v", "image": {"reference": EVIL}}],
    ),
    *(
        Attempt(
            f"a template of a {kind}",
            "POST",
            apps("store", f"{kind.lower()}s"),
            workload(kind, "store", "x", EVIL),
            _EVIL,
        )
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
    ),
    Attempt("a Job", "POST", batch("store", "jobs"), job("store", "x", EVIL), _EVIL),
    Attempt("a CronJob", "POST", batch("store", "cronjobs"), cron_job("store", "x", EVIL), _EVIL),
    Attempt(
        "a CronJob's init container",
        "POST",
        batch("store", "cronjobs"),
        cron_job("store", "x", GOOD, initContainers=[{"name": "i", "image": EVIL}]),
        _EVIL,
    ),
    Attempt(
        "a ReplicationController",
        "POST",
        core("store", "replicationcontrollers"),
        {
            "apiVersion": "v1",
            "kind": "ReplicationController",
            "metadata": {"name": "x"},
            "spec": {"selector": {"app": "a"}, "template": template(EVIL)},
        },
        _EVIL,
    ),
    Attempt(
        "a PodTemplate",
        "POST",
        core("store", "podtemplates"),
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template(EVIL)},
        _EVIL,
    ),
    Attempt(
        "a kind of somebody's own with a pod template",
        "POST",
        "/apis/example.com/v1/namespaces/store/rollouts",
        {
            "apiVersion": "example.com/v1",
            "kind": "Rollout",
            "metadata": {"name": "x"},
            "spec": {"template": template(EVIL)},
        },
        _EVIL,
    ),
    Attempt(
        "a change of a Deployment that stands",
        "PATCH",
        apps("store", "deployments", "stands"),
        {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": EVIL}]}}}},
        _EVIL,
        "application/strategic-merge-patch+json",
    ),
    Attempt(
        "the same by JSON patch",
        "PATCH",
        apps("store", "deployments", "stands"),
        [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": EVIL}],
        _EVIL,
        _JSON_PATCH,
    ),
    Attempt(
        "the same by apply",
        "PATCH",
        apps("store", "deployments", "stands"),
        deployment("store", "stands", EVIL),
        _EVIL,
        _APPLY,
        {"fieldManager": "fleetbus", "force": "true"},
    ),
    Attempt(
        "another image for a pod that stands",
        "PATCH",
        core("store", "pods", "stands"),
        {"spec": {"containers": [{"name": "a", "image": EVIL}]}},
        _EVIL,
        "application/strategic-merge-patch+json",
    ),
)

_NODE = "it reaches for its node"
PODS = (
    _pods(
        "privileged", says=_NODE, namespace="store-open", container={"securityContext": {"privileged": True}}
    ),
    _pods("the host's network", says=_NODE, namespace="store-open", hostNetwork=True),
    _pods("the host's processes", says=_NODE, namespace="store-open", hostPID=True),
    _pods(
        "the host's files",
        says=_NODE,
        namespace="store-open",
        volumes=[{"name": "h", "hostPath": {"path": "/"}}],
    ),
    _pods(
        "a port of the host",
        says=_NODE,
        namespace="store-open",
        container={"ports": [{"containerPort": 1, "hostPort": 1}]},
    ),
    _pods(
        "a capability",
        says=_NODE,
        namespace="store-open",
        container={"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    ),
    Attempt(
        "a privileged init container of a CronJob",
        "POST",
        batch("store", "cronjobs"),
        cron_job(
            "store",
            "x",
            GOOD,
            initContainers=[{"name": "i", "image": GOOD, "securityContext": {"privileged": True}}],
        ),
        _NODE,
    ),
    Attempt(
        "a volume of the host's files",
        "POST",
        "/api/v1/persistentvolumes",
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "x"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/"},
            },
        },
        "whole cluster",
    ),
    _pods("a more powerful account", says="more power", serviceAccountName="powerful"),
    _pods("the same by its old name", says="more power", serviceAccount="powerful"),
    _pods("an account that may lift the protection", says="more power", serviceAccountName="lifter"),
    Attempt(
        "a Deployment with a more powerful account",
        "POST",
        apps("store", "deployments"),
        deployment("store", "x", GOOD, serviceAccountName="powerful"),
        "more power",
    ),
    Attempt(
        "a token as a Secret",
        "POST",
        core("store", "secrets"),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {"name": "x", "annotations": {"kubernetes.io/service-account.name": "powerful"}},
        },
        "token of a ServiceAccount",
    ),
)

_CSR = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "masters")]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
)
_UNDO, _RUN = "undo the guard", "past the guard"
_ALL_RIGHTS = rule(["*"], ["*"], "*")
RIGHTS = (
    _role("all rights", _ALL_RIGHTS, says=_UNDO),
    _role("the protection", rule(["agent.fleetbus.dev"], ["protections"], "patch"), says=_UNDO),
    _role("all of the core", rule([""], ["*"], "get"), says=_UNDO),
    _role("RBAC", rule([RBAC], ["clusterrolebindings"], "create"), says=_UNDO),
    _role("the guard's removal", rule(["admissionregistration.k8s.io"], ["*"], "delete"), says=_UNDO),
    _role("impersonation", rule([""], ["users"], "impersonate"), says=_UNDO),
    _role("impersonation by a wildcard", rule([""], ["serviceaccounts"], "*"), says=_UNDO),
    _role("binding", rule([RBAC], ["clusterroles"], "bind"), says=_UNDO),
    _role("tokens", rule([""], ["serviceaccounts/token"], "create"), says=_UNDO),
    _role("exec", rule([""], ["pods/exec"], "get"), says=_UNDO),
    _role("the nodes' proxy", rule([""], ["nodes/proxy"], "get"), says=_UNDO),
    _role("all subresources", rule([""], ["pods/*"], "get"), says=_UNDO),
    _role("paths", {"nonResourceURLs": ["*"], "verbs": ["*"]}, says=_UNDO),
    _role("pods", rule([""], ["pods"], "create"), says=_RUN),
    _role("workloads", rule(["apps"], ["deployments"], "patch"), says=_RUN),
    _role("secrets", rule([""], ["secrets"], "create"), says=_RUN),
    _role(
        "other roles gathered",
        says=_RUN,
        aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    ),
    _role(
        "more for itself",
        rule([""], ["nodes"], "get"),
        says="the agent itself",
        labels={"fleetbus.dev/aggregate-to-agent": "true"},
    ),
    Attempt(
        "more in a role that is the agent's already",
        "PATCH",
        rbac("clusterroles", "careless"),
        {"metadata": {"labels": {"fleetbus.dev/aggregate-to-agent": None}}, "rules": [_ALL_RIGHTS]},
        "the agent itself",
        _MERGE,
    ),
    Attempt(
        "a role in a namespace that runs pods",
        "POST",
        rbac("roles", namespace="store"),
        role("Role", "x", [rule(["batch"], ["jobs"], "create")], namespace="store"),
        _RUN,
    ),
    Attempt(
        "all rights under a trusted name",
        "POST",
        rbac("clusterroles"),
        role("ClusterRole", "trusted-x", [_ALL_RIGHTS]),
        _UNDO,
    ),
    Attempt(
        "its own role",
        "PATCH",
        rbac("clusterroles", "fleetbus-agent"),
        {"rules": []},
        "the agent itself",
        _MERGE,
    ),
    Attempt(
        "a role of Kubernetes",
        "PATCH",
        rbac("clusterroles", "view"),
        {"rules": []},
        "the agent itself",
        _MERGE,
    ),
    Attempt(
        "the owner's way in", "DELETE", rbac("clusterrolebindings", "cluster-admin"), says="the agent itself"
    ),
    _bind("cluster-admin", "cluster-admin", says="given by the cluster owner alone"),
    _bind("its own role to a workload", "fleetbus-agent", says="given by the cluster owner alone"),
    _bind("edit", "edit", says="is not given by the agent"),
    _bind("a role of the system", "system:controller:job-controller", says="is not given by the agent"),
    _bind("a role that the owner keeps", "owners-power", says="is not given by the agent"),
    _bind(
        "something to itself",
        "view",
        ("ServiceAccount", AGENT, "fleetbus-system"),
        says="nothing is given to",
    ),
    _bind(
        "something to itself as a user",
        "view",
        ("User", f"system:serviceaccount:fleetbus-system:{AGENT}", ""),
        says="nothing is given to",
    ),
    _bind(
        "something to everybody", "view", ("Group", "system:authenticated", ""), says="nothing is given to"
    ),
    _bind(
        "something to its namespace",
        "view",
        ("Group", "system:serviceaccounts:fleetbus-system", ""),
        says="nothing is given to",
    ),
    Attempt(
        "cluster-admin in one namespace",
        "POST",
        rbac("rolebindings", namespace="store"),
        binding("RoleBinding", "x", "cluster-admin", [("ServiceAccount", "web", "store")], namespace="store"),
        "given by the cluster owner alone",
    ),
    Attempt(
        "cluster-admin by apply",
        "PATCH",
        rbac("clusterrolebindings", "x"),
        binding("ClusterRoleBinding", "x", "cluster-admin", [("ServiceAccount", "web", "store")]),
        "given by the cluster owner alone",
        _APPLY,
        {"fieldManager": "kubectl"},
    ),
    Attempt(
        "a binding in kube-system",
        "POST",
        rbac("rolebindings", namespace="kube-system"),
        binding("RoleBinding", "x", "view", [("ServiceAccount", "web", "store")], namespace="kube-system"),
        _CLOSED,
    ),
    Attempt(
        "an API of Kubernetes itself",
        "POST",
        "/apis/apiregistration.k8s.io/v1/apiservices",
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v9.apps"},
            "spec": {
                "group": "apps",
                "version": "v9",
                "groupPriorityMinimum": 1,
                "versionPriority": 1,
                "service": {"name": "x", "namespace": "store"},
            },
        },
        "take the place of an API",
    ),
    Attempt(
        "an API of Kubernetes removed",
        "DELETE",
        "/apis/apiregistration.k8s.io/v1/apiservices/v1.admissionregistration.k8s.io",
        says="take the place of an API",
    ),
    Attempt(
        "a certificate",
        "POST",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": "x"},
            "spec": {
                "request": base64.b64encode(_CSR).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        },
        "API group certificates.k8s.io is closed to the agent",
    ),
)

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
OTHERS = (
    Attempt(
        "as an administrator",
        "POST",
        core("other", "configmaps"),
        config_map("other", "x"),
        impersonate="system:admin",
        by="cannot impersonate",
    ),
    Attempt(
        "as a controller of Kubernetes",
        "POST",
        core("other", "configmaps"),
        config_map("other", "x"),
        impersonate="system:serviceaccount:kube-system:clusterrole-aggregation-controller",
        by="cannot impersonate",
    ),
    Attempt(
        "as an account that it may impersonate, elsewhere",
        "POST",
        core("other", "configmaps"),
        config_map("other", "x"),
        _NOT_ALLOWED,
        impersonate=_DEPLOYER,
    ),
    Attempt(
        "as an account that it may impersonate, with a stranger's image",
        "POST",
        core("store", "pods"),
        pod("store", "x", EVIL),
        _EVIL,
        impersonate=_DEPLOYER,
    ),
    Attempt("all pods of another namespace at once", "DELETE", core("other", "pods"), says=_NOT_ALLOWED),
)

GUARD = (
    Attempt(
        "delete the policy",
        "DELETE",
        f"{_ADMISSION}/validatingadmissionpolicies/fleetbus-guard",
        by="cannot delete",
    ),
    Attempt(
        "delete the binding",
        "DELETE",
        f"{_ADMISSION}/validatingadmissionpolicybindings/fleetbus-guard",
        by="cannot delete",
    ),
    Attempt(
        "only warn",
        "PATCH",
        f"{_ADMISSION}/validatingadmissionpolicybindings/fleetbus-guard",
        {"spec": {"validationActions": ["Warn"]}},
        "",
        _MERGE,
        by="cannot patch",
    ),
    Attempt(
        "edit what is allowed",
        "PATCH",
        f"{_ADMISSION}/validatingadmissionpolicies/fleetbus-guard",
        {"spec": {"variables": []}},
        "",
        _MERGE,
        by="cannot patch",
    ),
    Attempt(
        "a webhook before the guard",
        "POST",
        f"{_ADMISSION}/mutatingwebhookconfigurations",
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "x"},
        },
        by="cannot create",
    ),
)

ATTEMPTS: tuple[Attempt, ...] = (*PLACES, *HOME, *SUBRESOURCES, *IMAGES, *PODS, *RIGHTS, *OTHERS, *GUARD)
