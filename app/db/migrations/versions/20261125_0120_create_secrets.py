"""Create secrets."""

import sqlalchemy as sa
from alembic import op

revision = '20261125_0120'
down_revision = '20261125_0100'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table('secrets',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('value', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_secrets')),
    schema='app'
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table('secrets', schema='app')
