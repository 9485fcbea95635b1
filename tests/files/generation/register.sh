# Runs in a chroot that has Nix: registers what is listed in /out/new, then says what the closure of
# $1 (a path, or --all) is and puts it into a signed binary cache.
set -eu
nix-store --register-validity --reregister </out/new
if [ "$1" = --all ]; then
    nix-store --dump-db >/out/registration
else
    nix-store --dump-db $(nix-store --query --requisites "$1") >/out/registration
fi
nix copy --to "file:///out/cache?compression=zstd&secret-key=/key/secret" "$1"
