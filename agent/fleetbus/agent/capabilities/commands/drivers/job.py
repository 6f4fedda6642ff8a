"""Driver `job`: a Kubernetes Job named by the command's id; it succeeds and fails as the Job does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetbus.agent.capabilities.commands.drivers import Progress, Tools
from fleetbus.agent.capabilities.commands.drivers.arguments import parsed
from fleetbus.agent.ports import Rule
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.capabilities.commands import DRIVER_JOB, ID_LABEL, JobArguments
from fleetbus.schemas.errors import AlreadyExists, NotFound, ObjectInvalid

JOB = Resource("batch", "v1", "jobs", "Job", True)
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", False)
NAME_PREFIX = "fleetbus-"
_VERBS = ("get", "list", "watch", "create", "delete")
NEEDS = (
    Rule((JOB.group,), (JOB.plural,), _VERBS),
    Rule((JOB.group,), (JOB.plural,), _VERBS, names=(f"{NAME_PREFIX}*",), home=True),
    Rule((NAMESPACE.group,), (NAMESPACE.plural,), ("get",)),
)
# Long enough for an agent that was away for as long as a command may wait.
_KEPT_FOR_S = 7 * 24 * 3600
_SUCCESS = ("Complete", "SuccessCriteriaMet")


class Job:
    """Nothing but the Job itself says where a command stands."""

    name = DRIVER_JOB
    effect = JOB

    def __init__(self, tools: Tools) -> None:
        self._kube = tools.kube

    async def preflight(self, arguments: Mapping[str, Any]) -> str | None:
        wanted = parsed(JobArguments, arguments)
        if isinstance(wanted, str):
            return wanted
        if not wanted.image:
            return "arguments.image: it is empty"
        if ID_LABEL in wanted.pod_labels:
            return f"arguments.podLabels: {ID_LABEL} is set by the agent"
        try:
            await self._kube.get(NAMESPACE, "", wanted.namespace, metadata_only=True)
        except NotFound:
            return f"arguments.namespace: the cluster has no namespace `{wanted.namespace}`"
        return None

    async def start(self, id: str, arguments: Mapping[str, Any]) -> None:
        wanted = parsed(JobArguments, arguments)
        if isinstance(wanted, str):
            raise ObjectInvalid(wanted)
        name = job_name(id)
        try:
            await self._kube.create(JOB, wanted.namespace, job(id, wanted))
        except AlreadyExists:
            found = await self._kube.get(JOB, wanted.namespace, name, metadata_only=True)
            if _labels(found).get(ID_LABEL) != id:
                raise

    async def observe(self, id: str) -> Progress | None:
        found = await self._find(id)
        return progress(found) if found is not None else None

    async def abort(self, id: str) -> None:
        found = await self._find(id)
        if found is not None:
            metadata = found["metadata"]
            await self._kube.delete(JOB, metadata["namespace"], metadata["name"], uid=metadata["uid"])

    async def _find(self, id: str) -> dict[str, Any] | None:
        named = job_name(id)
        jobs = await self._kube.list(JOB, label_selector=f"{ID_LABEL}={id}")
        return next((one for one in jobs if one["metadata"]["name"] == named), None)


def job_name(id: str) -> str:
    return f"{NAME_PREFIX}{id}"


def job(id: str, wanted: JobArguments) -> dict[str, Any]:
    """The Job for a command. Its pods get a token only with a ServiceAccount that was asked for."""
    labels = {ID_LABEL: id, "app.kubernetes.io/managed-by": "fleetbus"}
    container: dict[str, Any] = {"name": "command", "image": wanted.image}
    if wanted.command:
        container["command"] = list(wanted.command)
    if wanted.args:
        container["args"] = list(wanted.args)
    if wanted.environment:
        container["env"] = [{"name": k, "value": v} for k, v in sorted(wanted.environment.items())]
    pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    if wanted.service_account:
        pod["serviceAccountName"] = wanted.service_account
    else:
        pod["automountServiceAccountToken"] = False
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(id), "namespace": wanted.namespace, "labels": labels},
        "spec": {
            "backoffLimit": wanted.backoff_limit,
            "ttlSecondsAfterFinished": _KEPT_FOR_S,
            "template": {"metadata": {"labels": {**wanted.pod_labels, **labels}}, "spec": pod},
        },
    }


def progress(found: Mapping[str, Any]) -> Progress | None:
    """Where a Job stands, by its conditions and its pods' counts; None once it is being deleted."""
    metadata, status = found["metadata"], found.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return None
    counts = {name: int(status.get(name) or 0) for name in ("active", "succeeded", "failed")}
    output = {"job": f"{metadata['namespace']}/{metadata['name']}", **counts}
    holding = {
        str(one.get("type")): one
        for one in status.get("conditions") or ()
        if one.get("status") == "True" and one.get("type")
    }
    seen = str(metadata.get("resourceVersion", ""))
    for type_ in _SUCCESS:
        if type_ in holding:
            return Progress("Succeeded", 100, _message(holding[type_], "the Job is complete"), output, seen)
    if "Failed" in holding:
        percent = _percent(found, counts["succeeded"])
        return Progress("Failed", percent, _message(holding["Failed"], "the Job failed"), output, seen)
    if "Suspended" in holding:
        return Progress("Running", 0, _message(holding["Suspended"], "the Job is suspended"), output, seen)
    words = f"{counts['active']} pods active, {counts['succeeded']} succeeded, {counts['failed']} failed"
    return Progress("Running", _percent(found, counts["succeeded"]), words, output, seen)


def _percent(found: Mapping[str, Any], succeeded: int) -> int:
    wanted = int((found.get("spec") or {}).get("completions") or 1)
    return min(99, 100 * succeeded // max(1, wanted))


def _message(condition: Mapping[str, Any], otherwise: str) -> str:
    reason, text = str(condition.get("reason") or ""), str(condition.get("message") or "")
    return f"{reason}: {text}" if reason and text else reason or text or otherwise


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = (found.get("metadata") or {}).get("labels") or {}
    return labels
