"""The `tasks` dialect: todos as many existing Better Auth frontends send and read them."""
