"""Fold list names: unique without case, and texts that are compared in NFC."""

from itertools import count

import sqlalchemy as sa
from alembic import op

revision = '20261125_0140'
down_revision = '20261125_0130'
branch_labels = None
depends_on = None

MAX_NAME = 100

_WRITTEN = 'version = version + 1, updated_at = now()'
_TAGS = """
    ARRAY(
        SELECT tag FROM (
            SELECT normalize(each, NFC) AS tag, min(place) AS place
            FROM unnest(tags) WITH ORDINALITY AS given(each, place) GROUP BY 1
        ) AS folded ORDER BY place
    )
"""
_lists = sa.table(
    'lists',
    sa.column('user_id', sa.Text),
    sa.column('id', sa.Uuid),
    sa.column('name', sa.Text),
    sa.column('created_at', sa.DateTime(timezone=True)),
    sa.column('updated_at', sa.DateTime(timezone=True)),
    sa.column('version', sa.Integer),
    schema='app',
)


def upgrade() -> None:
    """Apply."""
    op.drop_constraint('uq_lists_user_id_name', 'lists', schema='app', type_='unique')
    _normalize()
    _rename_doubles()
    op.create_index(
        'uq_lists_user_id_name', 'lists', ['user_id', sa.literal_column('lower(name)')], unique=True, schema='app'
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index('uq_lists_user_id_name', table_name='lists', schema='app')
    op.create_unique_constraint('uq_lists_user_id_name', 'lists', ['user_id', 'name'], schema='app')


def _normalize() -> None:
    """Put short texts in NFC, where they still have room; descriptions are not compared, and stay as they are."""
    for table, column, length in (('lists', 'name', MAX_NAME), ('todos', 'title', 200)):
        op.execute(
            f'UPDATE app.{table} SET {column} = normalize({column}, NFC), {_WRITTEN} '
            f'WHERE {column} IS NOT NFC NORMALIZED AND char_length(normalize({column}, NFC)) <= {length}'
        )
    op.execute('UPDATE app.users SET name = normalize(name, NFC), updated_at = now() WHERE name IS NOT NFC NORMALIZED')
    op.execute(
        f'UPDATE app.todos SET tags = {_TAGS}, {_WRITTEN} '
        'WHERE EXISTS (SELECT FROM unnest(tags) AS given(each) WHERE each IS NOT NFC NORMALIZED)'
    )


def _rename_doubles() -> None:
    """Keep the name of a user's oldest list, and number the others: `work` beside `Work` becomes `work (2)`."""
    connection = op.get_bind()
    folded = sa.func.lower(_lists.c.name)
    order = (_lists.c.created_at, _lists.c.id)
    place = sa.func.row_number().over(partition_by=(_lists.c.user_id, folded), order_by=order).label('place')
    ranked = sa.select(_lists.c.user_id, _lists.c.id, _lists.c.name, _lists.c.created_at, place).subquery()
    doubles = sa.select(ranked).where(ranked.c.place > 1).order_by(ranked.c.user_id, ranked.c.created_at, ranked.c.id)
    for user_id, key, name, *_ in connection.execute(doubles).all():
        new_name = next(each for each in map(lambda n: _numbered(name, n), count(2)) if _is_free(user_id, each))
        values = {'name': new_name, 'version': _lists.c.version + 1, 'updated_at': sa.func.now()}
        connection.execute(sa.update(_lists).where(_lists.c.user_id == user_id, _lists.c.id == key).values(values))


def _numbered(name: str, number: int) -> str:
    suffix = f' ({number})'
    return name[: MAX_NAME - len(suffix)] + suffix


def _is_free(user_id: str, name: str) -> bool:
    same = sa.select(_lists.c.id).where(_lists.c.user_id == user_id, sa.func.lower(_lists.c.name) == sa.func.lower(name))
    return op.get_bind().execute(same).first() is None
