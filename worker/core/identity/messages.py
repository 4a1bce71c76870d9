"""What a lead tells the owners of other ids: of its e-mail address, and of its company's account.

`email:ADDRESS` knows which leads have that address, `account:DOMAIN` what each of its leads last told. Both are ids like any
other, with an owner, and hear by messages in its journal, each lead's in order: what they hold does not depend on the order
in which different leads are heard.
"""

from __future__ import annotations

from worker.core.grid.email_kind import email_domain, is_business
from worker.core.identity.accounts import ROLES
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import LeadState
from worker.core.scoring.traits import unpack_traits


def who(scorer: CompiledGrid, state: LeadState) -> tuple[str, str, int]:
    """Return the ids of the lead's address and account, each empty for none, and its decision role, by its traits."""
    traits = unpack_traits(state.traits)

    def text(path: str) -> str:
        held = traits.get(path)
        return held.value.strip().lower() if held is not None and isinstance(held.value, str) else ""

    email = account = ""
    role = 0
    if scorer.grid.identity is not None and (address := text("email")) and email_domain(address) is not None:
        email = f"email:{address}"
    if scorer.grid.accounts is not None:
        domain = text("company.domain").removesuffix(".")
        account = f"account:{domain}" if is_business(domain, scorer.grid.mail) else ""
        role = ROLES.index(named) + 1 if (named := text("decision_role")) in ROLES else 0
    return email, account, role
