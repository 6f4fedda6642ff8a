"""What the checks look at, as variables of the policy; each may use those before it."""

from __future__ import annotations

from fleetbus.agent.guard.check import texts

VARIABLES: tuple[tuple[str, str], ...] = (
    ("group", "request.resource.group"),
    ("resource", "request.resource.resource"),
    ("subresource", "has(request.subResource) ? request.subResource : ''"),
    ("isGone", "request.operation in ['DELETE', 'CONNECT']"),
    ("metadata", "(request.operation == 'DELETE' ? oldObject : object).?metadata.orValue({})"),
    (
        "name",
        "variables.metadata.?name.orValue('') != '' && variables.subresource == '' ? variables.metadata.name :"
        " (has(request.name) ? request.name : '')",
    ),
    # A Namespace lies in itself: who may write into it may change it.
    (
        "place",
        "variables.group == '' && variables.resource == 'namespaces' ? variables.name :"
        " (has(request.namespace) ? request.namespace : '')",
    ),
    ("kind", "request.kind.kind + (request.kind.group == '' ? '' : '.' + request.kind.group)"),
    (
        "shown",
        "request.kind.kind + ' ' + (has(request.namespace) && request.namespace != variables.name ?"
        " request.namespace + '/' : '') + variables.name",
    ),
    ("body", "variables.isGone ? {} : object"),
    ("spec", "type(variables.body.?spec.orValue({})) == map ? variables.body.?spec.orValue({}) : {}"),
    # Whatever the kind, a pod template is where the usual kinds have theirs.
    (
        "template",
        "request.kind.kind == 'PodTemplate' && request.kind.group == '' ? variables.body.?template.orValue({}) :"
        " type(variables.spec.?template.orValue({})) == map && has(variables.spec.template) ?"
        " variables.spec.template :"
        " type(variables.spec.?jobTemplate.orValue({})) == map ?"
        " variables.spec.?jobTemplate.?spec.?template.orValue({}) : {}",
    ),
    (
        "pod",
        "request.kind.kind == 'Pod' && request.kind.group == '' ? variables.spec :"
        " type(variables.template) == map && type(variables.template.?spec.orValue({})) == map ?"
        " variables.template.?spec.orValue({}) : {}",
    ),
    (
        "containers",
        "variables.pod.?containers.orValue([]) + variables.pod.?initContainers.orValue([]) +"
        " variables.pod.?ephemeralContainers.orValue([])",
    ),
    (
        "images",
        "variables.containers.filter(c, has(c.image)).map(c, c.image) +"
        " variables.pod.?volumes.orValue([]).filter(v, has(v.image) && has(v.image.reference))"
        ".map(v, v.image.reference)",
    ),
    (
        "account",
        "variables.pod.?serviceAccountName.orValue('') != '' ? variables.pod.serviceAccountName :"
        " variables.pod.?serviceAccount.orValue('') != '' ? variables.pod.serviceAccount : 'default'",
    ),
    (
        "isRole",
        "variables.group == 'rbac.authorization.k8s.io' && variables.resource in ['roles', 'clusterroles']",
    ),
    (
        "isBinding",
        "variables.group == 'rbac.authorization.k8s.io' &&"
        " variables.resource in ['rolebindings', 'clusterrolebindings']",
    ),
    # A rule of a role, reduced to what is asked of it.
    (
        "rules",
        "!variables.isRole ? [] : variables.body.?rules.orValue([]).map(r, {"
        "'groups': r.?apiGroups.orValue([]), 'resources': r.?resources.orValue([]), 'verbs': r.?verbs.orValue([]),"
        f" 'writes': dyn(r.?verbs.orValue([]).exists(v, !(v in {texts(('get', 'list', 'watch'))}))),"
        " 'paths': r.?nonResourceURLs.orValue([])})",
    ),
)
