"""The commands, by what they are about: flags in, exit codes out, and what a person is told. `cli` registers them."""
