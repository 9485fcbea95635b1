# Registers new paths over the store of the packages without changing it. Arguments: the packages'
# root, the folder of the new entry (with new/ and out/), busybox, the script, the toplevel.
set -eu
root=$1 entry=$2 busybox=$3 script=$4 toplevel=$5
work=$entry/work
mkdir -p "$work"
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/lay" "$work/merged"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/lay" "$work/merged"
mount -t proc proc "$work/merged/proc"
mkdir -p "$work/merged/out"
mount --bind "$entry/out" "$work/merged/out"
cp -a "$entry/new/nix/store/." "$work/merged/nix/store/"
chroot "$work/merged" "$busybox/bin/sh" -c "$script" sh "$toplevel"
# As registered: Nix has taken times and write permissions off.
mkdir -p "$entry/nix/store"
for path in "$entry"/new/nix/store/*; do
    cp -a "$work/merged/nix/store/${path##*/}" "$entry/nix/store/"
done
