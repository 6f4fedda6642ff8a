"""Which rights the agent may give to others. With profile `full` the apiserver's own escalation check is off.

Two kinds: what would undo the guard is never given; what would run pods past it only by roles that the owner names.
"""

from __future__ import annotations

from fleetbus.agent.guard.check import Check, listed, texts
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.guard import GUARD, NEVER_NAMESPACES

_CLOSED_GROUPS = (
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
    # Who may write a Protection decides for the owner whether approvers are asked.
    "agent.fleetbus.dev",
)
_CORE = "('' in r.groups || '*' in r.groups)"
_WORKLOADS = ("apps", "batch", "extensions")
_RUNNING = (
    "pods",
    "pods/ephemeralcontainers",
    "podtemplates",
    "replicationcontrollers",
    "secrets",
    "serviceaccounts",
)
_CLUSTER_WIDE = ("configmaps", "namespaces", "nodes", "nodes/status", "persistentvolumes")
_INTO_PODS = (
    "nodes/proxy",
    "pods/attach",
    "pods/exec",
    "pods/portforward",
    "pods/proxy",
    "serviceaccounts/token",
    "services/proxy",
)

VARIABLES: tuple[tuple[str, str], ...] = (
    (
        "undoes",
        "variables.rules.exists(r, (r.writes && r.groups.exists(g, g == '*' || g in "
        f"{texts(_CLOSED_GROUPS)}))"
        " || r.verbs.exists(v, v in ['bind', 'escalate'] || v.startsWith('impersonate'))"
        f" || ({_CORE} && r.resources.exists(x, x == '*' || x.startsWith('*/') || x.endsWith('/*') ||"
        f" x in {texts(_INTO_PODS)}))"
        f" || ({_CORE} && '*' in r.verbs && r.resources.exists(x, x in ['users', 'groups', 'uids', 'serviceaccounts']))"
        " || (r.paths.size() > 0 && r.verbs.exists(v, !(v in ['get', 'head']))))",
    ),
    (
        "runs",
        "variables.rules.exists(r, r.writes && ("
        f"r.groups.exists(g, g in {texts(_WORKLOADS)}) || ({_CORE} && r.resources.exists(x, x in"
        f" {texts(_RUNNING)} || (variables.resource == 'clusterroles' && x in {texts(_CLUSTER_WIDE)})))))"
        " || (variables.isRole && has(variables.body.aggregationRule))",
    ),
    ("role", "variables.isBinding ? variables.body.?roleRef.?name.orValue('') : ''"),
    (
        "isTrustedRole",
        "variables.isRole && "
        + listed("variables.name", "variables.roles")
        + " || variables.isBinding && "
        + listed("variables.role", "variables.roles"),
    ),
    (
        "strangeSubjects",
        "!variables.isBinding ? [] : variables.body.?subjects.orValue([]).filter(s,"
        " (s.kind == 'ServiceAccount' && (s.?namespace.orValue('') in "
        f"{texts((*NEVER_NAMESPACES, AGENT_NAMESPACE))}))"
        " || (s.kind == 'User' && s.name.startsWith('system:'))"
        " || (s.kind == 'Group' && s.name.startsWith('system:')"
        " && (!s.name.startsWith('system:serviceaccounts:') || s.name.substring(23) in "
        f"{texts((*NEVER_NAMESPACES, AGENT_NAMESPACE))}))).map(s, s.name)",
    ),
)

UNDOES = Check(
    "!variables.undoes",
    "'its rules would let a workload undo the guard: wildcards in core or all groups, RBAC, admission, impersonation,"
    " bind, escalate, exec, tokens'",
)

RUNS = Check(
    "!variables.runs || variables.isTrustedRole",
    "'its rules let a workload run pods, write secrets or gather other roles past the guard'",
    "roles",
)

CLUSTER_ADMIN = Check(
    "!(variables.role == 'cluster-admin'"
    f" || variables.role.startsWith('{AGENT_NAME}') || variables.role.startsWith('{GUARD}'))",
    "'role ' + variables.role + ' is given by the cluster owner alone'",
)

BOUND = Check(
    "!(variables.role in ['admin', 'edit'] || variables.role.startsWith('system:')"
    f" || (variables.role != '' && {listed('variables.role', 'variables.deniedRoles')})) || variables.isTrustedRole",
    "'role ' + variables.role + ' is not given by the agent'",
    "roles",
)

SUBJECTS = Check(
    "variables.strangeSubjects.size() == 0",
    "'nothing is given to ' + variables.strangeSubjects[0]",
)

WHEN = "variables.isRole || variables.isBinding"
CHECKS = (UNDOES, RUNS, CLUSTER_ADMIN, BOUND, SUBJECTS)
