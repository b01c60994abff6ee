"""The commands of the command line, a file each, and what they share: words typed in, tables shown."""
