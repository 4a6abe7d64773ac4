"""The manifests of the Salesforce package, made from its source: what is deployed, and what its removal deletes.

``python -m tools.salesforce_manifest`` writes them anew; with ``--check`` it only says which is out of date.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "salesforce"
API_VERSION = "66.0"

# Folder of the source format -> metadata type; what lies below an object's folder is its own.
TYPES = {
    "applications": "CustomApplication",
    "classes": "ApexClass",
    "customMetadata": "CustomMetadata",
    "externalCredentials": "ExternalCredential",
    "flexipages": "FlexiPage",
    "flows": "Flow",
    "labels": "CustomLabels",
    "layouts": "Layout",
    "lwc": "LightningComponentBundle",
    "namedCredentials": "NamedCredential",
    "notificationtypes": "CustomNotificationType",
    "permissionsets": "PermissionSet",
    "quickActions": "QuickAction",
    "reportTypes": "ReportType",
    "reports": "Report",
    "tabs": "CustomTab",
}
OBJECT_PARTS = {
    "compactLayouts": "CompactLayout",
    "fields": "CustomField",
    "listViews": "ListView",
    "validationRules": "ValidationRule",
}

GONE_WITH_ITS_OBJECT = frozenset({"CompactLayout", "CustomMetadata", "Layout", "ListView"})
"""What Salesforce deletes together with the custom object it belongs to."""

DELETED_IN_SETUP = frozenset({"Flow"})
"""A deployment deletes a flow by version number, and never an active one: an admin deactivates and deletes them."""


def members(source: Path) -> dict[str, list[str]]:
    """The members of each metadata type in a source folder (force-app/main/default), both sorted.

    Raises ValueError for a folder whose type is not known here.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for path in source.rglob("*-meta.xml"):
        kind, name = _member(path.relative_to(source))
        found[kind].add(name)
    return {kind: sorted(found[kind]) for kind in sorted(found)}


def _member(path: Path) -> tuple[str, str]:
    folder, *between = path.parts[:-1]
    name = path.name.removesuffix("-meta.xml").rpartition(".")[0]
    match folder, between:
        case "objects", [_]:
            return "CustomObject", name
        case "objects", [owner, part] if part in OBJECT_PARTS:
            return OBJECT_PARTS[part], f"{owner}.{name}"
        case "lwc", [bundle]:
            return TYPES[folder], bundle
        case "reports", _:
            return TYPES[folder], "/".join((*between, name))
        case _, [] if folder in TYPES:
            return TYPES[folder], name
    raise ValueError(f"{path.as_posix()} is of no metadata type this tool knows")


def removable(deployed: dict[str, list[str]]) -> dict[str, list[str]]:
    """What the removal names: all but what goes by itself or in Setup. Custom objects take their fields along."""
    own = tuple(f"{name}." for name in deployed.get("CustomObject", []))
    gone = {
        kind: [name for name in names if not name.startswith(own) or kind == "CustomObject"]
        for kind, names in deployed.items()
        if kind not in GONE_WITH_ITS_OBJECT | DELETED_IN_SETUP
    }
    return {kind: names for kind, names in gone.items() if names}


def manifest(listed: dict[str, list[str]]) -> str:
    """A package.xml (or destructiveChanges.xml, which has the same form)."""
    return "\n".join(_lines(listed)) + "\n"


def _lines(listed: dict[str, list[str]]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<Package xmlns="http://soap.sforce.com/2006/04/metadata">'
    for kind, names in listed.items():
        yield "    <types>"
        yield from (f"        <members>{name}</members>" for name in names)
        yield f"        <name>{kind}</name>"
        yield "    </types>"
    yield f"    <version>{API_VERSION}</version>"
    yield "</Package>"


def manifests(package: Path = PACKAGE) -> dict[Path, str]:
    """Every manifest by its path, as it has to be."""
    deployed = members(package / "force-app" / "main" / "default")
    folder = package / "manifest"
    return {
        folder / "package.xml": manifest(deployed),
        folder / "destructiveChanges.xml": manifest(removable(deployed)),
        folder / "nothing.xml": manifest({}),
    }


def main(arguments: list[str]) -> int:
    """Write the manifests, or with --check find those that differ: 0 when all is well, 1 when one is out of date."""
    stale = 0
    for path, content in manifests().items():
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is out of date: run python -m tools.salesforce_manifest")
            stale = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
