#!@busybox-static@/bin/sh
# The boot loader's program: one entry for each generation of the system profile, the given one the
# default. Writes down what it was called with, for tests. Argument: the toplevel to boot next.
set -eu
export PATH=@busybox-static@/bin
default=$(readlink -f "$1")
entries=/boot/loader/entries
mkdir -p $entries
echo "${NIXOS_ACTION:-none} $default" >>/boot/loader/record

put() {
    cat >"$1.tmp"
    sync "$1.tmp"
    mv -f "$1.tmp" "$1"
}

chosen=
wanted=
for link in /nix/var/nix/profiles/system-*-link; do
    [ -L "$link" ] || continue
    number=${link##*/system-}
    number=${number%-link}
    toplevel=$(readlink -f "$link")
    [ -e "$toplevel/init" ] || continue
    name=nixos-generation-$number.conf
    wanted="$wanted $name"
    put "$entries/$name" <<END
title NixOS
version Generation $number $(cat "$toplevel/nixos-version")
linux $(readlink -f "$toplevel/kernel")
initrd $(readlink -f "$toplevel/initrd")
options init=$toplevel/init $(cat "$toplevel/kernel-params")
END
    # The newest link of the wanted toplevel: shell patterns sort 10 before 9.
    if [ "$toplevel" = "$default" ] && [ "$number" -gt "${chosen:-0}" ]; then chosen=$number; fi
done
[ -z "$chosen" ] || printf 'timeout 5\ndefault nixos-generation-%s.conf\n' "$chosen" |
    put /boot/loader/loader.conf
for file in $entries/nixos-generation-*.conf; do
    case " $wanted " in
    *" ${file##*/} "*) ;;
    *) rm -f "$file" ;;
    esac
done
sync -f /boot
