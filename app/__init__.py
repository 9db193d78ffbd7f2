"""The todo backend: `main` puts it together, `domain` is what it does, `db` and `lib` are what it stands on."""
