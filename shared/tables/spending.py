"""The use of tokens and money, its limits, and the groups that share them."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from shared.tables.metadata import metadata, moment

person_group = Table(
    "person_group",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # The models that only its members may use: provider/model, where * stands for any text.
    Column("models", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # The guard of personal data in a member's question, where it is stricter than NARU_PERSONAL_DATA.
    Column("personal_data", Text),
    # The role that each member has at least.
    Column("role", Text),
    moment("created_at", now=True),
    CheckConstraint("role IN ('user', 'auditor', 'admin')", name="role"),
    CheckConstraint("personal_data IN ('warn', 'block')", name="personal_data"),
)

membership = Table(
    "membership",
    metadata,
    Column("person_id", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", ForeignKey("person_group.id", ondelete="CASCADE"), primary_key=True, index=True),
    # Whether the company's sign-in said so; the next sign-in replaces these.
    Column("from_claim", Boolean, nullable=False, server_default=text("false")),
)

#: The limits of one subject: an owner's key, `member:<group>` (each member) or `group:<group>` (all members together).
#: Null: the limit of the next subject holds (shared/spending/limits.py). 0: no limit.
quota = Table(
    "quota",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("active_questions", Integer),
    Column("questions_per_minute", Integer),
    Column("question_characters", Integer),
    Column("tokens_per_day", BigInteger),
    Column("tokens_per_month", BigInteger),
    # In NARU_CURRENCY.
    Column("money_per_month", Numeric),
    CheckConstraint(
        "least(active_questions, questions_per_minute, question_characters, tokens_per_day, tokens_per_month,"
        " money_per_month) >= 0",
        name="not_negative",
    ),
)

#: The sums of the attempts that ended, per owner, hour and model. The statement that ends an attempt adds to them, so
#: that they never differ from the attempts.
spending = Table(
    "spending",
    metadata,
    Column("owner_id", Text, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    # In dollars, of the attempts with a known price.
    Column("cost", Numeric, nullable=False),
    Column("unpriced", Integer, nullable=False),
    Column("estimated", Integer, nullable=False),
    # For the purge, and for the sums of all owners.
    Index("ix_spending_hour", "hour"),
)
