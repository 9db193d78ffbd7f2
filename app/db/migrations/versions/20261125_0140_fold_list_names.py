"""Fold list names: unique without case, and texts that are compared in NFC."""

import unicodedata
from itertools import count

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '20261125_0140'
down_revision = '20261125_0130'
branch_labels = None
depends_on = None

MAX_NAME = 100
_FILLERS = '\u115f\u1160\u3164\uffa0\u2800'  # letters and a symbol that show nothing

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
    _clean_lines()
    _rename_doubles()
    op.create_index(
        'uq_lists_user_id_name', 'lists', ['user_id', sa.literal_column('lower(upper(name))')], unique=True, schema='app'
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


def _clean_lines() -> None:
    """Replace what lines may no longer have: a row that cannot be sent back as it is read could never be changed."""
    connection = op.get_bind()
    suspicious = "~ '[\\x01-\\x1f\\x7f-\\x9f\\u2028\\u2029]'", "!~ '[[:alnum:]]'"
    for table, column, key in (('lists', 'name', 'user_id, id'), ('todos', 'title', 'user_id, id'), ('users', 'name', 'id')):
        written = _WRITTEN if table != 'users' else 'updated_at = now()'
        where = ' OR '.join(f'{column} {each}' for each in suspicious)
        for *keys, text in connection.exec_driver_sql(f'SELECT {key}, {column} FROM app.{table} WHERE {where}').all():
            if (line := _line(text)) != text:
                match = ' AND '.join(f'{name} = :{name}' for name in key.split(', '))
                values = dict(zip(key.split(', '), keys)) | {'line': line}
                connection.execute(sa.text(f'UPDATE app.{table} SET {column} = :line, {written} WHERE {match}'), values)
    found = f"EXISTS (SELECT FROM unnest(tags) AS given(tag) WHERE tag {suspicious[0]} OR tag {suspicious[1]})"
    for user_id, key, tags in connection.exec_driver_sql(f'SELECT user_id, id, tags FROM app.todos WHERE {found}').all():
        lines = list(dict.fromkeys(map(_line, tags)))
        if lines != tags:
            statement = sa.text(f'UPDATE app.todos SET tags = :lines, {_WRITTEN} WHERE user_id = :user_id AND id = :id')
            connection.execute(
                statement.bindparams(sa.bindparam('lines', type_=postgresql.ARRAY(sa.Text))),
                {'lines': lines, 'user_id': user_id, 'id': key},
            )


def _line(text: str) -> str:
    """Return a text without control characters and line breaks, and with something to see."""
    line = ''.join(' ' if unicodedata.category(each) in ('Cc', 'Zl', 'Zp') else each for each in text).strip()
    is_visible = any(unicodedata.category(each)[0] in 'LNPS' and each not in _FILLERS for each in line)
    return line if is_visible else 'Untitled'


def _rename_doubles() -> None:
    """Keep the name of a user's oldest list, and number the others: `work` beside `Work` becomes `work (2)`."""
    connection = op.get_bind()
    folded = _folded(_lists.c.name)
    order = (_lists.c.created_at, _lists.c.id)
    place = sa.func.row_number().over(partition_by=(_lists.c.user_id, folded), order_by=order).label('place')
    ranked = sa.select(_lists.c.user_id, _lists.c.id, _lists.c.name, _lists.c.created_at, place).subquery()
    doubles = sa.select(ranked).where(ranked.c.place > 1).order_by(ranked.c.user_id, ranked.c.created_at, ranked.c.id)
    for user_id, key, name, *_ in connection.execute(doubles).all():
        new_name = next(each for each in map(lambda n: _numbered(name, n), count(2)) if _is_free(user_id, each))
        values = {'name': new_name, 'version': _lists.c.version + 1, 'updated_at': sa.func.now()}
        connection.execute(sa.update(_lists).where(_lists.c.user_id == user_id, _lists.c.id == key).values(values))


def _folded(name: object) -> sa.ColumnElement[str]:
    """Fold as the index does: in upper case first, where forms such as the two small sigmas are one."""
    return sa.func.lower(sa.func.upper(name))


def _numbered(name: str, number: int) -> str:
    suffix = f' ({number})'
    return name[: MAX_NAME - len(suffix)] + suffix


def _is_free(user_id: str, name: str) -> bool:
    same = sa.select(_lists.c.id).where(_lists.c.user_id == user_id, _folded(_lists.c.name) == _folded(name))
    return op.get_bind().execute(same).first() is None
