"""Checks Kubernetes manifests: JSON documents on standard input, one JSON list of problems for each on standard output.

Built-in kinds by the schemas of Kubernetes, Strimzi's by those of its custom resource definitions. Fields that the schema
does not know are problems, as they are for `kubectl apply --validate=strict`.
"""

import json
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate

KUBERNETES = "1.34"
STRIMZI = json.loads((Path(__file__).parent / "strimzi-crds.json").read_text())["kinds"]


def strict(schema):
    """The schema, in which an object has no other fields than those that are named."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    return result


def of_strimzi(document):
    kind = STRIMZI.get(document.get("kind"))
    if kind is None or kind["apiVersion"] != document["apiVersion"]:
        return [f"{document['apiVersion']} {document.get('kind')} is not known"]
    unknown = set(document) - {"apiVersion", "kind", "metadata", "spec"}
    problems = [f"{name} is not known" for name in sorted(unknown)]
    validator = jsonschema.Draft7Validator(strict(kind["spec"]))
    for error in validator.iter_errors(document.get("spec")):
        problems.append(f"spec.{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    return problems


def problems(document):
    if document["apiVersion"].startswith("kafka.strimzi.io/"):
        return of_strimzi(document)
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return []
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return [str(error)[:300]]


print(json.dumps([problems(document) for document in json.load(sys.stdin)]))
