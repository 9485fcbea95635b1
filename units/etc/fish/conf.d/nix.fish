
# Nix
if test -e '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.fish'
    . '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.fish'
end
# End Nix

# nixctl
if test -r /etc/nix/nixctl.fish
    source /etc/nix/nixctl.fish
end
# End nixctl

