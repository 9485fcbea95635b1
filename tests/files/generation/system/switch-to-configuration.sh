#!@busybox-static@/bin/sh
# Moves the running machine to this generation: the phases, their order and the exit codes are those
# of NixOS's program of the same name; what it decides for a unit is a small subset, done plainly.
export TOPLEVEL=@out@ PATH=@systemd@/bin:@busybox-static@/bin
bootloader=@install-boot-entries@
lists=/run/nixos
old_units=/etc/systemd/system
new_units=$TOPLEVEL/etc/systemd/system
status=0

die() {
    echo "$1" >&2
    exit "$2"
}

# The settings of a unit as lines SECTION KEY VALUE, drop-ins included, [Install] left out.
settings() {
    set -- "$1" "$2" "$(base "$1" "$2")"
    cat "$1/$3" "$1/$3.d"/*.conf "$1/$2.d"/*.conf 2>/dev/null | awk '
        /^[ \t]*([#;]|$)/ { next }
        /^\[/ { section = $0; next }
        section == "[Install]" { next }
        {
            at = index($0, "=")
            key = section " " substr($0, 1, at - 1)
            value = substr($0, at + 1)
            if (!(key in seen)) { order[++count] = key; seen[key] = 1 }
            if (value == "") all[key] = ""; else all[key] = all[key] "\001" value
        }
        END { for (i = 1; i <= count; i++) print order[i] "\t" all[order[i]] }'
}

# The file a unit comes from: its own, else its template.
base() {
    if [ -e "$1/$2" ] || [ -L "$1/$2" ]; then
        echo "$2"
    else
        case $2 in
        *@*) echo "${2%%@*}@.${2##*.}" ;;
        *) echo "$2" ;;
        esac
    fi
}

# True when the last value of SECTION KEY ($3) in the unit's file is true.
flag() {
    settings "$1" "$2" | awk -F'\t' -v key="$3" '
        $1 == key { n = split($2, v, "\001"); yes = v[n] ~ /^(1|yes|true|on)$/ }
        END { exit !yes }'
}
has_false() {
    settings "$1" "$2" | awk -F'\t' -v key="$3" '
        $1 == key { n = split($2, v, "\001"); no = v[n] !~ /^(1|yes|true|on)$/ }
        END { exit !no }'
}

# Says how a unit changed: equal, reload or restart.
compare() {
    settings "$old_units" "$1" >$lists/old.$$
    settings "$new_units" "$1" >$lists/new.$$
    awk -F'\t' '
        BEGIN {
            n = split("Description Documentation OnFailure OnSuccess OnFailureJobMode IgnoreOnIsolate " \
                "StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate CollectMode SourcePath", names, " ")
            for (i = 1; i <= n; i++) ignored["[Unit] " names[i]] = 1
            reload["[Unit] X-Reload-Triggers"] = reload["[Service] ExecReload"] = 1
        }
        FNR == 1 { file++ }
        FILENAME == ARGV[1] { old[$1] = $2; all[$1] = 1; next }
        { new[$1] = $2; all[$1] = 1 }
        END {
            verdict = "equal"
            for (key in all) {
                if ((key in old) && (key in new) && old[key] == new[key]) continue
                if (key in ignored) continue
                if (key in reload) { if (key in new && verdict == "equal") verdict = "reload"; continue }
                if (key == "[Mount] Options" && (key in old) && (key in new)) {
                    if (verdict == "equal") verdict = "reload"
                    continue
                }
                verdict = "restart"
            }
            print verdict
        }' $lists/old.$$ $lists/new.$$
    rm -f $lists/old.$$ $lists/new.$$
}

# True when neither the unit's file nor a drop-in can have changed: all come from the same paths.
same_files() {
    for pattern in "$(base "$old_units" "$1")" "$1"; do
        for file in "$old_units/$pattern" "$old_units/$pattern.d"/*.conf \
            "$new_units/$pattern" "$new_units/$pattern.d"/*.conf; do
            name=${file#"$old_units/"}
            name=${name#"$new_units/"}
            [ "$(readlink "$old_units/$name")" = "$(readlink "$new_units/$name")" ] || return 1
        done
    done
}

record() {
    for unit in $2; do echo "$unit" >>"$lists/$1-list"; done
}
recorded() {
    [ ! -e "$lists/$1-list" ] || tr '\n' ' ' <"$lists/$1-list"
}
masked() {
    [ "$(readlink -f "$1")" = /dev/null ]
}
active() {
    case " $active_units " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}
add() {
    eval "case \" \$$1 \" in *\" \$2 \"*) ;; *) $1=\"\$$1 \$2\" ;; esac"
}
say() {
    [ -z "${2# }" ] || echo "$1: $(echo $2 | sed 's/ /, /g')"
}

# What is done with a unit that was changed.
changed() {
    unit=$1
    case $unit in
    sysinit.target | basic.target | multi-user.target | graphical.target | *.path | *.slice | *.socket) return ;;
    -.mount | nix.mount) add reload "$unit"; return ;;
    *.mount) add restart "$unit"; return ;;
    esac
    if flag "$new_units" "$unit" "[Service] X-ReloadIfChanged"; then
        add reload "$unit"
    elif has_false "$new_units" "$unit" "[Service] X-RestartIfChanged" ||
        flag "$new_units" "$unit" "[Unit] RefuseManualStop" ||
        flag "$new_units" "$unit" "[Unit] X-OnlyManualStart"; then
        add skip "$unit"
    elif [ "${unit%.service}" = "$unit" ] || has_false "$new_units" "$unit" "[Service] X-StopIfChanged"; then
        add restart "$unit"
    else
        changed_service "$unit"
    fi
}

# A service is stopped now and started later, by its sockets when it has some.
changed_service() {
    unit=$1
    sockets=$(settings "$new_units" "$unit" | awk -F'\t' '$1 == "[Service] Sockets" { gsub("\001", " ", $2); print $2 }')
    name=${unit%.service}
    by_socket=
    for socket in ${sockets:-${name%@}.socket}; do
        if active "$socket"; then
            add stop "$socket"
            if [ -e "$new_units/$socket" ]; then
                add start "$socket"
                by_socket=1
            fi
        elif [ -e "$new_units/$socket" ]; then
            by_socket=1
        fi
    done
    add stop "$unit"
    if [ -z "$by_socket" ] || flag "$new_units" "$unit" "[Service] X-NotSocketActivated"; then
        add start "$unit"
    fi
}

plan() {
    targets= stop= start=$(recorded start) restart=$(recorded restart) reload=$(recorded reload) skip=
    active_units=$(systemctl list-units --plain --no-legend --full --no-pager --state=active,activating |
        awk '{ printf "%s ", $1 }')
    for unit in $active_units; do
        old=$old_units/$(base "$old_units" "$unit")
        new=$new_units/$(base "$new_units" "$unit")
        [ -e "$old" ] || continue
        if [ ! -e "$new" ] || masked "$new"; then
            has_false "$old_units" "$unit" "[Unit] X-StopOnRemoval" || add stop "$unit"
            continue
        fi
        case $unit in
        *.target)
            flag "$new_units" "$unit" "[Unit] RefuseManualStart" || add targets "$unit"
            ! flag "$new_units" "$unit" "[Unit] X-StopOnReconfiguration" || add stop "$unit"
            continue
            ;;
        esac
        same_files "$unit" && continue
        case $(compare "$unit") in
        restart) changed "$unit" ;;
        reload) add reload "$unit" ;;
        esac
    done
    # New units start because a target that is active wants them.
    for unit in multi-user.target sockets.target timers.target; do
        ! active $unit || add targets $unit
    done
}

inhibited() {
    [ "${NIXOS_NO_CHECK:-}" != 1 ] || return 1
    awk -F'"' 'FNR == NR { if (NF > 3) old[$2] = $4; next }
        NF > 3 && ($2 in old) && old[$2] != $4 { print $2 " : " old[$2] " -> " $4; bad = 1 }
        END { exit !bad }' /run/current-system/switch-inhibitors $TOPLEVEL/switch-inhibitors
}

case ${1:-} in
switch | boot | test | dry-activate | check) export NIXOS_ACTION=$1 ;;
*) die "Usage: $0 [check|switch|boot|test|dry-activate]" 1 ;;
esac
[ "$(id -u)" = 0 ] || die "switch-to-configuration must be run as root" 1
[ -e /etc/NIXOS ] || die "This is not a NixOS installation" 1
mkdir -p $lists
exec 9>>$lists/switch-to-configuration.lock
flock -n 9 || die "Could not acquire lock" 11
case $NIXOS_ACTION in
check | switch | test) ! inhibited || die "Pre-switch checks failed" 1 ;;
esac
[ $NIXOS_ACTION != check ] || exit 0
case $NIXOS_ACTION in
switch | boot) $bootloader $TOPLEVEL || die "Failed to install bootloader" 1 ;;
esac
[ "${NIXOS_NO_SYNC:-}" = 1 ] || sync -f /nix/store
[ $NIXOS_ACTION != boot ] || exit 0
cmp -s /run/current-system/init-interface-version $TOPLEVEL/init-interface-version ||
    die "Warning: the new configuration has another init interface; reboot to use it." 100

plan
if [ $NIXOS_ACTION = dry-activate ]; then
    say "would stop the following units" "$stop"
    say "would NOT restart the following changed units" "$skip"
    echo "would activate the configuration..."
    say "would reload the following units" "$reload"
    say "would restart the following units" "$restart"
    say "would start the following units" "$start"
    exit 0
fi
record start "$start"
record restart "$restart"
record reload "$reload"
say "stopping the following units" "$stop"
[ -z "$stop" ] || systemctl stop $stop 2>/dev/null
say "NOT restarting the following changed units" "$skip"
echo "activating the configuration..."
$TOPLEVEL/activate || { echo "Failed to run activate script" >&2; status=2; }
[ "$(readlink -f /proc/1/exe)" = "$(readlink -f @systemd@/lib/systemd/systemd)" ] || systemctl daemon-reexec
systemctl reset-failed
systemctl daemon-reload
systemctl restart sysinit-reactivation.target

running=
for unit in $reload; do
    if systemctl is-active --quiet "$unit"; then add running "$unit"; else add start "$unit"; fi
done
job() {
    [ -z "${3# }" ] || systemctl "$1" $3 || status=4
    rm -f "$lists/$2-list"
}
say "reloading the following units" "$running"
job reload reload "$running"
say "restarting the following units" "$restart"
job restart restart "$restart"
say "starting the following units" "$start"
job start start "$start $targets"

sleep 0.25
failed=$(systemctl list-units --plain --no-legend --full --state=failed | awk '{ printf "%s ", $1 }')
# A unit that waits to be tried again has failed too, unless it ended well.
for unit in $(systemctl list-units --plain --no-legend --full | awk '$4 ~ /^auto-restart/ { print $1 }'); do
    [ "$(systemctl show --property=ExecMainStatus --value "$unit")" = 0 ] || add failed "$unit"
done
if [ -n "${failed# }" ]; then
    say "warning: the following units failed" "$failed"
    systemctl status --no-pager --full $failed
    status=4
fi
exit $status
