#!/bin/sh
# Replays cases of unit decisions on this machine: every folder below $1 holds `old` and `new` (files of
# the unit directory), `run` (units to be started first, in order), `names` (units to be looked at) and
# the lists of the activation script. Prints, for each case, a line with its name, the state of
# each unit before and after, and what the program $2 said.
set -u
cases=$1 program=$2
units=/etc/systemd/system
base=/run/base
old=/nix/store/00000000000000000000000000000000-old
toplevel=/nix/store/11111111111111111111111111111111-new
case_units='c-* c.slice other.service mnt-case.mount'
cp -a "$units" "$base"

# Makes a directory the unit directory.
place() {
    rm -rf "$units"
    cp -a "$base" "$units"
    cp -a "$1/." "$units/"
}

states() {
    while IFS= read -r unit; do
        systemctl show --property=ActiveState --property=InvocationID -- "$unit" | {
            active= invocation=
            while IFS='=' read -r key value; do
                case $key in
                ActiveState) active=$value ;;
                InvocationID) invocation=$value ;;
                esac
            done
            printf '%s\t%s\t%s\t%s\n' "$1" "$unit" "$active" "$invocation"
        }
    done <"$2/names"
}

# A toplevel whose activation puts its units in place.
compose() {
    rm -rf "$toplevel"
    mkdir -p "$toplevel/etc/systemd"
    cp -a "$base" "$toplevel/etc/systemd/system"
    cp -a "$1/new/." "$toplevel/etc/systemd/system/"
    cp "$1/activation-restart-list" "$1/activation-reload-list" "$toplevel/"
    cat >"$toplevel/activate" <<'END'
#!/bin/sh
set -e
rm -rf /etc/systemd/system
cp -a "$1/etc/systemd/system" /etc/systemd/system
mkdir -p /run/nixos
cp "$1"/activation-*-list /run/nixos/
ln -sfn "$1" /run/current-system
END
    chmod 755 "$toplevel/activate"
}

for case in "$cases"/*; do
    printf 'case\t%s\n' "${case##*/}"
    place "$case/old"
    systemctl daemon-reload
    while IFS= read -r unit; do systemctl start -- "$unit" 2>&1 </dev/null; done <"$case/run"
    mkdir -p /run/nixos "$old"
    ln -sfn "$old" /run/current-system
    for list in start restart reload; do
        [ ! -s "$case/$list-list" ] || cp "$case/$list-list" /run/nixos/
    done
    states before "$case"
    compose "$case"
    printf 'said\t%s\n' "$("$program" "$toplevel" 2>&1)"
    states after "$case"
    rm -rf "$units" && cp -a "$base" "$units"
    systemctl daemon-reload
    # shellcheck disable=SC2086
    (set -f && systemctl stop $case_units) 2>/dev/null
    systemctl reset-failed
    rm -rf /run/nixctl-case* /run/nixos /run/nixctl
done
