"""The database: the base of all tables, its configuration, its migrations, and the embedded one."""
