"""What the pods may be that the agent writes, itself or as the template of whatever kind."""

from __future__ import annotations

from fleetbus.agent.guard.check import Check, listed, texts
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE
from fleetbus.schemas.guard import AGENT_IMAGES, REGISTRIES

_SHAPE = (
    "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    "(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha(256|512):[a-f0-9]+)?$"
)
_BASELINE = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
"""Capabilities that the Pod Security Standard `baseline` allows."""

_OWN_DEPLOYMENT = (
    f"(variables.place == '{AGENT_NAMESPACE}' && variables.group == 'apps'"
    f" && variables.resource == 'deployments' && variables.name == '{AGENT_NAME}')"
)
_IN_FULL = (
    "(i.contains('/') && (i.split('/')[0].contains('.') || i.split('/')[0].contains(':')"
    " || i.split('/')[0] == 'localhost') ? i : i.contains('/') ? 'docker.io/' + i : 'docker.io/library/' + i)"
)
_POWERS = (
    "authorizer.serviceAccount(variables.place, variables.account).group('*').resource('*')"
    ".check('*').allowed()",
    "authorizer.serviceAccount(variables.place, variables.account).group('rbac.authorization.k8s.io')"
    ".resource('clusterrolebindings').check('create').allowed()",
    "authorizer.serviceAccount(variables.place, variables.account).group('admissionregistration.k8s.io')"
    ".resource('validatingadmissionpolicybindings').check('delete').allowed()",
    "authorizer.serviceAccount(variables.place, variables.account).group('').resource('pods')"
    ".namespace('kube-system').check('create').allowed()",
    *(
        "authorizer.serviceAccount(variables.place, variables.account).group('agent.fleetbus.dev')"
        f".resource('protections').namespace('{AGENT_NAMESPACE}').check('{verb}').allowed()"
        for verb in ("create", "update", "patch")
    ),
)

VARIABLES: tuple[tuple[str, str], ...] = (
    # `registry.example.com@evil` is one name of Docker Hub: only the first part before a `/` can be a host.
    ("fullImages", f"variables.images.map(i, {_IN_FULL})"),
    (
        "strangeImages",
        f"'*' in variables.registries ? [] : variables.fullImages.filter(i, !i.matches('{_SHAPE}') ||"
        " !variables.registries.exists(r, i.startsWith(r + '/') ||"
        " (r.contains('/') && (i == r || i.startsWith(r + ':') || i.startsWith(r + '@')))))",
    ),
    (
        "strangeAgentImages",
        f"!{_OWN_DEPLOYMENT} ? [] : variables.fullImages.filter(i, !i.matches('{_SHAPE}') ||"
        " !variables.agentImages.exists(r, i == r || i.startsWith(r + ':') || i.startsWith(r + '@')))",
    ),
    (
        "isPrivileged",
        "variables.pod.?hostNetwork.orValue(false) || variables.pod.?hostPID.orValue(false)"
        " || variables.pod.?hostIPC.orValue(false)"
        " || variables.pod.?securityContext.?windowsOptions.?hostProcess.orValue(false)"
        " || variables.pod.?volumes.orValue([]).exists(v, has(v.hostPath))"
        " || variables.containers.exists(c, c.?securityContext.?privileged.orValue(false)"
        " || c.?securityContext.?procMount.orValue('Default') != 'Default'"
        " || c.?securityContext.?windowsOptions.?hostProcess.orValue(false)"
        f" || c.?securityContext.?capabilities.?add.orValue([]).exists(a, !(a in {texts(_BASELINE)}))"
        " || c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) != 0))"
        " || (variables.group == '' && variables.resource == 'persistentvolumes'"
        " && (has(variables.spec.hostPath) || has(variables.spec.local)))",
    ),
    (
        "asksAccount",
        "variables.containers.size() > 0 && variables.place != ''"
        f" && variables.place != '{AGENT_NAMESPACE}'"
        " && !((variables.place + '/' + variables.account) in variables.trustedAccounts)",
    ),
    # One question to the authorizer costs a third of what an expression may cost.
    *((f"power{number}", f"variables.asksAccount && {power}") for number, power in enumerate(_POWERS)),
)

IMAGES = Check(
    "variables.strangeImages.size() == 0",
    "'image ' + variables.strangeImages[0] + ' is from no allowed registry'",
    REGISTRIES,
)

AGENT_IMAGE = Check(
    "variables.strangeAgentImages.size() == 0",
    "'image ' + variables.strangeAgentImages[0] + ' is none of the agent'",
    AGENT_IMAGES,
)

AGENT_POD = Check(
    f"!{_OWN_DEPLOYMENT} || variables.account == '{AGENT_NAME}' && !variables.isPrivileged",
    "'the agent runs under its own account and with nothing of its node'",
)

PRIVILEGED = Check(
    f"!variables.isPrivileged || {listed('variables.place', 'variables.privileged')}",
    "'it reaches for its node: privileged, host namespaces, ports or paths, more capabilities'",
    "privileged",
)

ACCOUNT = Check(
    " && ".join(f"!variables.power{number}" for number in range(len(_POWERS))),
    "'ServiceAccount ' + variables.account + ' has more power than the agent may lend'",
    "trustedAccounts",
)

TOKEN = Check(
    "variables.resource != 'secrets' || variables.group != ''"
    " || variables.body.?type.orValue('') != 'kubernetes.io/service-account-token'",
    "'it would be given the token of a ServiceAccount'",
)

WHEN = (
    "variables.containers.size() > 0 || (variables.group == ''"
    " && variables.resource in ['secrets', 'persistentvolumes'])"
)
CHECKS = (IMAGES, AGENT_IMAGE, AGENT_POD, PRIVILEGED, TOKEN)
