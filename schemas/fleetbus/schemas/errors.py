"""The one tree of errors.

FleetbusError
├── Transient             trying again can help; only loops retry
│   ├── BusUnavailable        no connection, no answer, a time limit on the bus
│   ├── SequenceConflict      somebody wrote first: an expected sequence did not match
│   ├── KubeUnavailable       the apiserver does not answer, throttles or fails
│   ├── KubeConflict          an object changed between read and write
│   ├── VaultUnavailable      sealed, away or overloaded
│   ├── SourceUnreachable     a repository does not answer
│   └── TimeoutExpired        a wait ended before its condition came
├── Terminal              somebody has to change something first
│   ├── DocumentInvalid       what an operator wrote is not a valid document
│   ├── ObjectInvalid         a manifest or a stored object is not what it must be
│   ├── NotFound              a document, an object, a ref, a path is not there
│   ├── AlreadyExists         it is there already, and it is not the same
│   ├── RevisionNotFound      a Git ref is not in the repository
│   ├── RenderFailed          rendering a source gave an error
│   ├── ApplyRefused          the apiserver or its admission refused an object
│   ├── VaultForbidden        Vault's policies do not allow it
│   ├── ServerFailed          a local server did not start or ended early
│   └── SettingsInvalid       a setting, a file or a credential is missing or malformed
└── Refused               it was understood and is not accepted
    ├── MessageMalformed      bytes that are no message of this contract
    ├── MessageTooNew         a schema that this version cannot read
    ├── SignatureRefused      unsigned, signed by somebody else, or altered
    ├── Stale                 older than what was accepted before, or past its validity
    ├── WrongAddressee        for another fleet or cluster
    ├── NotPossible           not as things stand: something else has to be done first
    ├── NotPermitted          who asks may not do it
    └── EnrolmentRefused      a cluster does not become, or is no more, a member by what it presents

A library's error is translated in `runtime` into one of these, with the original chained as its cause.
"""

from __future__ import annotations

from typing import ClassVar


class FleetbusError(Exception):
    """What went wrong, where, and what to do about it.

    `message` says no remedy; `where` names a document, field, object, subject or `file:line:column`;
    `remedy` is one sentence or one command. None of them ever holds a secret's value.
    """

    code: ClassVar[str] = "FB0001"

    def __init__(self, message: str, *, where: str = "", remedy: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy
        self.error_code = code or self.code

    @property
    def reason(self) -> str:
        """The UpperCamelCase reason under which a condition reports this error."""
        return type(self).__name__

    def sentence(self) -> str:
        """One line: where, what, what to do."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}; {self.remedy}" if self.remedy else text


class Transient(FleetbusError):
    """Trying again can help."""


class Terminal(FleetbusError):
    """Trying again cannot help before somebody changes something."""


class Refused(FleetbusError):
    """Understood, and not accepted."""


class BusUnavailable(Transient):
    code = "FB3001"


class SequenceConflict(Transient):
    code = "FB3002"


class KubeUnavailable(Transient):
    code = "FB2002"


class KubeConflict(Transient):
    code = "FB2003"


class VaultUnavailable(Transient):
    code = "FB4001"


class SourceUnreachable(Transient):
    code = "FB1101"


class TimeoutExpired(Transient):
    code = "FB3003"


class DocumentInvalid(Terminal):
    code = "FB1001"


class ObjectInvalid(Terminal):
    code = "FB1201"


class NotFound(Terminal):
    code = "FB1002"


class AlreadyExists(Terminal):
    code = "FB1005"


class RevisionNotFound(Terminal):
    code = "FB1102"


class RenderFailed(Terminal):
    code = "FB1103"


class ApplyRefused(Terminal):
    code = "FB2010"

    def __init__(self, message: str, *, where: str = "", remedy: str = "", status: int = 0) -> None:
        super().__init__(message, where=where, remedy=remedy)
        self.status = status


class VaultForbidden(Terminal):
    code = "FB4002"


class ServerFailed(Terminal):
    code = "FB6001"


class SettingsInvalid(Terminal):
    code = "FB6002"


class MessageMalformed(Refused):
    code = "FB3010"


class MessageTooNew(Refused):
    code = "FB3011"


class SignatureRefused(Refused):
    code = "FB3012"


class Stale(Refused):
    code = "FB3013"


class WrongAddressee(Refused):
    code = "FB3014"


class NotPossible(Refused):
    code = "FB1010"


class NotPermitted(Refused):
    code = "FB5001"


class EnrolmentRefused(Refused):
    code = "FB5003"
