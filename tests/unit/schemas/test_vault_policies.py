"""The texts of Vault's policies, and names that cannot be made to say something else."""

from __future__ import annotations

import pytest

from fleetbus.schemas import vault_policies as policies
from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.subjects import ClusterId


def test_a_cluster_s_path_comes_from_its_entity() -> None:
    first = policies.cluster_policy().splitlines()[0]
    own = "{{identity.entity.metadata.realm}}/{{identity.entity.metadata.cluster}}"
    assert first == f'path "secret/data/{own}/*" {{ capabilities = ["read"] }}'
    assert policies.identity_metadata(ClusterId("main", "dev-eu")) == {"realm": "main", "cluster": "dev-eu"}


def test_a_shared_secret_and_what_lies_below_it() -> None:
    assert policies.shared_secret_policy("wild") == (
        'path "secret/data/shared/wild" { capabilities = ["read"] }\n'
        'path "secret/data/shared/wild/*" { capabilities = ["read"] }\n'
    )


def test_the_controller_writes_members_alone() -> None:
    text = policies.controller_policy()
    assert "secret/" not in text
    assert text.count("allowed_parameters") == text.count('"member_entity_ids"') == 1
    assert {word for word in ("create", "delete", "sudo", "list", "patch") if f'"{word}"' in text} == set()


@pytest.mark.parametrize("name", ["", "*", "+", "a/*", 'a" {', "a/b", "../x", "{{x}}", "A", "a\n"])
def test_a_name_cannot_widen_a_policy(name: str) -> None:
    for build in (policies.shared_secret_policy, policies.group_name, policies.shared_path):
        with pytest.raises(DocumentInvalid):
            build(name)


def test_names_of_clusters_stay_apart_and_off_the_shared_path() -> None:
    names = {policies.identity_name(ClusterId(r, c)) for r, c in (("a-b", "c"), ("a", "b-c"), ("a", "b"))}
    assert len(names) == 3
    with pytest.raises(DocumentInvalid):
        policies.identity_name(ClusterId("shared", "x"))
    with pytest.raises(DocumentInvalid):
        policies.own_path(ClusterId("shared", "x"), "y")
