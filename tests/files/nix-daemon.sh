# Puts Nix on the PATH of a login shell. Sourced by /etc/profile.d, /etc/bash.bashrc and /etc/zshrc.
if [ -n "${__ETC_PROFILE_NIX_SOURCED:-}" ]; then return; fi
export __ETC_PROFILE_NIX_SOURCED=1

__nix_link="$HOME/.nix-profile"
if [ -e "${XDG_STATE_HOME:-$HOME/.local/state}/nix/profile" ]; then
    __nix_link="${XDG_STATE_HOME:-$HOME/.local/state}/nix/profile"
fi
export NIX_PROFILES="/nix/var/nix/profiles/default $__nix_link"
export XDG_DATA_DIRS="${XDG_DATA_DIRS:-/usr/local/share:/usr/share}:$__nix_link/share:/nix/var/nix/profiles/default/share"

if [ -z "${NIX_SSL_CERT_FILE:-}" ]; then
    for __nix_bundle in /etc/ssl/certs/ca-certificates.crt /etc/ssl/ca-bundle.pem \
        /etc/ssl/certs/ca-bundle.crt /etc/pki/tls/certs/ca-bundle.crt \
        "$__nix_link/etc/ssl/certs/ca-bundle.crt" \
        /nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt; do
        if [ -e "$__nix_bundle" ]; then
            export NIX_SSL_CERT_FILE="$__nix_bundle"
            break
        fi
    done
    unset __nix_bundle
fi

export PATH="$__nix_link/bin:/nix/var/nix/profiles/default/bin:$PATH"
unset __nix_link
