"""`bench warm-server`: `dagster-warm`, under the name of a subcommand."""

from copy import copy

from dagster_warm import command as warm

command = copy(warm.command)
command.name = "warm-server"
command.help = (warm.command.help or "").replace("dagster-warm", "bench warm-server")
