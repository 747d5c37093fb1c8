"""The audit of first weights: each leaf against the distribution that its initializer states."""

from initopt_jax.audits.leaves import (
    AuditError,
    LeafAudit,
    audit_leaf,
    audit_params,
    audit_refined,
    check,
    failures,
)

__all__ = [
    "AuditError",
    "LeafAudit",
    "audit_leaf",
    "audit_params",
    "audit_refined",
    "check",
    "failures",
]
