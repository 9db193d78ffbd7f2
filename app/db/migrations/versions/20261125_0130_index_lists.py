"""Index lists by position."""

from alembic import op

revision = '20261125_0130'
down_revision = '20261125_0120'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index(op.f('ix_lists_user_id_position_id'), 'lists', ['user_id', 'position', 'id'], unique=False, schema='app')


def downgrade() -> None:
    """Take back."""
    op.drop_index(op.f('ix_lists_user_id_position_id'), table_name='lists', schema='app')
