
# Nix
if [ -e '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.sh' ]; then
    . '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.sh'
fi
# End Nix

        
# nixctl
if [ -r /etc/nix/nixctl.sh ]; then
    . /etc/nix/nixctl.sh
fi
# End nixctl

