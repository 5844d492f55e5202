"""The command line: options, help, configuration files, messages and exit codes."""
