#!/bin/sh
# A Nix whose database has the schema 11: the real one, which sees 10 in its place.
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
real=@real@/${0##*/}
db=/nix/var/nix/db
# Whoever is not root goes through nix-daemon, and what one of us starts sees the 10 already.
if [ "$(id -u)" != 0 ] || [ -n "$NIXCTL_LAB_SCHEMA" ]; then
  exec "$real" "$@"
fi
for argument; do
  case $argument in
  local?root=*)
    "$real" "$@" || exit
    printf 11 >"${argument#local?root=}$db/schema"
    exit
    ;;
  esac
done
if [ -e $db/schema ]; then
  found=$(cat $db/schema)
  if [ "$found" -gt 11 ]; then
    echo "error: the schema is $found, and this Nix knows 11" >&2
    exit 1
  fi
  if [ "$found" != 11 ]; then
    printf 11 >$db/schema.new && mv $db/schema.new $db/schema
  fi
  printf 10 >/run/nix-schema-10
  export NIXCTL_LAB_SCHEMA=10
  exec unshare --mount --propagation private sh -c \
    "mount --bind /run/nix-schema-10 $db/schema && exec \"\$@\"" sh "$real" "$@"
fi
exec "$real" "$@"
