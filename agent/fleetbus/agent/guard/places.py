"""Where the agent may write, and which kinds."""

from __future__ import annotations

from fleetbus.agent.guard.check import Check, listed, texts
from fleetbus.schemas.agent_pod import AGENT_NAME, AGENT_NAMESPACE, AGGREGATE_LABEL
from fleetbus.schemas.guard import GUARD, NAMESPACES, NEVER_NAMESPACES

_REVIEWS = "variables.group in ['authorization.k8s.io', 'authentication.k8s.io']"
_BUILT_IN = ("admin", "cluster-admin", "edit", "view")
_HOME = f"variables.place == '{AGENT_NAMESPACE}'"
_CLOSED_GROUPS = ("admissionregistration.k8s.io", "certificates.k8s.io")
_LEVEL = "variables.metadata.?labels[?'pod-security.kubernetes.io/enforce'].orValue('')"
_OLD_LEVEL = "oldObject.?metadata.?labels[?'pod-security.kubernetes.io/enforce'].orValue('')"

SUBRESOURCES = Check(
    "variables.subresource == '' || (variables.resource + '/' + variables.subresource) in variables.subresources",
    "variables.resource + '/' + variables.subresource + ' is no subresource that the agent needs'",
    "subresources",
)

NEVER = Check(
    f"!(variables.place in {texts(NEVER_NAMESPACES)})",
    "'namespace ' + variables.place + ' is closed to the agent'",
)

DENIED = Check(
    f"variables.place == '' || !{listed('variables.place', 'variables.deniedNamespaces')}",
    "'namespace ' + variables.place + ' stands in `deniedNamespaces`'",
)

HOME = Check(
    f"!({_HOME}) || "
    + listed("(variables.group + '/' + variables.resource + '/' + variables.name)", "variables.home")
    + " || (variables.group == 'apps' && variables.resource == 'deployments' && variables.subresource == ''"
    f" && variables.name == '{AGENT_NAME}' && request.operation == 'UPDATE'"
    " && variables.agentImages.size() > 0)",
    f"'in {AGENT_NAMESPACE} the agent writes nothing but its own records'",
)

NAMESPACE = Check(
    f"variables.place == '' || {_HOME} || {listed('variables.place', 'variables.namespaces')}",
    "'namespace ' + variables.place + ' is not one of the allowed'",
    NAMESPACES,
)

CLUSTER_WIDE = Check(
    f"variables.place != '' || '*' in variables.namespaces || variables.kind in variables.kinds || {_REVIEWS}",
    "'it belongs to the whole cluster, and only some namespaces are allowed'",
    "kinds",
)

KIND = Check(
    f"variables.subresource != '' || {_HOME} || {_REVIEWS} || "
    "variables.kinds.exists(k, k == '*' || k == variables.kind || "
    "(k.startsWith('*.') && k.substring(2) == variables.group))",
    "'kind ' + variables.kind + ' is not one of the allowed'",
    "kinds",
)

CLOSED = Check(
    f"!(variables.group in {texts(_CLOSED_GROUPS)})",
    "'API group ' + variables.group + ' is closed to the agent'",
)

OWN = Check(
    "!(variables.group == 'rbac.authorization.k8s.io' && (variables.name.startsWith('system:')"
    f" || variables.name in {texts(_BUILT_IN)} || variables.name.startsWith('{AGENT_NAME}')"
    f" || variables.name.startsWith('{GUARD}')))"
    " && !(variables.resource == 'customresourcedefinitions' && variables.name.endsWith('.fleetbus.dev'))"
    f" && !(variables.resource == 'serviceaccounts' && variables.group == '' && variables.name == '{AGENT_NAME}')"
    f" && !('{AGGREGATE_LABEL}' in variables.metadata.?labels.orValue({{}}))"
    f" && !(request.operation == 'UPDATE' && variables.subresource == ''"
    f" && '{AGGREGATE_LABEL}' in oldObject.?metadata.?labels.orValue({{}}))",
    "'it belongs to the agent itself or to Kubernetes'",
)

SERVED = Check(
    "variables.resource != 'apiservices' || variables.isGone && !variables.name.endsWith('.k8s.io') || "
    "(variables.spec.?group.orValue('').contains('.')"
    " && !variables.spec.group.endsWith('fleetbus.dev') && (!variables.spec.group.endsWith('.k8s.io') ||"
    " variables.spec.group in ['metrics.k8s.io', 'custom.metrics.k8s.io', 'external.metrics.k8s.io']))",
    "'it would take the place of an API of Kubernetes itself'",
)

POD_SECURITY = Check(
    "variables.resource != 'namespaces' || variables.group != '' || variables.isGone || "
    + listed("variables.name", "variables.privileged")
    + f" || (request.operation == 'UPDATE' ? {_LEVEL} in [{_OLD_LEVEL}, 'restricted'] ||"
    f" ({_LEVEL} == 'baseline' && {_OLD_LEVEL} != 'restricted') : {_LEVEL} != 'privileged')",
    "'it loosens what pods may do there (label pod-security.kubernetes.io/enforce)'",
    "privileged",
)

CHECKS = (
    SUBRESOURCES,
    NEVER,
    DENIED,
    HOME,
    NAMESPACE,
    CLOSED,
    CLUSTER_WIDE,
    KIND,
    OWN,
    SERVED,
    POD_SECURITY,
)
