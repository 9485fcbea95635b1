# Puts Nix into the environment of sh, bash and zsh. Written by nixctl, removed with
# `nixctl uninstall`; sourced by the blocks `# nixctl` in the shells' own start-up files.
#
# Whether there is something to do is read from PATH itself, not from a guard variable: a
# start-up file that sets PATH anew is healed by the next one. What is on PATH already stays
# where it is, so that `nix shell` and virtual environments keep their precedence.

__nixctl_own=/nix/var/nix/profiles/nixctl
__nixctl_all=/nix/var/nix/profiles/default
__nixctl_user=
if [ -n "${HOME:-}" ]; then
    __nixctl_user="${XDG_STATE_HOME:-$HOME/.local/state}/nix/profile"
    if [ ! -e "$__nixctl_user" ]; then
        __nixctl_user="$HOME/.nix-profile"
    fi
fi

# Wanted order: the user's profile, everybody's, the one that holds Nix itself, the rest.
# A folder that is missing goes next to the neighbour that is there, else to the beginning.
__nixctl_path=":${PATH:-/usr/local/bin:/usr/bin:/bin}:"
case "$__nixctl_path" in
*":$__nixctl_own/bin:"*) ;;
*":$__nixctl_all/bin:"*)
    __nixctl_path="${__nixctl_path%%":$__nixctl_all/bin:"*}:$__nixctl_all/bin:$__nixctl_own/bin:${__nixctl_path#*":$__nixctl_all/bin:"}"
    ;;
*":${__nixctl_user:-/nowhere}/bin:"*)
    __nixctl_path="${__nixctl_path%%":$__nixctl_user/bin:"*}:$__nixctl_user/bin:$__nixctl_own/bin:${__nixctl_path#*":$__nixctl_user/bin:"}"
    ;;
*) __nixctl_path=":$__nixctl_own/bin$__nixctl_path" ;;
esac
case "$__nixctl_path" in
*":$__nixctl_all/bin:"*) ;;
*)
    __nixctl_path="${__nixctl_path%%":$__nixctl_own/bin:"*}:$__nixctl_all/bin:$__nixctl_own/bin:${__nixctl_path#*":$__nixctl_own/bin:"}"
    ;;
esac
if [ -n "$__nixctl_user" ]; then
    case "$__nixctl_path" in
    *":$__nixctl_user/bin:"*) ;;
    *)
        __nixctl_path="${__nixctl_path%%":$__nixctl_all/bin:"*}:$__nixctl_user/bin:$__nixctl_all/bin:${__nixctl_path#*":$__nixctl_all/bin:"}"
        ;;
    esac
fi
__nixctl_path="${__nixctl_path#:}"
export PATH="${__nixctl_path%:}"

# Nix reads the profiles from the least to the most important one.
export NIX_PROFILES="$__nixctl_own $__nixctl_all${__nixctl_user:+ $__nixctl_user}"

case ":${XDG_DATA_DIRS:-}:" in
*":$__nixctl_own/share:"*) ;;
*)
    export XDG_DATA_DIRS="${XDG_DATA_DIRS:-/usr/local/share:/usr/share}:${__nixctl_user:+$__nixctl_user/share:}$__nixctl_all/share:$__nixctl_own/share"
    ;;
esac

# Without MANPATH, man finds the pages beside the folders of PATH by itself.
if [ -n "${MANPATH:-}" ]; then
    case ":$MANPATH:" in
    *":$__nixctl_own/share/man:"*) ;;
    *)
        export MANPATH="${__nixctl_user:+$__nixctl_user/share/man:}$__nixctl_all/share/man:$__nixctl_own/share/man:$MANPATH"
        ;;
    esac
fi

# The same places, in the same order, that every installer of Nix looks at. A file of no bytes
# (a half-made bundle) would break every download, so it does not count.
if [ -z "${NIX_SSL_CERT_FILE:-}" ]; then
    for __nixctl_path in \
        /etc/ssl/certs/ca-certificates.crt \
        /etc/ssl/ca-bundle.pem \
        /etc/ssl/certs/ca-bundle.crt \
        /etc/pki/tls/certs/ca-bundle.crt \
        "$__nixctl_all/etc/ssl/certs/ca-bundle.crt" \
        "$__nixctl_own/etc/ssl/certs/ca-bundle.crt"; do
        if [ -r "$__nixctl_path" ] && [ -s "$__nixctl_path" ]; then
            export NIX_SSL_CERT_FILE="$__nixctl_path"
            break
        fi
    done
fi

unset __nixctl_own __nixctl_all __nixctl_user __nixctl_path
