#!/usr/bin/python3
"""Lists what nixctld found to be wrong, and with --follow tells of every change.

Needs python3-dbus, and python3-gi for --follow. Anybody may ask.

    findings.py [--check | --follow]

--check has the machine looked at anew. The exit code is 0 when nothing needs attention, else 6.
"""

import sys

import dbus

NAME = "org.nixctl1"
MANAGER = "org.nixctl1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"

# A thorough look takes longer than a call usually may.
PATIENCE_SECONDS = 300


def show(daemon, rows):
    """Prints findings, and says whether somebody should look."""
    health = dbus.Interface(daemon, PROPERTIES).Get(MANAGER, "Health")
    print(f"{health}: {len(rows)} findings", flush=True)
    for row in rows:
        print(f"  {row['severity']} {row['check']} ({row['subject']}): {row['seen']}")
        if row["remedy-summary"]:
            print(f"    remedy: {row['remedy-summary']}")
        elif row["help"]:
            print(f"    help: {row['help']}")
    return any(row["severity"] != "info" for row in rows)


def follow(bus, daemon, manager):
    """Prints the findings each time they are other ones."""
    from gi.repository import GLib

    def changed():
        show(daemon, manager.Findings())

    bus.add_signal_receiver(
        changed, signal_name="FindingsChanged", dbus_interface=MANAGER, bus_name=NAME
    )
    changed()
    GLib.MainLoop().run()


def main():
    if "--follow" in sys.argv[1:]:
        from dbus.mainloop.glib import DBusGMainLoop

        DBusGMainLoop(set_as_default=True)
    bus = dbus.SystemBus()
    daemon = bus.get_object(NAME, "/org/nixctl1")
    manager = dbus.Interface(daemon, MANAGER)
    if "--follow" in sys.argv[1:]:
        follow(bus, daemon, manager)
    elif "--check" in sys.argv[1:]:
        # Without names every check is made.
        everything = dbus.Array([], signature="s")
        rows = manager.Check(everything, timeout=PATIENCE_SECONDS)
    else:
        rows = manager.Findings()
    return 6 if show(daemon, rows) else 0


if __name__ == "__main__":
    sys.exit(main())
