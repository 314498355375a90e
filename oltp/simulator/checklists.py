"""What an onboarding case must show, by its type, and which template says so. Pure data.

Each item is a name, a category and whether it is required, in the order of the template.
"""

from __future__ import annotations

from hashlib import md5

VERSION = 1
ITEMS = {
    "INDIVIDUAL": (
        ("Identity document", "IDENTITY", True),
        ("Likeness to the document", "IDENTITY", True),
        ("Proof of address", "ADDRESS", True),
        ("Source of funds", "FINANCIAL", True),
        ("Proof of income", "FINANCIAL", False),
        ("Sanctions and exposure search", "COMPLIANCE", True),
        ("Signed terms", "DOCUMENTATION", True),
    ),
    "CORPORATE": (
        ("Certificate of incorporation", "IDENTITY", True),
        ("Directors identified", "IDENTITY", True),
        ("Beneficial owners identified", "IDENTITY", True),
        ("Registered office", "ADDRESS", True),
        ("Annual accounts", "FINANCIAL", True),
        ("Source of funds", "FINANCIAL", True),
        ("Sanctions and exposure search", "COMPLIANCE", True),
        ("Licences of regulated business", "COMPLIANCE", False),
        ("Board resolution", "DOCUMENTATION", True),
    ),
    "TRUST": (
        ("Trust deed", "DOCUMENTATION", True),
        ("Trustees identified", "IDENTITY", True),
        ("Beneficiaries identified", "IDENTITY", True),
        ("Address of administration", "ADDRESS", True),
        ("Source of assets", "FINANCIAL", True),
        ("Sanctions and exposure search", "COMPLIANCE", True),
        ("Letter of wishes", "DOCUMENTATION", False),
    ),
    "PARTNERSHIP": (
        ("Partnership agreement", "DOCUMENTATION", True),
        ("Partners identified", "IDENTITY", True),
        ("Place of business", "ADDRESS", True),
        ("Annual accounts", "FINANCIAL", True),
        ("Sanctions and exposure search", "COMPLIANCE", True),
        ("Signatories", "DOCUMENTATION", False),
    ),
}
# What a risk score is made of; the weights add up to one.
FACTORS = {
    "PEP": 0.25,
    "SANCTIONS": 0.30,
    "ADVERSE_MEDIA": 0.15,
    "GEOGRAPHY": 0.15,
    "INDUSTRY": 0.15,
}


def template_id(case_type: str) -> str:
    """The id of the template for a type of case: anybody can compute it."""
    return _digest(f"checklist:{case_type}:{VERSION}")


def item_id(case_type: str, position: int) -> str:
    """The id of one of its items."""
    return _digest(f"checklist:{case_type}:{VERSION}:{position}")


def _digest(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
