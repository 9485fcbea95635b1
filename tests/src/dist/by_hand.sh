# Installs a release in a machine as the official multi-user script does, without nixctl: what tests
# of adoption and of other installers' traces start from. Arguments: tarball, number of build users.
set -eu
tarball=$1 users=$2
dir=$(mktemp -d /var/tmp/nix.XXXXXX)
tar -C "$dir" -xf "$tarball"
unpacked=$(echo "$dir"/nix-*)
groupadd --system --gid 30000 nixbld
for i in $(seq "$users"); do
    useradd --system --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin --gid nixbld \
        --groups nixbld --uid $((30000 + i)) --comment "Nix build user $i" "nixbld$i"
done
mkdir -p /nix/store /nix/var/log/nix/drvs /nix/var/nix/db /nix/var/nix/gcroots/per-user \
    /nix/var/nix/profiles/per-user /nix/var/nix/temproots /nix/var/nix/userpool \
    /nix/var/nix/daemon-socket /nix/var/nix/builds /etc/nix
chgrp nixbld /nix/store
chmod 1775 /nix/store
cp -RP --preserve=mode "$unpacked"/store/* /nix/store/
nix=$(echo /nix/store/*-nix-[0-9]*) cacert=$(echo /nix/store/*-nss-cacert-*)
find /nix/store -mindepth 1 ! -type l -exec chmod a-w {} +
"$nix/bin/nix-store" --load-db <"$unpacked/.reginfo"
rm -rf "$dir"
printf '\nbuild-users-group = nixbld\n\n' >/etc/nix/nix.conf
profile=/nix/var/nix/profiles/default
NIX_REMOTE= HOME=/root "$nix/bin/nix-env" --profile $profile --install "$nix" "$cacert"
hook=$profile/etc/profile.d/nix-daemon.sh
for file in /etc/profile.d/nix.sh /etc/bash.bashrc /etc/zsh/zshrc; do
    [ "$file" = /etc/profile.d/nix.sh ] || [ -e "$file" ] || continue
    if [ -e "$file" ]; then cp -p "$file" "$file.backup-before-nix"; fi
    printf "\n# Nix\nif [ -e '%s' ]; then\n  . '%s'\nfi\n# End Nix\n\n" $hook $hook >>"$file"
done
if [ -d /run/systemd/system ]; then
    ln -sfn $profile/lib/tmpfiles.d/nix-daemon.conf /etc/tmpfiles.d/nix-daemon.conf
    systemd-tmpfiles --create --prefix=/nix/var/nix
    systemctl --quiet link $profile/lib/systemd/system/nix-daemon.service
    systemctl --quiet enable $profile/lib/systemd/system/nix-daemon.socket
    systemctl daemon-reload
    systemctl start nix-daemon.socket
    systemctl restart nix-daemon.service
fi
