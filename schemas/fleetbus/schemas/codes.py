"""Every error code that an operator can see: what it means and what to do. `fleetbus explain FBnnnn` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetbus.schemas.agent_pod import AGENT_LOGS


@dataclass(frozen=True, slots=True)
class Code:
    """One error code. `remedy` is what usually helps."""

    code: str
    title: str
    meaning: str
    remedy: str


CODES: Final[tuple[Code, ...]] = (
    Code(
        "FB0001",
        "No code of its own",
        "The message says what was refused or failed. When it says that nobody foresaw it, the printed file "
        "holds the details.",
        "Do what the message says; report the file if there is one.",
    ),
    Code(
        "FB1001",
        "Unknown field",
        "A document has a field that its kind does not have, or is otherwise no valid document.",
        "Correct the field; the error names those that exist. `fleetbus validate -f FILE` checks offline.",
    ),
    Code(
        "FB1002",
        "Not found",
        "A document, an object, a ref or a path is not there.",
        "Look at what there is: `fleetbus get TYPE`.",
    ),
    Code(
        "FB1003",
        "Wrong value",
        "A field has a value that it cannot have.",
        "Take one of the values that the error names; `fleetbus explain KIND.FIELD` documents the field.",
    ),
    Code(
        "FB1004",
        "Missing field",
        "A field that must be given is not.",
        "Add it; `fleetbus explain KIND.FIELD` documents it.",
    ),
    Code(
        "FB1005",
        "Exists already",
        "Something of that name is there already, and it is not the same.",
        "Take another name, or remove the other one first.",
    ),
    Code(
        "FB1006",
        "Stands twice",
        "A key stands twice in a map, or a document twice in the files.",
        "Remove one of them: which one would count cannot be guessed.",
    ),
    Code(
        "FB1007",
        "Unknown kind",
        "The kind is missing, or it is none of this API version.",
        "Write one of the kinds that the error names.",
    ),
    Code(
        "FB1008",
        "Not YAML",
        "The file is not YAML, uses a tag that is not known, or is too large.",
        "Correct the place that the error names; often it is the indentation of the line before.",
    ),
    Code(
        "FB1009",
        "Not a document",
        "A YAML document in the file is a list or a single value.",
        "Each document starts with apiVersion, kind and metadata; `---` stands between two.",
    ),
    Code(
        "FB1010",
        "Not possible now",
        "As things stand it cannot be done: something uses it, has ended, or has not begun.",
        "Do first what the error names.",
    ),
    Code(
        "FB1101",
        "Source unreachable",
        "The repository does not answer, or refuses the credentials. It is tried again; the last good "
        "revision stays in force.",
        "Try `git ls-remote URL` where the controller runs; check the file of credentials.",
    ),
    Code(
        "FB1102",
        "Revision not found",
        "The branch, tag or commit is not in the repository.",
        "Correct spec.git.ref, or push the ref.",
    ),
    Code(
        "FB1103",
        "Render failed",
        "A folder of a source could not be made into objects. The last good artifact stays in force.",
        "Run `kubectl kustomize PATH` in a clone of the source.",
    ),
    Code(
        "FB1201",
        "Not a Kubernetes object",
        "A manifest lacks apiVersion, kind or metadata.name, or is otherwise no object.",
        "Correct the file that the message names, or move it out of the folder.",
    ),
    Code(
        "FB1301",
        "Held",
        "A prune would take more than max(5, 20 %) of a bundle's objects, or its placement would lose more than "
        "max(1, 20 %) of its clusters. Nothing was removed; it waits for a person.",
        "Look at it with `fleetbus describe bundle/NAME`; let it go with `fleetbus release bundle/NAME --prune N`.",
    ),
    Code(
        "FB1302",
        "Document in error",
        "A document's Ready is False: something is wrong and does not mend itself.",
        "`fleetbus describe TYPE/NAME` says what and where.",
    ),
    Code(
        "FB2001",
        "Cluster away",
        "The bus has no connection of a cluster's agent (Connected), or its heartbeats do not come (Responsive). "
        "What runs there goes on; it catches up by itself when it is back.",
        f"Look at the agent there: `{AGENT_LOGS}`.",
    ),
    Code(
        "FB2002",
        "Apiserver unavailable",
        "A cluster's apiserver does not answer, throttles or fails. It is tried again.",
        "Look at the cluster; nothing has to be done in the fleet.",
    ),
    Code(
        "FB2003",
        "Object changed meanwhile",
        "An object changed between read and write, or another field manager owns a field.",
        "Decide who owns the field; spec.adopt of the bundle says what is taken over.",
    ),
    Code(
        "FB2010",
        "Apply refused",
        "The apiserver or its admission refused an object. The others of the bundle go on.",
        "Correct the object in the source as the message says.",
    ),
    Code(
        "FB3001",
        "Bus or controller unreachable",
        "No connection to the bus, or no controller answers on it.",
        "Run `fleetbus doctor`; look whether nats-server and the controller run.",
    ),
    Code(
        "FB3002",
        "Somebody wrote first",
        "The document was changed by somebody else between read and write.",
        "Do it again.",
    ),
    Code(
        "FB3003",
        "Timeout",
        "A wait ended before its condition came; what was started goes on.",
        "Wait longer with --timeout, or look at what the message says is missing.",
    ),
    Code(
        "FB3004",
        "Stream missing",
        "A stream of the fleet is not there: what it would hold is neither told nor kept.",
        "`fleetbus init --out DIR --online` makes it.",
    ),
    Code(
        "FB3005",
        "Audit chain",
        "Audit records are missing from the stream that keeps them, or the chain cannot be read. Without it the "
        "controller changes nothing.",
        "`fleetbus init --out DIR --online` makes a stream that is missing; `fleetbus audit verify` says what is "
        "wrong.",
    ),
    Code(
        "FB3006",
        "Permissions differ",
        "The running bus lets somebody do more or less than the contract says.",
        "Give it its accounts again: `fleetbus init --out DIR --online`.",
    ),
    Code(
        "FB3007",
        "Certificate",
        "A certificate of the bus is not accepted, has ended or ends soon: a server's, its authority's, or one's own.",
        "Renew without a restart: `fleetbus init --out DIR --renew-certificates`, then `fleetbus init --out DIR "
        "--online`. One that is not of the known authority may be somebody in between.",
    ),
    Code(
        "FB3008",
        "No TLS",
        "The bus is plaintext, as its fleet was made with --insecure-dev. Nothing else makes it so.",
        "Make a fleet without it, in a folder of its own: `fleetbus init --out DIR --name NAME --host HOST`.",
    ),
    Code(
        "FB3009",
        "Proxy",
        "The HTTP proxy on the way to the bus is not reached, refuses, or wants a login.",
        "The message names it and what it said; `direct` in place of its URL, or NO_PROXY, goes without it.",
    ),
    Code(
        "FB3010",
        "Message malformed",
        "Bytes on the bus are no message of this contract. They were left out, the rest goes on.",
        "The message names the subject; look at who may write there.",
    ),
    Code(
        "FB3011",
        "Message too new",
        "A message is of a version that this program cannot read.",
        "Upgrade this side.",
    ),
    Code(
        "FB3012",
        "Signature refused",
        "A message is unsigned, signed by somebody else, or altered. It is not acted on.",
        "If nobody has rotated keys, look for who writes to the bus.",
    ),
    Code(
        "FB3013",
        "Stale",
        "A message is older than what was accepted before, or past its validity.",
        "Look at the clocks of controller and cluster; a restored backup needs a new epoch.",
    ),
    Code(
        "FB3014",
        "Wrong addressee",
        "A message is for another fleet or another cluster.",
        "A restored or copied cluster must join under a name of its own.",
    ),
    Code(
        "FB3015",
        "Many revoked keys",
        "The token of an account on the bus names nearly as many revoked keys as it has room for; then no more can be "
        "revoked there.",
        'See "When the list is full" in docs/security/revocation.md.',
    ),
    Code(
        "FB4001",
        "Vault unavailable",
        "Vault is sealed, away or overloaded. Secrets that clusters have stay; it is tried again.",
        "Unseal Vault, or look why it does not answer.",
    ),
    Code(
        "FB4002",
        "Vault forbids",
        "Vault's policies do not allow it.",
        "A cluster reads below secret/REALM/CLUSTER/; anything shared needs `fleetbus secret share`.",
    ),
    Code(
        "FB5001",
        "Not permitted",
        "The credential of the context may not do this.",
        "Take a context that may: `fleetbus context list`.",
    ),
    Code(
        "FB5002",
        "No context",
        "No context says which fleet is meant, or the one that was named is not there.",
        "Take one that is there: `fleetbus context list`; `fleetbus init` and `fleetbus local up` make one.",
    ),
    Code(
        "FB5003",
        "Enrolment refused",
        "A join token was used, has expired, or is for another name or cluster; or the name belongs to another "
        "cluster. Nothing was given; an event tells of it.",
        "Make a new token with `fleetbus cluster join NAME`; if nobody knows of the attempt, look who has the token.",
    ),
    Code(
        "FB5004",
        "Role does not suffice",
        "Each verb needs a role: viewer, operator, approver or admin. The message says which, and which one has.",
        "Take a context that may, or ask who runs the fleet for the role: docs/security/permissions.md.",
    ),
    Code(
        "FB6001",
        "Local server failed",
        "A server of the local fleet did not start or ended early.",
        "Read its log: `fleetbus local logs`.",
    ),
    Code(
        "FB6002",
        "Settings invalid",
        "A setting, a file or a credential is missing or malformed.",
        "Correct what the message names; `fleetbus help environment` lists what is read.",
    ),
)


def code_named(name: str) -> Code | None:
    wanted = name.upper()
    return next((one for one in CODES if one.code == wanted), None)
