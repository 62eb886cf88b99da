"""The command line: commands, cards, tables and progress bars. What they show is made in `irmsia.app`."""
