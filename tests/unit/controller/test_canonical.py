"""Manifests become canonical objects, or one sentence that names file and line."""

from __future__ import annotations

import pytest

from fleetbus.controller.capabilities.bundles.canonical import Found, canonicalise, identity_of
from fleetbus.controller.capabilities.bundles.render.plain import read_manifests
from fleetbus.controller.capabilities.bundles.render.references import references_outside
from fleetbus.controller.manifests_yaml import load_marked
from fleetbus.controller.repository import Link
from fleetbus.schemas.errors import ObjectInvalid


def found(text: str) -> list[Found]:
    return [Found(one.value, one.where) for one in load_marked(text, "web.yaml")]


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"


def test_objects_are_sorted_and_lose_what_belongs_to_a_server() -> None:
    text = f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: team
  uid: x
  resourceVersion: "1"
  creationTimestamp: null
  managedFields: []
  labels: {{}}
spec: {{replicas: 1}}
status: {{replicas: 1}}
---
{CONFIG}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {{name: a}}
"""
    made = canonicalise(found(text))
    assert [identity_of(one) for one in made] == [
        ("", "ConfigMap", "", "a"),
        ("", "ConfigMap", "", "web"),
        ("apps", "Deployment", "team", "web"),
    ]
    assert made[2] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "team"},
        "spec": {"replicas": 1},
    }


def test_the_default_namespace_goes_where_a_kind_has_namespaces() -> None:
    text = """
{apiVersion: v1, kind: ConfigMap, metadata: {name: plain}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: own, namespace: other}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: team}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: reader, namespace: wrong}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: planets.example.com}
spec: {group: example.com, scope: Cluster, names: {kind: Planet, plural: planets}}
---
{apiVersion: example.com/v1, kind: Planet, metadata: {name: mars}}
---
{apiVersion: example.com/v1, kind: Moon, metadata: {name: phobos}}
"""
    made = {
        one["metadata"]["name"]: one["metadata"].get("namespace") for one in canonicalise(found(text), "team")
    }
    assert made == {
        "plain": "team",
        "own": "other",
        "team": None,
        "reader": None,
        "planets.example.com": None,
        "mars": None,
        "phobos": "team",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1", "web.yaml:1: no Kubernetes object: it has neither `apiVersion` nor `kind`"),
        ("kind: X\nmetadata: {name: a}", "web.yaml:1: no Kubernetes object: `apiVersion`"),
        ("apiVersion: v1\nmetadata: {name: a}", "web.yaml:1: no Kubernetes object: `kind`"),
        ("apiVersion: v1\nkind: Pod", "web.yaml:1: the Pod has no `metadata`"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 7}",
            "web.yaml:1: the Pod has no valid `metadata.name`",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}",
            "web.yaml:1: the Pod has no valid `metadata.name`",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: A}", "web.yaml:1: Pod a has no valid"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}",
            "web.yaml:1: the Pod has `metadata.generateName`: each apply would make another one; give it",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {on: yes}}",
            "web.yaml:1: Pod a: `metadata.labels`: the value of `true` is no text; quote it",
        ),
        (
            f"{CONFIG}---\n{CONFIG}",
            "web.yaml:5: ConfigMap web stands in this bundle twice; the other is web.yaml:1; remove one of them",
        ),
        (
            "{apiVersion: v1, kind: List, items: [1]}",
            "web.yaml:1 items[0]: an item of a List must be an object",
        ),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: hunter2}",
            "web.yaml:1: Secret db holds values: what is in a bundle can be read by every agent; keep them in",
        ),
    ],
)
def test_what_is_no_object_is_named_with_file_and_line(text: str, sentence: str) -> None:
    with pytest.raises(ObjectInvalid) as raised:
        canonicalise(found(text))
    assert raised.value.sentence().startswith(sentence)
    assert "hunter2" not in raised.value.sentence()


def test_the_same_name_in_two_versions_is_the_same_object() -> None:
    text = "\n---\n".join(
        f"{{apiVersion: example.com/{version}, kind: Planet, metadata: {{name: mars}}}}"
        for version in ("v1", "v2")
    )
    with pytest.raises(ObjectInvalid, match="twice"):
        canonicalise(found(text))


def test_a_plain_folder_is_read_by_name_without_hidden_files() -> None:
    files = {
        "b.yaml": CONFIG.replace("web", "b").encode(),
        "a/c.yml": CONFIG.replace("web", "c").encode(),
        "a/d.json": b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}}',
        "README.md": b"text",
        ".github/workflows/ci.yaml": b"on: push",
        "empty.yaml": b"# nothing\n",
    }
    assert [one.where for one in read_manifests(files, "apps")] == [
        "apps/a/c.yml:1",
        "apps/a/d.json:1",
        "apps/b.yaml:1",
    ]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a.yaml": Link("../b.yaml")}, "apps/a.yaml: it is a symbolic link"),
        ({"base": Link("../base")}, "apps/base: it is a symbolic link"),
        ({"x/kustomization.yaml": b""}, "apps/x/kustomization.yaml: there is a kustomization below a plain"),
        ({"a.yaml": b"\xff\xfe\x00"}, "apps/a.yaml: the file is not UTF-8"),
        ({"a.yaml": b"a: [1"}, "apps/a.yaml:2:1: not YAML"),
    ],
)
def test_what_a_plain_folder_cannot_say_is_refused(files: dict[str, bytes | Link], sentence: str) -> None:
    with pytest.raises(ObjectInvalid) as raised:
        read_manifests(files, "apps")
    assert raised.value.sentence().startswith(sentence)


@pytest.mark.parametrize(
    "reference",
    [
        "https://example.com/a.yaml",
        "http://example.com/base?ref=v1",
        "github.com/org/repo",
        "github.com/org/repo//base?ref=v1",
        "git@example.com:org/repo.git",
        "ssh://git@example.com/repo",
        "git::https://example.com/repo",
        "../../elsewhere",
        "/etc",
    ],
)
def test_addresses_in_a_kustomization_are_found_wherever_it_reaches(reference: str) -> None:
    files = {
        "apps/kustomization.yaml": b"resources: [../base]",
        "base/kustomization.yml": f"resources: ['{reference}', local.yaml]".encode(),
        "other/kustomization.yaml": b"resources: [https://example.com/not-reached.yaml]",
    }
    assert list(references_outside(files, "apps")) == [("base/kustomization.yml", reference)]


def test_patches_in_place_and_local_paths_are_no_addresses() -> None:
    text = b"""
resources: [a.yaml, ../base, ./github-exporter.yaml]
patches:
- patch: |-
    - op: add
      path: /a
      value: https://example.com
- path: patch.yaml
configMapGenerator:
- name: a
  literals: [url=https://example.com]
"""
    assert list(references_outside({"apps/kustomization.yaml": text}, "apps")) == []
    remote = b"patches: [{path: 'https://example.com/p.yaml'}]"
    assert len(list(references_outside({"kustomization.yaml": remote}, "."))) == 1


BUILTIN = "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\n"


@pytest.mark.parametrize(
    "text",
    [
        "configMapGenerator: [{name: a, files: ['http://127.0.0.1/x']}]",
        "configMapGenerator: [{name: a, files: ['key=http://127.0.0.1/x']}]",
        "secretGenerator: [{name: a, files: ['key=../../x']}]",
        "secretGenerator: [{name: a, envs: ['HTTPS://127.0.0.1/x']}]",
        "configMapGenerator: [{name: a, env: /etc/environment}]",
        "openapi: {path: 'http://127.0.0.1/x'}",
        "replacements: [{path: 'http://127.0.0.1/x'}]",
        "generators:\n- |\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  files: [k=http://127.0.0.1/x]",
        "generators: [plugin.yaml]",
        "transformers: [linked.yaml]",
        "resources: [linked]",
    ],
)
def test_generators_and_plugins_are_looked_through_as_well(text: str) -> None:
    files: dict[str, bytes | Link] = {
        "apps/kustomization.yaml": text.encode(),
        "apps/plugin.yaml": f"{BUILTIN}files: ['k=http://127.0.0.1/x']".encode(),
        "apps/linked.yaml": Link("plugin.yaml"),
        "apps/linked": Link("../base"),
        "apps/round": Link("round"),
        "base/kustomization.yaml": b"configMapGenerator: [{name: a, files: ['http://127.0.0.1/x']}]",
    }
    assert len(list(references_outside(files, "apps"))) == 1


def test_files_of_generators_and_plugins_within_the_commit_are_nothing_outside() -> None:
    text = b"""
resources: [a.yaml, round]
configMapGenerator: [{name: a, files: [b.txt, key=c.txt], envs: [d.env], literals: [url=https://example.com]}]
transformers:
- |-
  apiVersion: builtin
  kind: AnnotationsTransformer
  metadata: {name: t}
  annotations: {home: https://example.com}
  fieldSpecs: [{path: metadata/annotations, create: true}]
"""
    files: dict[str, bytes | Link] = {
        "apps/kustomization.yaml": text,
        "apps/a.yaml": b"{{ no YAML }}",
        "apps/round": Link("round"),
    }
    assert list(references_outside(files, "apps")) == []
