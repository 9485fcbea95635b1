#!/usr/bin/python3
"""Installs Nix through nixctld and follows the progress: how a desktop program would do it.

Needs python3-dbus and python3-gi. Arguments: nothing for the version that the daemon chooses, a
version, or the URL or absolute path of a release.

    install.py [VERSION | SOURCE]

The exit code is 0 when Nix was installed, 1 when the operation failed, 3 when nobody allowed it.
"""

import sys

import dbus
import dbus.lowlevel
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

NAME = "org.nixctl1"
MANAGER = "org.nixctl1.Manager"
OPERATION = "org.nixctl1.Operation"
PROPERTIES = "org.freedesktop.DBus.Properties"
FINAL = {"succeeded", "reverted", "failed", "cancelled", "attention"}

# An administrator may need longer to type a password than a call usually takes.
PATIENCE_SECONDS = 3600


class Follower:
    """Prints the progress of one operation until it has ended."""

    def __init__(self, bus, path):
        self.loop = GLib.MainLoop()
        self.success = None
        self.shown = None
        self.state = {}
        self.operation = bus.get_object(NAME, path)
        # First listen, then look: what happens in between is seen in one of the two.
        self.operation.connect_to_signal(
            "PropertiesChanged", self.on_changed, dbus_interface=PROPERTIES
        )
        self.operation.connect_to_signal(
            "Finished", self.on_finished, dbus_interface=OPERATION
        )
        bus.watch_name_owner(NAME, self.on_owner)
        self.look()

    def look(self):
        """Reads everything anew."""
        properties = dbus.Interface(self.operation, PROPERTIES)
        self.update(properties.GetAll(OPERATION))

    def on_changed(self, interface, changed, _invalidated):
        if interface == OPERATION:
            self.update(changed)

    def on_owner(self, owner):
        # The daemon may be restarted while it works; the operation goes on by itself.
        if owner and self.success is None:
            try:
                self.look()
            except dbus.DBusException:
                pass

    def on_finished(self, success, code, message):
        self.end(bool(success), str(code), str(message))

    def update(self, changed):
        self.state.update(changed)
        line = "[{:3.0f} %] step {}/{} {} {}".format(
            100 * self.state["Progress"],
            self.state["Step"],
            self.state["Steps"],
            self.state["State"],
            self.state["Description"],
        )
        if line != self.shown:
            self.shown = line
            print(line, flush=True)
        if self.state["State"] in FINAL:
            self.end(
                self.state["State"] == "succeeded",
                str(self.state["ErrorCode"]),
                str(self.state["ErrorMessage"]),
            )

    def end(self, success, code, message):
        if self.success is None:
            self.success = success
            if not success:
                print(f"{code}: {message}", file=sys.stderr)
                print(f"help: {self.state['ErrorHelp']}", file=sys.stderr)
        self.loop.quit()

    def run(self):
        if self.success is None:
            self.loop.run()
        return self.success


def main():
    DBusGMainLoop(set_as_default=True)
    bus = dbus.SystemBus()
    options = {"reason": "installed from a desktop program"}
    if len(sys.argv) > 1:
        options["source" if "/" in sys.argv[1] else "version"] = sys.argv[1]

    # The flag says that an administrator may be asked for a password.
    call = dbus.lowlevel.MethodCallMessage(NAME, "/org/nixctl1", MANAGER, "Install")
    call.set_allow_interactive_authorization(True)
    call.append(dbus.Dictionary(options, signature="sv"), signature="a{sv}")
    try:
        reply = bus.send_message_with_reply_and_block(call, PATIENCE_SECONDS)
    except dbus.DBusException as error:
        print(f"{error.get_dbus_name()}: {error.get_dbus_message()}", file=sys.stderr)
        return 3 if error.get_dbus_message().startswith(("NIX3001", "NIX3009")) else 1
    path = reply.get_args_list()[0]
    print(f"following {path}", flush=True)
    return 0 if Follower(bus, path).run() else 1


if __name__ == "__main__":
    sys.exit(main())
