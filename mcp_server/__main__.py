"""`peerwake` and `python -m mcp_server`; the bridge takes the shortest way."""

import sys


def main() -> int:
    """Run the command line and return its exit status."""
    if sys.argv[1:] == ["serve", "--transport", "stdio"]:
        from mcp_server.serve.bridge import main as bridge

        return bridge([])
    from mcp_server.cli.main import main as command_line

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
