"""Search by words as people see them: what a word is, is no longer decided by PostgreSQL's text parser.

The column `search` of todos is computed anew, and its index built anew, for all rows, and the table is locked meanwhile:
plan minutes for a million todos, and try it on a copy. A dump from a server that folds case with ICU needs ICU.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '20261125_0100'
down_revision = '20261121_0500'
branch_labels = None
depends_on = None

# The ranges below are of Unicode 15.1, with the combining marks of 16 and 17. Bracket expressions of regular
# expressions with explicit ranges mean the same under each locale.

# Not seen by a search: accents, vowel points, invisible characters of formatting.
_MARKS = (
    r'\u00AD\u0300-\u036F\u0483-\u0489\u0591-\u05BD\u05BF\u05C1-\u05C2\u05C4-\u05C5\u05C7\u0610-\u061A\u061C\u0640'
    r'\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7-\u06E8\u06EA-\u06ED\u180B-\u180F\u1AB0-\u1AFF'
    r'\u1DC0-\u1DFF\u200C-\u200F\u202A-\u202E\u2060-\u206F\u20D0-\u20FF\uFE00-\uFE0F\uFE20-\uFE2F\uFEFF'
    r'\U000E0000-\U000E0FFF'
)

# What canonical ordering moves. It takes quadratic time in the length of a run of them.
_STACKABLE = (
    r'\u0300-\u034E\u0350-\u036F\u0483-\u0487\u0591-\u05BD\u05BF\u05C1-\u05C2\u05C4-\u05C5\u05C7\u0610-\u061A'
    r'\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7-\u06E8\u06EA-\u06ED\u0711\u0730-\u074A\u07EB-\u07F3'
    r'\u07FD\u0816-\u0819\u081B-\u0823\u0825-\u0827\u0829-\u082D\u0859-\u085B\u0897-\u089F\u08CA-\u08E1'
    r'\u08E3-\u08FF\u093C\u094D\u0951-\u0954\u09BC\u09CD\u09FE\u0A3C\u0A4D\u0ABC\u0ACD\u0B3C\u0B4D\u0BCD\u0C3C'
    r'\u0C4D-\u0C56\u0CBC\u0CCD\u0D3B-\u0D3C\u0D4D\u0DCA\u0E38-\u0E3A\u0E48-\u0E4B\u0EB8-\u0EBA\u0EC8-\u0ECB'
    r'\u0F18-\u0F19\u0F35\u0F37\u0F39\u0F71-\u0F75\u0F7A-\u0F7D\u0F80-\u0F84\u0F86-\u0F87\u0FC6\u1037\u1039-\u103A'
    r'\u108D\u135D-\u135F\u1714-\u1715\u1734\u17D2\u17DD\u18A9\u1939-\u193B\u1A17-\u1A18\u1A60\u1A75-\u1A7F'
    r'\u1AB0-\u1AFF\u1B34\u1B44\u1B6B-\u1B73\u1BAA-\u1BAB\u1BE6\u1BF2-\u1BF3\u1C37\u1CD0-\u1CD2\u1CD4-\u1CE0'
    r'\u1CE2-\u1CE8\u1CED\u1CF4\u1CF8-\u1CF9\u1DC0-\u1DFF\u20D0-\u20DC\u20E1\u20E5-\u20F0\u2CEF-\u2CF1\u2D7F'
    r'\u2DE0-\u2DFF\u302A-\u302F\u3099-\u309A\uA66F\uA674-\uA67D\uA69E-\uA69F\uA6F0-\uA6F1\uA806\uA82C\uA8C4'
    r'\uA8E0-\uA8F1\uA92B-\uA92D\uA953\uA9B3\uA9C0\uAAB0\uAAB2-\uAAB4\uAAB7-\uAAB8\uAABE-\uAABF\uAAC1\uAAF6\uABED'
    r'\uFB1E\uFE20-\uFE2F\uFF9E-\uFF9F\U000101FD\U000102E0\U00010376-\U0001037A\U00010A0D\U00010A0F'
    r'\U00010A38-\U00010A3F\U00010AE5-\U00010AE6\U00010D24-\U00010D27\U00010D69-\U00010D6D\U00010EAB-\U00010EAC'
    r'\U00010EFA-\U00010EFF\U00010F46-\U00010F50\U00010F82-\U00010F85\U00011046\U00011070\U0001107F'
    r'\U000110B9-\U000110BA\U00011100-\U00011102\U00011133-\U00011134\U00011173\U000111C0\U000111CA'
    r'\U00011235-\U00011236\U000112E9-\U000112EA\U0001133B-\U0001133C\U0001134D\U00011366-\U000113D0\U00011442'
    r'\U00011446\U0001145E\U000114C2-\U000114C3\U000115BF-\U000115C0\U0001163F\U000116B6-\U000116B7\U0001172B'
    r'\U00011839-\U0001183A\U0001193D-\U0001193E\U00011943\U000119E0\U00011A34\U00011A47\U00011A99\U00011C3F'
    r'\U00011D42\U00011D44-\U00011D45\U00011D97\U00011F41-\U00011F42\U0001612F\U00016AF0-\U00016AF4'
    r'\U00016B30-\U00016B36\U00016FF0-\U00016FF1\U0001BC9E\U0001D165-\U0001D169\U0001D16D-\U0001D172'
    r'\U0001D17B-\U0001D182\U0001D185-\U0001D18B\U0001D1AA-\U0001D1AD\U0001D242-\U0001D244\U0001E000-\U0001E02A'
    r'\U0001E08F\U0001E130-\U0001E136\U0001E2AE\U0001E2EC-\U0001E2EF\U0001E4EC-\U0001E4EF\U0001E5EE-\U0001E6F5'
    r'\U0001E8D0-\U0001E8D6\U0001E944-\U0001E94A'
)

# What lies between words: spaces, punctuation, symbols, control characters.
_SEPARATORS = (
    r'\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u02C2-\u02C5\u02D2-\u02EB\u02ED'
    r'\u02EF-\u02FF\u0375\u03F6\u0482\u055A-\u055F\u0589-\u05C6\u05F3-\u061F\u066A-\u066D\u06D4\u06DD-\u06DE\u06E9'
    r'\u06FD-\u06FE\u0700-\u070F\u07F6-\u07F9\u07FE-\u07FF\u0830-\u083E\u085E\u0888\u0890-\u0891\u08E2'
    r'\u0964-\u0965\u0970\u09F2-\u09F3\u09FA-\u09FB\u09FD\u0A76\u0AF0-\u0AF1\u0B70\u0BF3-\u0BFA\u0C77\u0C7F\u0C84'
    r'\u0D4F\u0D79\u0DF4\u0E3F\u0E4F\u0E5A-\u0E5B\u0F01-\u0F17\u0F1A-\u0F1F\u0F34\u0F36\u0F38\u0F3A-\u0F3D\u0F85'
    r'\u0FBE-\u0FC5\u0FC7-\u0FDA\u104A-\u104F\u109E-\u109F\u10FB\u1360-\u1368\u1390-\u1399\u1400\u166D-\u166E'
    r'\u1680\u169B-\u169C\u16EB-\u16ED\u1735-\u1736\u17D4-\u17D6\u17D8-\u17DB\u1800-\u180A\u1940-\u1945'
    r'\u19DE-\u19FF\u1A1E-\u1A1F\u1AA0-\u1AA6\u1AA8-\u1AAD\u1B5A-\u1B6A\u1B74-\u1B7E\u1BFC-\u1BFF\u1C3B-\u1C3F'
    r'\u1C7E-\u1C7F\u1CC0-\u1CC7\u1CD3\u200B-\u212E\u213A-\u214D\u214F\u218A-\u244A\u2500-\u2775\u2794-\u2BFF'
    r'\u2CE5-\u2CEA\u2CF9-\u2CFC\u2CFE-\u2CFF\u2D70\u2E00-\u2E2E\u2E30-\u3004\u3008-\u3020\u3030\u3037'
    r'\u303D-\u303F\u30A0\u30FB\u3190-\u3191\u31C0-\u31EF\u327F\u4DC0-\u4DFF\uA490-\uA4C6\uA4FE-\uA4FF'
    r'\uA60D-\uA60F\uA673\uA67E\uA6F2-\uA716\uA720-\uA721\uA789-\uA78A\uA828-\uA82B\uA836-\uA839\uA874-\uA877'
    r'\uA8CE-\uA8CF\uA8F8-\uA8FA\uA8FC\uA92E-\uA92F\uA95F\uA9C1-\uA9CD\uA9DE-\uA9DF\uAA5C-\uAA5F\uAA77-\uAA79'
    r'\uAADE-\uAADF\uAAF0-\uAAF1\uAB5B\uAB6A-\uAB6B\uABEB\uE000-\uF8FF\uFBB2-\uFE46\uFFF9-\uFFFD'
    r'\U00010100-\U00010102\U00010137-\U0001013F\U00010179-\U00010189\U0001018C-\U000101FC\U0001039F\U000103D0'
    r'\U0001056F\U00010857\U00010877-\U00010878\U0001091F\U0001093F\U00010A50-\U00010A58\U00010A7F\U00010AC8'
    r'\U00010AF0-\U00010AF6\U00010B39-\U00010B3F\U00010B99-\U00010B9C\U00010EAD\U00010F55-\U00010F59'
    r'\U00010F86-\U00010F89\U00011047-\U0001104D\U000110BB-\U000110C1\U000110CD\U00011140-\U00011143'
    r'\U00011174-\U00011175\U000111C5-\U000111C8\U000111CD\U000111DB\U000111DD-\U000111DF\U00011238-\U0001123D'
    r'\U000112A9\U0001144B-\U0001144F\U0001145A-\U0001145D\U000114C6\U000115C1-\U000115D7\U00011641-\U00011643'
    r'\U00011660-\U0001166C\U000116B9\U0001173C-\U0001173F\U0001183B\U00011944-\U00011946\U000119E2'
    r'\U00011A3F-\U00011A46\U00011A9A-\U00011A9C\U00011A9E-\U00011AA2\U00011B00-\U00011B09\U00011C41-\U00011C45'
    r'\U00011C70-\U00011C71\U00011EF7-\U00011EF8\U00011F43-\U00011F4F\U00011FD5-\U00011FFF\U00012470-\U00012474'
    r'\U00012FF1-\U00012FF2\U00013430-\U0001343F\U00016A6E-\U00016A6F\U00016AF5\U00016B37-\U00016B3F'
    r'\U00016B44-\U00016B45\U00016E97-\U00016E9A\U00016FE2\U0001BC9C\U0001BC9F-\U0001BCA3\U0001CF50-\U0001D15D'
    r'\U0001D16A-\U0001D16C\U0001D173-\U0001D17A\U0001D183-\U0001D184\U0001D18C-\U0001D1A9\U0001D1AE-\U0001D241'
    r'\U0001D245\U0001D300-\U0001D356\U0001D800-\U0001D9FF\U0001DA37-\U0001DA3A\U0001DA6D-\U0001DA74'
    r'\U0001DA76-\U0001DA83\U0001DA85-\U0001DA8B\U0001E14F\U0001E2FF\U0001E95E-\U0001E95F\U0001ECAC\U0001ECB0'
    r'\U0001ED2E\U0001EEF0-\U0001F0F5\U0001F10D-\U0001FBCA\U000F0000-\U0010FFFF'
)

_BY_PARSER = "setweight(to_tsvector(CAST('simple' AS REGCONFIG), coalesce(title, '')), 'A') || setweight(to_tsvector(CAST('simple' AS REGCONFIG), coalesce(description, '')), 'B')"
_SEARCH = "setweight(app.search_vector(user_id, title), 'A') || setweight(app.search_vector(user_id, description), 'B')"

# How a text is compared. ASCII, which most texts are, takes the short way. The cut bounds the cost of characters that
# decompose into up to 18; it keeps 10,000 Hangul syllables, which decompose into 30,000 letters.
_FOLD = r"""
CREATE FUNCTION app.search_fold(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN octet_length($1) = char_length($1) THEN lower($1 COLLATE "C")
    ELSE replace(replace(replace(translate(
        lower(
            regexp_replace(
                left(
                    normalize(regexp_replace($1 COLLATE "C", '([{stackable}]{{8}})[{stackable}]+', '\1', 'g'), NFKD),
                    30000
                ),
                '[{marks}]+', '', 'g'
            ) COLLATE {collation}
        ),
        'ςıøđłħŧ', 'σiodlht'
    ), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe') COLLATE "C"
END
"""

# The words of a text, with one space between them.
_WORDS = r"""
CREATE FUNCTION app.search_words(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN trim(regexp_replace(app.search_fold($1) COLLATE "C", '[{separators}]+', ' ', 'g'))
"""

# A word as it is stored: behind eight digits of its user, so that a search for the beginning of a word reads no other
# user's words in the index; cut to what a lexeme may hold. No word contains a quote or a backslash.
_LEXEME = """
CREATE FUNCTION app.search_lexeme(owner text, word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '''' || owner || left(word, 255) || ''''
"""
_OWNER = "left(encode(sha256(convert_to(owner, 'UTF8')), 'hex'), 8)"

# The words of a text with their positions, the first 3,000, for each distinct one is an entry of the index. It is called
# for each row that is written: PL/pgSQL keeps the plan.
_VECTOR = f"""
CREATE FUNCTION app.search_vector(owner text, content text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    hashed text := {_OWNER};
BEGIN
    IF content IS NULL THEN
        RETURN '';
    END IF;
    RETURN (
        SELECT coalesce(string_agg(app.search_lexeme(hashed, word) || ':' || place, ' '), '')
        FROM string_to_table(app.search_words(content), ' ') WITH ORDINALITY AS words (word, place)
        WHERE place <= 3000
    );
END
$$
"""

# Terms joined by an operator. One that begins with a quotation mark is a phrase of whole words. The last word of any
# other is the beginning of a word. Words of one term must follow each other within one text, told by its weight.
_QUERY = f"""
CREATE FUNCTION app.search_query(owner text, terms text[], weights text, operator text) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    hashed text := {_OWNER};
    term text;
    lexemes text[];
    beginning text;
    conditions text;
BEGIN
    FOREACH term IN ARRAY terms LOOP
        lexemes := array(
            SELECT app.search_lexeme(hashed, word)
            FROM string_to_table(app.search_words(term), ' ') WITH ORDINALITY AS words (word, place) ORDER BY place
        );
        CONTINUE WHEN cardinality(lexemes) = 0;
        beginning := CASE WHEN starts_with(term, '"') THEN '' ELSE '*' END;
        conditions := concat_ws(operator, conditions, CASE
            WHEN cardinality(lexemes) = 1 THEN lexemes[1] || ':' || beginning
            ELSE (
                SELECT '(' || string_agg(array_to_string(lexemes, ':' || weight || '<->') || ':' || weight || beginning, '|')
                    || ')'
                FROM string_to_table(weights, NULL) AS weight
            )
        END);
    END LOOP;
    RETURN conditions;
END
$$
"""
_FUNCTIONS = {
    'app.search_query(text, text[], text, text)': _QUERY,
    'app.search_vector(text, text)': _VECTOR,
    'app.search_lexeme(text, text)': _LEXEME,
    'app.search_words(text)': _WORDS.format(separators=_SEPARATORS),
    'app.search_fold(text)': _FOLD,
}
# What can fold the case of all letters, whatever the locale of the database: from PostgreSQL 17 on, or with ICU.
_COLLATIONS = ('pg_c_utf8', 'und-x-icu', 'default')


def _collation() -> str:
    collations = sa.table('pg_collation', sa.column('collname'), schema='pg_catalog')
    known = op.get_bind().execute(sa.select(collations.c.collname)).scalars().all()
    return next(f'pg_catalog."{name}"' for name in _COLLATIONS if name in known)


def _replace_column(expression: str, index: list[sa.ColumnElement[str] | str]) -> None:
    op.drop_index('ix_todos_search', table_name='todos', schema='app')
    op.drop_column('todos', 'search', schema='app')
    op.add_column('todos', sa.Column('search', postgresql.TSVECTOR(), sa.Computed(expression, persisted=True), nullable=True), schema='app')
    op.create_index('ix_todos_search', 'todos', index, unique=False, schema='app', postgresql_using='gin', postgresql_with={'fastupdate': 'off'})


def upgrade() -> None:
    """Apply."""
    fold = _FOLD.format(stackable=_STACKABLE, marks=_MARKS, collation=_collation())
    for create in reversed((_FUNCTIONS | {'app.search_fold(text)': fold}).values()):
        op.get_bind().exec_driver_sql(create)
    _replace_column(_SEARCH, ['search'])


def downgrade() -> None:
    """Take back."""
    _replace_column(_BY_PARSER, [sa.literal_column('(ARRAY[user_id])'), 'search'])
    for function in _FUNCTIONS:
        op.execute(f'DROP FUNCTION {function}')
