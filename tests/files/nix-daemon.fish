# Puts Nix on the PATH of fish. Sourced by conf.d/nix.fish.
if test -z "$__ETC_PROFILE_NIX_SOURCED"
    set -gx __ETC_PROFILE_NIX_SOURCED 1
    set -l state "$HOME/.local/state"
    if set -q XDG_STATE_HOME
        set state "$XDG_STATE_HOME"
    end
    set -l link "$HOME/.nix-profile"
    if test -e "$state/nix/profile"
        set link "$state/nix/profile"
    end
    set -gx NIX_PROFILES "/nix/var/nix/profiles/default $link"
    if test -z "$NIX_SSL_CERT_FILE"
        for bundle in /etc/ssl/certs/ca-certificates.crt /etc/ssl/ca-bundle.pem \
                /etc/ssl/certs/ca-bundle.crt /etc/pki/tls/certs/ca-bundle.crt \
                $link/etc/ssl/certs/ca-bundle.crt \
                /nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt
            if test -e "$bundle"
                set -gx NIX_SSL_CERT_FILE "$bundle"
                break
            end
        end
    end
    set -gx PATH $link/bin /nix/var/nix/profiles/default/bin $PATH
end
