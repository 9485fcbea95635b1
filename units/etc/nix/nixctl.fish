# Puts Nix into the environment of fish. Written by nixctl, removed with `nixctl uninstall`;
# sourced by the block `# nixctl` in conf.d/nix.fish. See nixctl.sh beside it for the rules.

set -l own /nix/var/nix/profiles/nixctl
set -l all /nix/var/nix/profiles/default
set -l user
if set -q HOME; and test -n "$HOME"
    set user $HOME/.local/state/nix/profile
    if set -q XDG_STATE_HOME; and test -n "$XDG_STATE_HOME"
        set user $XDG_STATE_HOME/nix/profile
    end
    if not test -e $user
        set user $HOME/.nix-profile
    end
end

# Wanted order: the user's profile, everybody's, the one that holds Nix itself, the rest.
# A folder that is missing goes next to the neighbour that is there, else to the beginning.
set -l path $PATH
if not contains -- $own/bin $path
    set -l neighbour
    if contains -- $all/bin $path
        set neighbour $all/bin
    else if test -n "$user"; and contains -- $user/bin $path
        set neighbour $user/bin
    end
    if test -z "$neighbour"
        set path $own/bin $path
    else
        set -l longer
        for folder in $path
            set longer $longer $folder
            if test "$folder" = $neighbour; and not contains -- $own/bin $longer
                set longer $longer $own/bin
            end
        end
        set path $longer
    end
end
if not contains -- $all/bin $path
    set -l longer
    for folder in $path
        if test "$folder" = $own/bin; and not contains -- $all/bin $longer
            set longer $longer $all/bin
        end
        set longer $longer $folder
    end
    set path $longer
end
if test -n "$user"; and not contains -- $user/bin $path
    set -l longer
    for folder in $path
        if test "$folder" = $all/bin; and not contains -- $user/bin $longer
            set longer $longer $user/bin
        end
        set longer $longer $folder
    end
    set path $longer
end
set -gx PATH $path

# Nix reads the profiles from the least to the most important one.
set -gx NIX_PROFILES "$own $all"
if test -n "$user"
    set -gx NIX_PROFILES "$own $all $user"
end

if not string match -q -- "*$own/share*" "$XDG_DATA_DIRS"
    set -l shares $all/share:$own/share
    if test -n "$user"
        set shares $user/share:$shares
    end
    if test -n "$XDG_DATA_DIRS"
        set -gx XDG_DATA_DIRS "$XDG_DATA_DIRS:$shares"
    else
        set -gx XDG_DATA_DIRS "/usr/local/share:/usr/share:$shares"
    end
end

# Without MANPATH, man finds the pages beside the folders of PATH by itself.
if set -q MANPATH; and test -n "$MANPATH"; and not contains -- $own/share/man $MANPATH
    set -l pages $all/share/man $own/share/man
    if test -n "$user"
        set pages $user/share/man $pages
    end
    set -gx MANPATH $pages $MANPATH
end

if not set -q NIX_SSL_CERT_FILE; or test -z "$NIX_SSL_CERT_FILE"
    for bundle in \
        /etc/ssl/certs/ca-certificates.crt \
        /etc/ssl/ca-bundle.pem \
        /etc/ssl/certs/ca-bundle.crt \
        /etc/pki/tls/certs/ca-bundle.crt \
        $all/etc/ssl/certs/ca-bundle.crt \
        $own/etc/ssl/certs/ca-bundle.crt
        if test -r $bundle; and test -s $bundle
            set -gx NIX_SSL_CERT_FILE $bundle
            break
        end
    end
end
