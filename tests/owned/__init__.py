"""What every owned resource promises, as test classes to inherit: `app/domain/*` of tomorrow included."""
