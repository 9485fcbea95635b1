#!/usr/bin/python3
"""Runs a command that no upgrade and no switch may begin beside, such as a backup.

Needs python3-dbus, and to be root or a member of the group nixctl.

    inhibit.py WHAT WHO WHY COMMAND...

WHAT is upgrade, switch or all. The exit code is that of the command.
"""

import subprocess
import sys

import dbus


def main():
    what, who, why, *command = sys.argv[1:]
    manager = dbus.SystemBus().get_object("org.nixctl1", "/org/nixctl1")
    # It holds as long as this is open, however this program ends.
    held = manager.Inhibit(what, who, why, dbus_interface="org.nixctl1.Manager").take()
    print(f"{what} is held up ({held})", flush=True)
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
