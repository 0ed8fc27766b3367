"""Prose where it pays: every module says what it is for, every noun is in the glossary."""

from __future__ import annotations

import ast
import re

from tests.tidy.tree import ROOT, checks, modules, product

GLOSSARY = ROOT / "docs/explanation/glossary.md"


def test_every_module_says_what_it_is_for():
    wrong = [
        module.path for module in product() + checks() if module.text.strip() and not ast.get_docstring(module.tree)
    ]
    assert not wrong


def test_every_model_class_is_in_the_glossary():
    known = set(re.findall(r"`([A-Za-z]+)`", GLOSSARY.read_text()))
    classes = {
        node.name: module.path
        for module in modules("hal_core")
        if module.room == "models"
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    missing = {name: path for name, path in classes.items() if name not in known}
    assert not missing, f"explain in {GLOSSARY.relative_to(ROOT)}: {missing}"


def test_the_glossary_names_nothing_that_is_gone():
    """Class names in the glossary's tables of events and messages exist."""
    rows = re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", GLOSSARY.read_text(), re.MULTILINE)
    classes = {node.name for module in modules("hal_core") for node in module.nodes if isinstance(node, ast.ClassDef)}
    assert set(rows) <= classes
