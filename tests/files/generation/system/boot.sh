#!/bin/sh
# The lab's boot loader and first stage in one, run as process 1 from outside /nix: mounts the disk
# with the store, then starts what the default boot entry names, else the system profile.
if [ -b /dev/nix-disk ] && ! mountpoint -q /nix; then
    mount -o noatime /dev/nix-disk /nix || exit 1
fi
default=$(sed -n 's/^default //p' /boot/loader/loader.conf 2>/dev/null)
entry=/boot/loader/entries/${default:-none}
init=$(sed -n 's/^options init=\([^ ]*\).*/\1/p' "$entry" 2>/dev/null)
if [ -z "$init" ]; then
    init=$(readlink -f /nix/var/nix/profiles/system)/init
fi
echo "lab: booting $init"
exec "$init"
