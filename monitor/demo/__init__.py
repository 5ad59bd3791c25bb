"""The guided run: an embedded broker, real sample traffic and the daemon, from one command."""
