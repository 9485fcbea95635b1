# Says what a machine boots, by its profile and by its boot entry, and what of their closures is not
# there or not what it was: nothing but the first line when all is well.
# Arguments: the root that /nix is in (nothing: this one), the folder /boot, nix-store.
root=$1
boot=$2
program=$3

nix_store() {
    if [ -n "$root" ]; then chroot "$root" "$program" "$@"; else "$program" "$@"; fi
}

there() {
    [ -e "$root$1" ] || [ -L "$root$1" ]
}

folder=/nix/var/nix/profiles
link=$(readlink "$root$folder/system")
profile=$(readlink "$root$folder/${link##*/}")
entry=$(sed -n 's/^default //p' "$boot/loader/loader.conf")
entry=$(sed -n 's|^options init=\([^ ]*\)/init .*|\1|p' "$boot/loader/entries/$entry")
echo "$profile $entry"
[ -n "$profile" ] || echo "the profile leads nowhere: $link"
[ -n "$entry" ] || echo "the boot entry names nothing"
[ "$profile" != "$entry" ] || entry=
for top in $profile $entry; do
    [ -f "$root$top/init" ] || echo "$top has no init"
    paths=$(nix_store --query --requisites "$top") || {
        echo "the closure of $top is not known"
        continue
    }
    for path in $paths; do
        there "$path" || echo "$path of $top is not there"
    done
    said=$(nix_store --verify-path $paths 2>&1) || echo "the closure of $top is damaged: $said"
done
