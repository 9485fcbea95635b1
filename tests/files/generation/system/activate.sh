#!@busybox-static@/bin/sh
# Makes the running machine's files those of this generation, in the order NixOS does it: users,
# /etc through /etc/static, folders, and /run/current-system at the end even when a part failed.
systemConfig=@out@
etc=@etc@
export PATH=@busybox-static@/bin
status=0

snippet() {
    "$@"
    code=$?
    [ $code = 0 ] && return
    status=1
    echo "Activation script snippet '$1' failed ($code)"
}

# Makes a link that is never missing on the way.
link() {
    [ "$(readlink "$2")" = "$1" ] && return
    ln -sfn "$1" "$2.tmp" && mv -fT "$2.tmp" "$2"
}

# The lines NAME:ID:HOME become users and groups; those that are there stay as they are.
users() {
    while IFS=: read -r name id home; do
        grep -q "^$name:" /etc/group || append /etc/group "$name:x:$id:"
        grep -q "^$name:" /etc/passwd || append /etc/passwd "$name:x:$id:$id::$home:/usr/sbin/nologin"
        grep -q "^$name:" /etc/shadow || append /etc/shadow "$name:!*:1::::::"
    done <"$systemConfig/users"
}

append() {
    cp -p "$1" "$1.tmp" && echo "$2" >>"$1.tmp" && mv -f "$1.tmp" "$1"
}

# Whether a folder has nothing in it but links that an activation made.
ours() {
    find "$1" ! -type d | while read -r name; do
        case $(readlink "$name") in
        /etc/static/*) ;;
        *) exit 1 ;;
        esac
    done
}

etc() {
    link "$etc/etc" /etc/static || return
    touch /etc/NIXOS
    # What this generation no longer has: links into /etc/static that lead nowhere now.
    find /etc -xdev -type l | while read -r name; do
        case $(readlink "$name") in
        /etc/static/*) [ -L "/etc/static/${name#/etc/}" ] || rm -f "$name" ;;
        esac
    done
    failed=0
    for name in $(cd /etc/static/ && find . -type l); do
        name=${name#./}
        if [ -d "/etc/$name" ] && [ ! -L "/etc/$name" ]; then
            if ! ours "/etc/$name" || ! rm -r "/etc/$name"; then
                echo "warning: /etc/$name is a folder with files of others, left as it is" >&2
                failed=1
                continue
            fi
        fi
        mkdir -p "$(dirname "/etc/$name")"
        link "/etc/static/$name" "/etc/$name" || failed=1
    done
    return $failed
}

var() {
    mkdir -p /var/lib /var/log /var/empty /nix/var/nix/gcroots
}

snippet users
snippet etc
snippet var
@snippets@

link "$systemConfig" /run/current-system
link /run/current-system /nix/var/nix/gcroots/current-system
exit $status
