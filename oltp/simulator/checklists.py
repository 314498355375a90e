"""What an onboarding case must show, by its type: items by category, required or not. Pure data."""

from __future__ import annotations

# name, category, is it required
INDIVIDUAL = (
    ("identity document", "IDENTITY", True),
    ("selfie matches the document", "IDENTITY", True),
    ("proof of address", "ADDRESS", True),
    ("source of income", "FINANCIAL", True),
    ("tax residence", "FINANCIAL", False),
    ("sanctions and PEP screening", "COMPLIANCE", True),
    ("terms accepted", "DOCUMENTATION", True),
)
BUSINESS = (
    ("certificate of incorporation", "IDENTITY", True),
    ("registered office", "ADDRESS", True),
    ("place of business", "ADDRESS", False),
    ("annual accounts", "FINANCIAL", True),
    ("source of funds", "FINANCIAL", True),
    ("sanctions screening of the entity", "COMPLIANCE", True),
    ("screening of owners and directors", "COMPLIANCE", True),
    ("ownership register", "DOCUMENTATION", True),
    ("board resolution", "DOCUMENTATION", False),
)
ITEMS = {
    "INDIVIDUAL": INDIVIDUAL,
    "CORPORATE": BUSINESS,
    "PARTNERSHIP": (*BUSINESS, ("partnership agreement", "DOCUMENTATION", True)),
    "TRUST": (
        *BUSINESS,
        ("trust deed", "DOCUMENTATION", True),
        ("beneficiaries", "IDENTITY", True),
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
